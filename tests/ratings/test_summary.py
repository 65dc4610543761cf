"""What raters say, in a study whose truth is known."""

import dataclasses
import json
import random
from pathlib import Path

import numpy as np
import pytest
from krippendorff import alpha
from ratings_for_tests import make_run
from typer.testing import CliRunner

from evalkit.cli.app import app
from evalkit.core import MetricRow
from evalkit.ratings.files import append_ratings
from evalkit.ratings.polls import polls
from evalkit.ratings.rating import BOTH_BAD, CANNOT_TELL, TIE, Rating, pair, parts, single
from evalkit.ratings.rows import refresh
from evalkit.ratings.study import CHECKLIST, PREFERENCE, SCALES, Mode, Question, Study
from evalkit.ratings.study_file import write_study
from evalkit.ratings.summary import summarize
from evalkit.ratings.summary_file import PollSummary, from_json, read_summaries
from evalkit.run_folder import Run
from evalkit.statistics.multiple import holm

PROMPTS = tuple(f"{at:05d}" for at in range(40))
MODELS = ("good", "fair", "poor")
CHANCES = {("good", "fair"): 0.7, ("good", "poor"): 0.85, ("fair", "poor"): 0.7}


def votes(raters: int = 4, kind: str = "human", models: tuple[str, ...] = MODELS) -> list[Rating]:
    """Votes on all pairs; sides are balanced, and one in ten is a tie."""
    rng, made = random.Random(0), []
    for rater in range(raters):
        for at, prompt in enumerate(PROMPTS):
            for (a, b), chance in CHANCES.items():
                if a not in models or b not in models:
                    continue
                response = TIE if rng.random() < 0.1 else a if rng.random() < chance else b
                left = (a, b)[(at + rater) % 2]
                item = pair(prompt, a, b)
                made.append(
                    Rating("preference", f"r{rater}", kind, item, prompt, "", "preference",
                           response, left, at + 1, ms=2000)
                )  # fmt: skip
    return made


def study(models: tuple[str, ...] = MODELS) -> Study:
    return Study("preference", "pairwise", models, PROMPTS, (PREFERENCE,))


def summary(ratings: list[Rating], models: tuple[str, ...] = MODELS) -> PollSummary:
    [poll] = polls([study(models)], ratings)
    return summarize(poll)


def value(found: PollSummary, model: str, metric: str) -> float | None:
    [one] = [x for x in found.results if (x.model, x.metric) == (model, metric)]
    return one.result.value


def test_win_rates_and_strengths_have_the_planted_order() -> None:
    found = summary(votes())
    for metric in ("win_rate", "strength"):
        values = [value(found, model, metric) for model in MODELS]
        assert values == sorted(values, key=lambda number: -(number or 0))
    assert sum(value(found, model, "win_rate") or 0 for model in MODELS) / 3 == pytest.approx(0.5)
    assert sum(value(found, model, "strength") or 0 for model in MODELS) == pytest.approx(0)
    assert [row.winner for row in found.comparisons] == ["good", "good", "fair"]
    assert all(row.low_adjusted > 0 for row in found.comparisons)  # pyright: ignore
    assert found.left is not None
    assert found.left.low < 0.5 < found.left.high  # pyright: ignore


def test_the_first_named_model_has_no_advantage() -> None:
    found = summary(votes(), tuple(reversed(MODELS)))
    other = summary(votes())
    for model in MODELS:
        assert value(found, model, "win_rate") == pytest.approx(value(other, model, "win_rate"))
        assert value(found, model, "strength") == pytest.approx(
            value(other, model, "strength"), abs=1e-6
        )


def test_ties_and_both_bad_count_half_and_cannot_tell_is_left_out() -> None:
    responses = ["good", TIE, BOTH_BAD, CANNOT_TELL, "good", "good", "poor"]
    ratings = [
        dataclasses.replace(vote, response=response)
        for vote, response in zip(votes(1, models=("good", "poor")), responses, strict=False)
    ]
    found = summary(ratings, ("good", "poor"))
    assert (found.ties, found.both_bad, found.cannot_tell, found.votes) == (1, 1, 1, 7)
    assert value(found, "good", "win_rate") == pytest.approx((3 + 0.5 + 0.5) / 6)


def test_an_undefeated_model_has_no_strength_and_this_is_said() -> None:
    ratings = [dataclasses.replace(vote, response="good")
               for vote in votes(2, models=("good", "poor"))]  # fmt: skip
    found = summary(ratings, ("good", "poor"))
    assert value(found, "good", "strength") is None
    assert value(found, "good", "win_rate") == 1.0
    assert any("undefeated" in remark for remark in found.remarks)


def test_people_and_models_are_never_pooled() -> None:
    both = votes(2) + [dataclasses.replace(v, rater="judge") for v in votes(1, "model")]
    people, judge = (summarize(poll) for poll in polls([study()], both))
    assert (people.name, judge.name) == ("human:preference", "model:preference")
    assert (people.votes, judge.votes) == (240, 120)
    assert summary(votes(2)).results == people.results


