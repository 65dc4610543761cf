"""Ratings in words: of the report, report.md and the terminal."""

import dataclasses
import io
from contextlib import redirect_stdout

import pytest
from ratings_for_tests import preference

from evalkit.cli.ratings_table import print_ratings
from evalkit.core import AgreementRow
from evalkit.ratings.polls import polls
from evalkit.ratings.rating import Rating, pair
from evalkit.ratings.study import PREFERENCE
from evalkit.ratings.summary import summarize
from evalkit.ratings.summary_file import PollSummary
from evalkit.report.ratings import QUESTION, texts

PROMPTS = tuple(f"{at:05d}" for at in range(40))


def summary(question: str = PREFERENCE.text) -> PollSummary:
    """Model a is preferred by all three raters on 36 of 40 prompts."""
    asked = dataclasses.replace(PREFERENCE, text=question)
    study = preference(prompts=PROMPTS, questions=(asked,))
    answers = [
        Rating("preference", rater, "human", pair(prompt, "a", "b"), prompt, "", "preference",
               "b" if at % 10 == 0 else "a", "ab"[at % 2])
        for rater in ("r1", "r2", "r3")
        for at, prompt in enumerate(PROMPTS)
    ]  # fmt: skip
    [poll] = polls([study], answers)
    return summarize(poll)


def test_a_very_small_p_has_one_sign() -> None:
    [text] = texts([summary()], [])
    assert any("a is better, p < 0.001 (Holm, 5%)" in line for line in text.lines)
    assert not any("= <" in line for line in text.lines)


def test_the_text_of_a_question_shows_no_invisible_character_and_is_cut() -> None:
    [text] = texts([summary("is \x1b[31m \u202ethis better? " + "好" * 2000)], [])
    assert text.question.startswith("is ⟨U+001B⟩[31m ⟨U+202E⟩this better?")
    assert len(text.question) == QUESTION
    assert text.question.endswith("好…")


def test_the_terminal_has_the_same_words(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = io.StringIO()
    with redirect_stdout(out):
        print_ratings([summary()], [])
    assert "120 answers of 3 raters on 40 prompts." in " ".join(out.getvalue().split())
    assert all(len(line) <= 80 for line in out.getvalue().splitlines())


def test_a_narrow_terminal_cuts_no_name(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    name = "a-rater-with-a-name-of-letters-that-is-longer-than-a-column"
    made = summary()
    first = dataclasses.replace(made.raters[0], rater=name)
    out = io.StringIO()
    with redirect_stdout(out):
        print_ratings([dataclasses.replace(made, raters=(first, *made.raters[1:]))], [])
    assert "…" not in out.getvalue()


def row(
    metric: str, low: float | None, high: float | None, p: float | None = None, **more: int
) -> AgreementRow:
    counts = {"pairs": 40, "undecided": 0, "ties": 0, "prompts": 40, **more}
    ends = {"accuracy_low": low, "accuracy_high": high, "correlation": 1.0}
    return AgreementRow(
        metric=metric, encoder="e", reference="", raters="human:preference", study="preference",
        level="image", accuracy=0.5 if low is None or high is None else (low + high) / 2,
        correlation_low=None, correlation_high=None, note="", p_adjusted=p, **ends, **counts,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([row("x", 0.55, 0.81, 0.01)], "x (0.68) prefers what the raters prefer more often than"),
        (
            [row("x", 0.55, 0.65, 0.05), row("y", 0.6, 0.8, 0.01), row("z", 0.4, 0.6, 1.0)],
            "y (0.70) and x (0.60) prefer what the raters prefer more often than by chance (Holm,",
        ),
        ([row("x", 0.4, 0.7, 0.5)], "No metric agrees with the raters significantly more often"),
        # Its own interval is above 0.5, but it is one of several metrics.
        ([row("x", 0.51, 0.7, 0.12)], "No metric agrees with the raters significantly more often"),
        ([row("x", None, None)], "Too few answers to say which metric agrees with the raters."),
        ([row("x", 0.1, 0.3, 0.02)], "x (0.20) disagrees with the raters more often than by"),
    ],
)
def test_which_metric_agrees_is_a_sentence(rows: list[AgreementRow], sentence: str) -> None:
    [text] = texts([summary()], rows, ["x", "fid", "kid"])
    assert any(line.startswith(sentence) for line in text.trust)
    assert text.trust[-1].startswith(
        "fid, kid have no value for single images; compared from three"
    )


def test_metrics_have_the_titles_of_the_report() -> None:
    titles = {"clip_score": "CLIP score", "fid": "FID"}
    rows = [row("clip_score", 0.55, 0.81, 0.01)]
    [text] = texts([summary()], rows, ["clip_score", "fid"], titles)
    assert text.trust[0].startswith("CLIP score (0.68) prefers")
    assert text.trust[-1].startswith("FID has no value")
    assert text.agreement[0][0].startswith("CLIP score (")


@pytest.mark.parametrize(("ties", "shown"), [(35, True), (36, False)])
def test_tau_of_few_untied_pairs_is_not_shown(ties: int, shown: bool) -> None:
    [text] = texts([summary()], [row("x", 0.4, 0.6, ties=ties)])
    assert text.agreement[0][2].startswith("1.00") == shown
    assert text.agreement[0][2].startswith("too few pairs") != shown
