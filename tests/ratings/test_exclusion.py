"""Whom the rule of a study excludes, and the figures that are stated."""

import pytest
from ratings_for_tests import preference, vote

from evalkit.ratings.exclusion import care, excluded
from evalkit.ratings.rating import KNOWN_BAD, TIE, Rating, pair, single
from evalkit.ratings.study import SCALES, Exclusion, Study

RULE = Exclusion(attention_errors=1, repeat_agreement=0.5, fast_ms=700, fast_share=0.3)


def attention(rater: str, prompt: str, response: str) -> Rating:
    item = pair(prompt, "a", KNOWN_BAD)
    return vote(rater, prompt, response, item=item, check="attention")


def test_checks_repeats_and_times_are_counted_for_each_rater() -> None:
    answers = [
        vote("r1", "00000", "a", ms=600),
        vote("r1", "00001", "b", ms=2000),
        vote("r1", "00000", "a", check="repeat", ms=100),
        vote("r1", "00001", "a", check="repeat"),
        attention("r1", "00000", "a"),
        attention("r1", "00001", TIE),
        vote("r2", "00000", "b"),
    ]
    first, second = care(preference(exclude=RULE), answers)
    assert (first.rater, first.answers, first.attention, first.attention_right) == ("r1", 2, 2, 1)
    assert (first.repeats, first.repeats_equal) == (2, 1)
    assert (first.median_ms, first.fast, first.timed) == (600, 2, 3)
    assert (second.rater, second.attention, second.repeats, second.median_ms) == ("r2", 0, 0, None)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (
            [vote(), attention("r1", "00000", TIE), attention("r1", "00001", KNOWN_BAD)],
            "2 of 2 attention checks wrong (1 allowed)",
        ),
        (
            [vote(response="a"), vote(response="b", check="repeat")],
            "0 of 1 repeated items answered alike (50% expected)",
        ),
        ([vote(ms=100)], "1 of 1 answers in less than 700 ms (30% allowed)"),
        ([vote(ms=5000), attention("r1", "00000", TIE)], None),
        ([vote(ms=0)], None),  # imported ratings often have no times
    ],
)
def test_the_rule_states_its_figures(answers: list[Rating], reason: str | None) -> None:
    study = preference(exclude=RULE)
    found = excluded(study.exclude, care(study, answers))
    assert [one.reason for one in found] == ([reason] if reason else [])


def test_on_a_scale_neighbouring_points_are_alike_and_a_bad_image_has_few_points() -> None:
    study = Study("opinion", "scale", ("a", "b"), ("p",), SCALES[:1], exclude=RULE)

    def opinion(response: str, check: str = "") -> Rating:
        item = single("p", "a")
        return Rating("opinion", "r1", "human", item, "p", "a", "alignment", response, check=check)

    [found] = care(study, [opinion("4"), opinion("5", "repeat"), opinion("2", "attention")])
    assert (found.repeats_equal, found.attention_right) == (1, 1)
    [found] = care(study, [opinion("4"), opinion("2", "repeat"), opinion("3", "attention")])
    assert (found.repeats_equal, found.attention_right) == (0, 0)