def test_excluded_raters_are_left_out_and_the_value_with_them_is_stated() -> None:
    hasty = [
        dataclasses.replace(vote, rater="hasty", response="poor", ms=50)
        for vote in votes(1)
        if "poor" in vote.item
    ]
    found = summary(votes() + hasty)
    assert list(found.excluded) == ["hasty"]
    assert "less than" in found.excluded["hasty"]
    assert value(found, "poor", "win_rate") == value(summary(votes()), "poor", "win_rate")
    [poor] = [x for x in found.results if (x.model, x.metric) == ("poor", "win_rate")]
    assert poor.all_raters is not None
    assert poor.result.value is not None
    assert poor.all_raters > poor.result.value


def opinions(kind: str = "scale") -> tuple[Study, list[Rating]]:
    rng, made = random.Random(1), []
    questions = SCALES[:2] if kind == "scale" else CHECKLIST[:1]
    made_study = Study("opinion", kind, MODELS, PROMPTS, questions)
    for rater in range(5):
        for prompt in PROMPTS:
            for model, centre in zip(MODELS, (4.0, 3.0, 2.0), strict=True):
                for question in questions:
                    points = str(min(5, max(1, round(rng.gauss(centre, 0.8)))))
                    answer = points if kind == "scale" else ["no", "yes"][rng.random() < centre / 5]
                    made.append(
                        Rating("opinion", f"r{rater}", "human", single(prompt, model), prompt,
                               model, question.name, answer)
                    )  # fmt: skip
    return made_study, made


def test_mean_opinions_are_means_and_alpha_is_that_of_krippendorff() -> None:
    asked, ratings = opinions()
    found = [summarize(poll) for poll in polls([asked], ratings)]
    assert [one.question for one in found] == ["alignment", "aesthetics"]
    own = [r for r in ratings if r.question == "alignment"]
    for model in MODELS:
        answers = [int(r.response) for r in own if r.model == model]
        assert value(found[0], model, "mean_opinion") == pytest.approx(np.mean(answers))
    assert [row.winner for row in found[0].comparisons] == ["good", "good", "fair"]
    items = list(dict.fromkeys(r.item for r in own))
    table = np.full((5, len(items)), np.nan)
    for rating in own:
        table[int(rating.rater[1]), items.index(rating.item)] = int(rating.response)
    expected = alpha(reliability_data=table, level_of_measurement="ordinal")
    assert found[0].alpha.value == pytest.approx(expected, abs=1e-9)


def test_raters_who_vote_at_random_do_not_agree_however_many_pairs_there_are() -> None:
    rng = random.Random(3)
    ratings = [
        dataclasses.replace(vote, response=rng.choice(parts(vote.item)[1:])) for vote in votes(6)
    ]
    alpha_found = summary(ratings).alpha
    assert alpha_found.low < 0 < alpha_found.high  # pyright: ignore[reportOptionalOperand]


def test_more_answers_are_needed_until_the_interval_is_narrow() -> None:
    few, many = (summary(votes(raters)) for raters in (2, 40))
    [first] = [x for x in few.results if (x.model, x.metric) == ("good", "win_rate")]
    [last] = [x for x in many.results if (x.model, x.metric) == ("good", "win_rate")]
    assert first.more is None or first.more > 0
    assert first.more_note
    assert last.more == 0


def test_a_checklist_has_yes_rates() -> None:
    asked, ratings = opinions("checklist")
    [found] = [summarize(poll) for poll in polls([asked], ratings)]
    yes = np.mean([r.response == "yes" for r in ratings if r.model == "good"])
    assert value(found, "good", "yes_rate") == pytest.approx(yes)


def test_two_raters_who_answer_in_opposite_ways_are_named() -> None:
    asked, ratings = opinions()
    turned = [
        dataclasses.replace(r, rater="turned", response=str(6 - int(r.response)))
        for r in ratings
        if r.rater == "r0"
    ]
    [found, _] = [summarize(poll) for poll in polls([asked], ratings + turned)]
    assert "r0 and turned" in found.opposed
    assert not any("r1 and r2" in pair for pair in found.opposed)


# --- in the files of a run ---
def rated(path: Path) -> Run:
    """A scored run with votes; clip_score knows the truth, and kid says the opposite."""
    run = make_run(path, tuple(f"prompt {at}" for at in range(len(PROMPTS))), MODELS)
    worth = dict(zip(MODELS, (3.0, 2.0, 1.0), strict=True))
    rows = [
        MetricRow(model, metric, "encoder", "", sign * worth[model], None, None, 40, 40, better)
        for metric, better, sign in (("clip_score", "higher", 1), ("kid", "lower", 1))
        for model in MODELS
    ]
    run.write_metrics(rows)
    run.write_scores(
        (model, at, 0, "clip_score", "encoder", repr(worth[model]))
        for model in MODELS
        for at in range(len(PROMPTS))
    )
    write_study(run, study())
    for rater in range(4):
        own = [vote for vote in votes() if vote.rater == f"r{rater}"]
        append_ratings(run.rater_path(f"r{rater}"), own)
    return run


