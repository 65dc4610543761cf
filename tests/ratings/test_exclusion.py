"""Who is excluded by the rule of a study."""

import dataclasses

import pytest
from ratings_for_tests import preference, vote

from evalkit.ratings.exclusion import Care, care
from evalkit.ratings.rating import KNOWN_BAD, Rating, pair, single
from evalkit.ratings.study import CHECKLIST, SCALES, Exclusion, Study

RULE = Exclusion(attention_errors=1, repeat_agreement=0.5, fast_ms=700, fast_share=0.3)


def of(study: Study, *ratings: Rating) -> Care:
    [found] = care(dataclasses.replace(study, exclude=RULE), ratings)
    return found


def attention(prompt: str, response: str) -> Rating:
    return vote(item=pair(prompt, "a", KNOWN_BAD), response=response, check="attention")


def test_a_careful_rater_is_not_excluded() -> None:
    ratings = [vote(prompt=f"{at:05d}", ms=2000) for at in range(4)]
    again = vote(check="repeat", ms=700)
    found = of(preference(), *ratings, again, attention("00000", "a"))
    assert found == Care("r1", 4, 1, 0, 1, 1, 5, 0, ())


@pytest.mark.parametrize("response", [KNOWN_BAD, "tie", "both_bad", "cannot_tell"])
def test_more_wrong_attention_checks_than_the_rule_allows(response: str) -> None:
    one = attention("00000", response)
    assert not of(preference(), vote(), one).excluded
    found = of(preference(), vote(), one, attention("00001", response))
    assert found.reasons == ("2 of 2 attention checks are wrong",)


def test_repeats_that_differ() -> None:
    ratings = [vote(prompt="00000"), vote(prompt="00001")]
    again = [dataclasses.replace(item, check="repeat") for item in ratings]
    other = [dataclasses.replace(item, response="b") for item in again]
    assert not of(preference(), *ratings, again[0], other[1]).excluded
    found = of(preference(), *ratings, *other)
    assert found.reasons == ("0 of 2 repeated answers are equal",)
    assert of(preference(), other[0]).repeats == 0  # the first answer is missing


def test_fast_answers() -> None:
    slow = [vote(prompt=f"{at:05d}", ms=700) for at in range(7)]
    fast = [vote(prompt=f"{at:05d}", ms=699) for at in range(7, 10)]
    unknown = [vote(prompt=f"{at:05d}", ms=0) for at in range(10, 30)]
    assert not of(preference(), *slow, *fast, *unknown).excluded
    found = of(preference(), *slow[:6], *fast)
    assert found.reasons == ("3 of 9 answers took less than 700 ms",)


@pytest.mark.parametrize(
    ("response", "right"),
    [("1", True), ("2", True), ("3", False), ("5", False), ("cannot_tell", False)],
)
def test_the_lower_half_of_a_scale_is_right(response: str, right: bool) -> None:
    study = preference(mode="scale", questions=SCALES)
    check = vote(
        item=single("00000", "a"), question="realism", response=response, check="attention"
    )
    assert of(study, check).attention_errors == (not right)


def test_a_check_with_several_questions_is_wrong_if_most_answers_are() -> None:
    study = preference(mode="checklist", questions=CHECKLIST)
    check = vote(item=single("00000", "a"), check="attention", response="yes")
    first = dataclasses.replace(check, question="objects")
    second = dataclasses.replace(check, question="artifacts")
    assert of(study, first, second).attention_errors == 1
    found = of(study, first, dataclasses.replace(second, response="no"))
    assert (found.attention, found.attention_errors) == (1, 0)
