"""A scorer with answers on different images of the models: nobody leads by answering less."""

from __future__ import annotations

from pathlib import Path

import pytest

import evalkit
from evalkit.report.facts import read_facts
from evalkit.results import Run

PROMPTS = ["a red circle", "a dog", "two green cups", "a heart", "a tree", "a cat", "a boat"]
PICKY = "scorers_for_tests:PICKY"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The model `small` has answers for two long prompts only."""
    return evalkit.run(
        {"small": "noise", "whole": "evalkit:noise"},
        PROMPTS,
        metrics=[PICKY, "duplicates"],
        encoders="pixels",
        options={"small": {"size": 24}},
        out=tmp_path_factory.mktemp("common") / "run",
    )


def test_a_scorer_has_rows_on_the_answers_that_all_models_have(run: Run) -> None:
    rows = {(one.model, one.metric, one.on): one for one in run.metrics()}
    long = [len(text) for text in PROMPTS if len(text) >= 12]
    mean = sum(long) / len(long)
    assert rows["small", "picky", "answered"].value == mean
    assert rows["whole", "picky", "answered"].value == pytest.approx(
        sum(map(len, PROMPTS)) / len(PROMPTS)
    )
    for model in ("small", "whole"):
        common = rows[model, "picky", "common"]
        assert (common.value, common.count) == (mean, len(long))
        assert "no answer" not in common.caution
    assert ("small", "duplicates", "common") not in rows  # its images are the same for both


def test_a_model_with_fewer_answers_does_not_lead(run: Run) -> None:
    facts = read_facts(run.path)
    [picky] = [one for one in facts.concluded if one.measure.name == "picky"]
    assert "have equal values" in picky.verdict
    assert {one.measure.name for one in facts.concluded} == {"picky", "duplicates"}
    text = (run.report_path / "report.md").read_text()
    assert (
        "The findings on Picky are about the 2 of 7 requested images for which all models have an"
        " answer." in text
    )
    assert "small has the best value" not in text


def test_of_many_models_the_one_all_are_compared_with_is_the_best_on_common_answers(
    tmp_path: Path,
) -> None:
    models = {"small": "noise", **{f"m{at}": "evalkit:noise" for at in range(8)}}
    options = {"small": {"size": 24}} | {f"m{at}": {"size": 40 + at} for at in range(8)}
    many = evalkit.generate(models, PROMPTS, options=options, out=tmp_path / "run")
    evalkit.score(many.path, metrics="scorers_for_tests:SIZED", only=True)
    pairs = many.comparisons().rows
    assert {one.model_a for one in pairs} == {"m7"}
