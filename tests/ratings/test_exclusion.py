"""Excluded raters: by the rule of the study only, each with its figures."""

import dataclasses

import pytest
from ratings_for_tests import preference, vote

from evalkit.ratings.exclusion import Checks, Excluded, checks_of, excluded, without_excluded
from evalkit.ratings.rating import KNOWN_BAD, Rating, pair, single
from evalkit.ratings.study import CHECKLIST, SCALES, Exclusion, Study

STUDY = preference(prompts=tuple(f"{at:05d}" for at in range(10)))


def attention(response: str, at: int = 0, rater: str = "r1") -> Rating:
    item = pair(f"{at:05d}", "a", KNOWN_BAD)
    return vote(rater, f"{at:05d}", response, item=item, check="attention")


def test_attention_checks_answered_wrongly() -> None:
    ratings = [vote(), attention("a", 0), attention(KNOWN_BAD, 1), attention("tie", 2)]
    assert excluded(STUDY, ratings) == [
        Excluded("r1", "2 of 3 attention checks wrong (more than 1)")
    ]
    assert excluded(STUDY, ratings[:3]) == []


def test_repeated_items_answered_differently() -> None:
    first = [vote(prompt=f"{at:05d}", response="a") for at in range(4)]
    again = [
        vote(prompt=f"{at:05d}", response=answer, check="repeat")
        for at, answer in enumerate("abbb")
    ]
    assert excluded(STUDY, first + again) == [
        Excluded("r1", "1 of 4 repeated items answered equally (less than 50%)")
    ]
    assert excluded(STUDY, first + again[:2]) == []


def test_fast_answers() -> None:
    ratings = [vote(prompt=f"{at:05d}", ms=100 if at < 4 else 5000) for at in range(10)]
    assert excluded(STUDY, ratings) == [
        Excluded("r1", "4 of 10 answers in less than 700 ms (more than 30%)")
    ]
    slow = dataclasses.replace(STUDY, exclude=Exclusion(fast_ms=100))
    assert excluded(slow, ratings) == []
    untimed = [dataclasses.replace(rating, ms=0) for rating in ratings]
    assert excluded(STUDY, untimed) == []


def test_every_reason_is_stated_for_each_rater_alone() -> None:
    bad = [attention(KNOWN_BAD, at, "r2") for at in range(2)]
    fast = [vote("r2", f"{at:05d}", ms=10) for at in range(3)]
    [found] = excluded(STUDY, [vote("r1", ms=9000), *bad, *fast])
    assert found.rater == "r2"
    assert found.reason == (
        "2 of 2 attention checks wrong (more than 1); 3 of 3 answers in less than 700 ms"
        " (more than 30%)"
    )


def test_the_main_result_has_neither_checks_nor_excluded_raters() -> None:
    good = [vote("r1", response="tie"), vote("r1", response="b", revision=1)]
    bad = [attention(KNOWN_BAD, at, "r2") for at in range(2)]
    other = dataclasses.replace(vote("r3"), study="other")
    ratings = [*good, attention("a"), vote("r1", response="b", check="repeat"), vote("r2"), *bad]
    assert without_excluded(STUDY, [*ratings, other]) == [good[1]]


def test_the_latest_revision_of_a_check_counts() -> None:
    wrong = [attention(KNOWN_BAD, at) for at in range(2)]
    corrected = dataclasses.replace(attention("a", 1), revision=1)
    assert excluded(STUDY, [*wrong, corrected]) == []


def test_the_figures_of_a_rater() -> None:
    ratings = [
        vote(ms=500), vote(prompt="00001", ms=900), vote(check="repeat", ms=900), attention("a"),
    ]  # fmt: skip
    assert checks_of(STUDY, ratings) == [
        Checks(
            "r1", 2, attention=1, attention_errors=0, repeats=1, repeats_equal=1, timed=3, fast=1
        )
    ]


@pytest.mark.parametrize(
    ("mode", "questions", "right", "wrong"),
    [
        ("scale", SCALES[:1], "12", ("3", "4", "5", "cannot_tell")),
        ("checklist", CHECKLIST[:1], ("no",), ("yes", "cannot_tell")),
    ],
)
def test_a_bad_image_deserves_the_lower_half_or_no(
    mode: str, questions: tuple, right: str, wrong: str
) -> None:
    study: Study = dataclasses.replace(
        STUDY, mode=mode, questions=questions, exclude=Exclusion(attention_errors=0)
    )

    def answer(response: str) -> Rating:
        item = single("00000", "a")
        return vote(
            item=item, model="a", question=questions[0].name, response=response, check="attention"
        )

    assert not any(excluded(study, [answer(response)]) for response in right)
    assert all(excluded(study, [answer(response)]) for response in wrong)
