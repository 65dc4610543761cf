"""Answers that do not fit their study are left out, counted and named."""

import dataclasses
import logging

import pytest
from ratings_for_tests import preference, vote

from evalkit.ratings.fitting import fitting
from evalkit.ratings.rating import BOTH_BAD, CANNOT_TELL, KNOWN_BAD, TIE, YES, Rating, pair, single
from evalkit.ratings.study import SCALES, Study

SCALE = Study("opinion", "scale", ("a", "b"), ("00000",), SCALES[:1])
OPINION = Rating("opinion", "r1", "human", single("00000", "a"), "00000", "a", "alignment", "5")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (vote(study="gone"), "there is no study gone"),
        (vote(question="other"), "no question other"),
        (vote(prompt="00077"), "no prompt 00077"),
        (vote(item="00000"), "not an item"),
        (vote(item=pair("00000", "a", "a")), "not an item"),
        (vote(item=pair("00001", "a", "b")), "not an item"),
        (vote(item=pair("00000", "a", "q")), "no model q"),
        (vote(item=pair("00000", "a", KNOWN_BAD)), "no model known-bad"),
        (vote(response="q"), "'q' is not an answer"),
        (vote(response=YES), "'yes' is not an answer"),
        (dataclasses.replace(OPINION, response="6"), "'6' is not an answer"),
        (dataclasses.replace(OPINION, response="nan"), "'nan' is not an answer"),
        (dataclasses.replace(OPINION, model="b"), "no model b"),
    ],
)
def test_an_answer_that_does_not_fit_is_named(
    answer: Rating, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "evalkit"):
        assert fitting([preference(), SCALE], [OPINION, answer]) == [OPINION]
    assert "do not fit their study: 1 (r1 on" in caplog.text
    assert reason in caplog.text


def test_every_answer_of_a_page_fits(caplog: pytest.LogCaptureFixture) -> None:
    answers = [vote(response=one) for one in ("a", "b", TIE, BOTH_BAD, CANNOT_TELL)]
    answers += [dataclasses.replace(OPINION, response=one) for one in (*"12345", CANNOT_TELL)]
    bad = vote(item=pair("00000", "a", KNOWN_BAD), response=KNOWN_BAD, check="attention")
    assert fitting([preference(), SCALE], [*answers, bad]) == [*answers, bad]
    assert not caplog.text
