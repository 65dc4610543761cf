"""`rate plan`: the size of a study has the power that it promises."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ratings_for_tests import make_run
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.ratings.files import append_ratings
from evalkit.ratings.rating import Rating, pair
from evalkit.ratings.study import PREFERENCE, Study
from evalkit.ratings.study_file import write_study
from evalkit.statistics import clustered
from evalkit.statistics.multiple import ALPHA


def test_a_study_of_the_planned_size_finds_the_effect_as_often_as_promised() -> None:
    effect, raters = 0.15, 8
    [size] = evalkit.rate_plan(effect=effect, raters=raters, power=0.8, tie_share=0.2)
    assert size.prompts is not None
    assert size.answers == size.prompts * raters
    rng, found, studies = np.random.default_rng(0), 0, 300
    prompts, people = (
        places.ravel() for places in np.meshgrid(range(size.prompts), range(raters), indexing="ij")
    )
    for _ in range(studies):
        rate = (
            0.5
            + effect
            + rng.normal(0, 0.15, size.prompts)[prompts]
            + rng.normal(0, 0.05, raters)[people]
        )
        tie = rng.random(len(rate)) < 0.2
        wins = rng.random(len(rate)) < 0.5 + (np.clip(rate, 0.1, 0.9) - 0.5) / 0.8
        p = clustered.mean(np.where(tie, 0.5, wins), prompts, people).p(0.5)
        found += p is not None and p <= ALPHA
    assert abs(found / studies - 0.8) < 0.1


def test_more_models_and_smaller_effects_need_more() -> None:
    def prompts(**more: float) -> int:
        [size] = evalkit.rate_plan(**{"effect": 0.15, "raters": 15, **more})  # pyright: ignore
        assert size.prompts is not None
        return size.prompts

    assert prompts() < prompts(models=4)
    assert prompts() < prompts(effect=0.12)
    assert prompts() <= prompts(raters_per_prompt=3)


def test_variances_of_a_pilot_study_are_used(tmp_path: Path) -> None:
    texts = tuple(f"prompt {at}" for at in range(20))
    run = make_run(tmp_path, texts)
    ids = tuple(prompt.id for prompt in run.prompts())
    write_study(run, Study("preference", "pairwise", ("a", "b"), ids, (PREFERENCE,)))
    with pytest.raises(EvalkitError, match="has no pairwise ratings of at least two raters"):
        evalkit.rate_plan(effect=0.1, path=run.path)
    rng = np.random.default_rng(0)
    for rater in ("r1", "r2", "r3"):
        append_ratings(
            run.rater_path(rater),
            [
                Rating("preference", rater, "human", pair(one, "a", "b"), one, "", "preference",
                       str(rng.choice(["a", "b"])))
                for one in ids
            ],
        )  # fmt: skip
    [size] = evalkit.rate_plan(effect=0.2, raters=10, path=run.path)
    assert str(run.path) in size.method


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"effect": 0.0}, "effect is 0.0; expected a number above 0"),
        ({"effect": 0.45}, "effect is 0.45; expected less than 0.4"),
        ({"models": 1}, "models is 1; expected at least 2"),
        ({"raters_per_prompt": 9}, "raters_per_prompt is 9; expected 1 to 5"),
        ({"power": 1.0}, "power is 1.0; expected a number between 0 and 1"),
        ({"tie_share": 1.0}, "tie_share is 1.0"),
    ],
)
def test_impossible_values_are_one_sentence(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(EvalkitError, match=message):
        evalkit.rate_plan(**{"effect": 0.1, **wrong})  # pyright: ignore[reportArgumentType]


def test_where_no_number_of_prompts_is_enough_the_number_of_raters_is_named() -> None:
    command = ["rate", "plan", "--effect", "0.05", "--raters"]
    said = CliRunner().invoke(app, [*command, "5"]).stdout
    assert said.count("enough") == 3  # no number, 20000 prompts, and so many raters
    assert "prompts: no number is enough\n" in said
    assert "answers" not in said
    found = re.search(r"with (\d+) raters, (\d+) prompts are enough", said)
    assert found
    [size] = evalkit.rate_plan(effect=0.05, raters=int(found[1]))
    assert size.prompts == int(found[2])
    [size] = evalkit.rate_plan(effect=0.0001, raters=5)
    assert "100 raters are not enough either" in size.method