def test_ratings_stand_in_the_files_of_a_scored_run(tmp_path: Path) -> None:
    run = rated(tmp_path)
    [found] = refresh(run)
    rows = {(row.model, row.metric): row for row in run.metrics()}
    for model in MODELS:
        row = rows[model, "win_rate"]
        assert (row.encoder, row.reference, row.better) == (
            "human:preference", "preference", "higher",
        )  # fmt: skip
        assert (row.count, row.requested) == (40, 40)
        assert row.value == value(found, model, "win_rate")
        assert row.low is not None
        assert "320 answers of 4 raters" in row.note
    comparisons = run.comparisons()
    assert comparisons is not None
    assert [row.metric for row in comparisons.rows] == ["win_rate"] * 3
    assert "corrected by themselves" in comparisons.statement
    assert run.protocol()["measures"]["strength"]["from_ratings"]
    assert read_summaries(run) == [found]


def test_to_write_them_again_changes_nothing(tmp_path: Path) -> None:
    run = rated(tmp_path)
    refresh(run)
    paths = (run.metrics_path, run.comparisons_path, run.protocol_path, run.summary_path)
    before = [path.read_bytes() for path in paths]
    refresh(run)
    assert [path.read_bytes() for path in paths] == before


def test_without_ratings_nothing_is_written(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.write_metrics([])
    before = run.metrics_path.read_bytes()
    assert refresh(run) == []
    assert run.metrics_path.read_bytes() == before
    assert not run.ratings_path.exists()


def test_the_metric_that_knows_the_truth_agrees_and_the_other_one_does_not(tmp_path: Path) -> None:
    run = rated(tmp_path)
    refresh(run)
    found = {(row.metric, row.level): row for row in run.agreement()}
    images, models = found["clip_score", "image"], found["clip_score", "model"]
    assert images.accuracy is not None
    assert images.accuracy_low > 0.6  # pyright: ignore[reportOptionalOperand]
    assert images.pairs + images.undecided == 3 * len(PROMPTS)
    assert (models.accuracy, models.correlation, models.pairs) == (1.0, 1.0, 3)
    assert (found["kid", "model"].accuracy, found["kid", "model"].correlation) == (0.0, -1.0)
    assert ("kid", "image") not in found  # it has no values of single images
    said = CliRunner().invoke(app, ["rate", "summary", str(run.path)]).stdout
    lines = " ".join(said.split())
    number = f"{images.accuracy:.2f}"
    what = "prefers what the raters prefer more often than by chance (Holm, 5%)."
    assert f"clip_score ({number}) {what}" in lines
    assert "kid has no value for single images; compared on models." in lines


def test_metrics_are_tested_against_chance_together(tmp_path: Path) -> None:
    run = rated(tmp_path)
    rng, names = np.random.RandomState(0), [f"guess{at}" for at in range(9)]
    rows = [row for row in run.metrics() if row.metric == "clip_score"]
    guesses = [dataclasses.replace(row, metric=name) for row in rows for name in names]
    run.write_metrics([*rows, *guesses])
    run.write_scores(
        (model, at, 0, metric, "encoder", repr(3.0 - MODELS.index(model) if metric == "clip_score"
                                               else float(rng.randn())))
        for metric in ("clip_score", *names)
        for model in MODELS
        for at in range(len(PROMPTS))
    )  # fmt: skip
    refresh(run)
    found = [row for row in run.agreement() if row.level == "image"]
    assert len(found) == 10
    assert [row.p_adjusted for row in found] == [
        one and one.p for one in holm([row.p for row in found])
    ]
    [best] = [row for row in found if row.metric == "clip_score"]
    assert best.p is not None
    assert best.p_adjusted == pytest.approx(10 * best.p)
    assert all(row.p is row.p_adjusted is None for row in run.agreement() if row not in found)


@pytest.mark.parametrize("mode", ["scale", "checklist"])
def test_no_interval_of_a_mean_leaves_the_scale(mode: Mode) -> None:
    kinds: dict[Mode, Question] = {"scale": SCALES[0], "checklist": Question("q", "Is it there?")}
    study = Study("s", mode, ("a",), tuple("12345678"), (kinds[mode],))
    best = "5" if mode == "scale" else "yes"
    worse = "4" if mode == "scale" else "no"
    answers = [
        Rating("s", rater, "human", single(prompt, "a"), prompt, "a", kinds[mode].name,
               worse if (prompt, rater) == ("1", "r1") else best)
        for prompt in study.prompts for rater in ("r1", "r2", "r3")
    ]  # fmt: skip
    [poll] = polls([study], answers)
    [one] = summarize(poll).results
    top = 5 if mode == "scale" else 1
    assert one.result.value is not None
    assert one.result.value < top
    assert one.result.high == top


def test_a_summary_is_read_back_from_json() -> None:
    found = summary(votes())
    assert from_json(json.loads(json.dumps(dataclasses.asdict(found)))) == found


def test_one_model_always_left_is_no_preference_for_a_side() -> None:
    ratings = [dataclasses.replace(vote, shown_left="good")
               for vote in votes(3, models=("good", "poor"))]  # fmt: skip
    found = summary(ratings, ("good", "poor"))
    assert found.left is None
    assert any("do not separate the effect of the side" in remark for remark in found.remarks)
