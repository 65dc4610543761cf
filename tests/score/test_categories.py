"""Rows by category of a scorer's questions: means over questions, with prompts as the units."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scorers_for_tests import Words

import evalkit
from evalkit.core import FailedMetricWarning, MetricRow
from evalkit.results import Run
from evalkit.score.categories import MOST_CATEGORIES
from evalkit.statistics import intervals, paired

PROMPTS = [
    *("one cat", "two red cats", "three blue dogs and a cup", "a tree", "no cat", "a red boat"),
    *("four green cups", "a dog and a cat", "two trees and two red dogs"),
]
WORDS = "scorers_for_tests:WORDS"
A, B = "questions: short", "questions: long"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`words` asks about each word: short ones and long ones, and answers by pixels."""
    return evalkit.run(
        {"a": "noise", "b": "gan"},
        PROMPTS,
        per_prompt=2,
        metrics=[WORDS, "clip_score"],
        encoders="mini",
        out=tmp_path_factory.mktemp("categories") / "run",
    )


def _rows(run: Run) -> dict[tuple[str, str], MetricRow]:
    return {(row.model, row.group): row for row in run.metrics() if row.metric == "words"}


def _by_image(run: Run, model: str) -> list[dict[str, list[float]]]:
    """The parts of every image, asked again; {} where there is no answer."""
    prompts, scorer, found = run.prompts(), Words(), list[dict[str, list[float]]]()
    for record in run.records(model):
        image = Image.open(run.image_folder(model) / record.file).convert("RGB")
        [answer] = scorer([image], [prompts[record.index].text])
        found.append(answer.parts["value"] if isinstance(answer, evalkit.Answer) else {})
    return found


def test_the_value_is_the_mean_over_questions_as_the_program_of_geneval_2_has_it(run: Run) -> None:
    rows = _rows(run)
    for model in ("a", "b"):
        scores = defaultdict[str, list[float]](list)
        for of_image in _by_image(run, model):
            for category, values in of_image.items():
                scores[f"questions: {category}"] += values
        assert set(scores) == {A, B}
        for group, values in scores.items():
            assert rows[model, group].value == pytest.approx(np.mean(values))
            assert f"mean over {len(values)} questions" in rows[model, group].note


def test_the_interval_and_the_difference_are_over_prompts(run: Run) -> None:
    of_model, prompts = {}, []
    for model in ("a", "b"):
        found = [(record.index, value)
                 for record, parts in zip(run.records(model), _by_image(run, model), strict=True)
                 for value in parts.get("long", [])]  # fmt: skip
        of_model[model] = np.array([value for _, value in found])
        prompts = intervals.cluster_numbers(index for index, _ in found)
        low, high, method = intervals.clustered_bootstrap(of_model[model], prompts)
        row = _rows(run)[model, B]
        assert (row.low, row.high, row.interval) == (low, high, method)
    [pair] = [row for row in run.comparisons().rows if (row.metric, row.group) == ("words", B)]
    expected = paired.paired_means(of_model["a"], of_model["b"], prompts)
    assert (pair.difference, pair.p) == (expected.value, expected.p)
    assert (pair.low, pair.high) == pytest.approx(expected.interval())
    count = len(set(prompts.tolist()))
    assert (pair.prompts, pair.images) == (count, 2 * count)


def test_images_are_those_of_prompts_with_such_questions(run: Run) -> None:
    short = sum(any(len(word) < 4 for word in text.split()) for text in PROMPTS if "no" not in text)
    row = _rows(run)["a", A]
    assert (row.count, row.requested) == (2 * short, 2 * short)
    assert _rows(run)["a", ""].caution == "a: 2 of 18 images have no answer (2 x a no)"
    assert not row.caution  # the prompt without an answer has no known questions
    stated = json.loads(run.protocol_path.read_text())["questions"]
    assert stated[A] == short


def test_other_metrics_have_no_rows_of_questions(run: Run) -> None:
    assert {row.metric for row in run.metrics() if row.group} == {"words"}
    family = run.comparisons()
    assert family.group_family == 2
    assert "each category of a scorer's questions" in family.statement


def test_report_table_and_figure_name_the_categories(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = (run.report_path / "report.md").read_text()
    assert re.search(rf"\| {A} \| \d \| .* \|", text)
    assert "a prompt with several of them counts several times" in text
    evalkit.figures(run.path, out=tmp_path, only="groups", metrics="words")
    rows = (tmp_path / "groups.csv").read_text()
    assert A in rows
    assert B in rows
    for file in (tmp_path / "groups.txt", run.report_path / "tables" / "groups.tex"):
        said = " ".join(file.read_text().split())
        assert "is the mean over all questions of a category" in said, file


def test_only_the_categories_with_the_most_questions_are_measured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    prompts = [" ".join(f"k{at}" for at in range(MOST_CATEGORIES + 3)), "k1 k2 k26", "k26 k24"]
    rows = evalkit.run(
        "noise", prompts, metrics=["scorers_for_tests:EACH"], encoders="mini", out=tmp_path / "run"
    ).metrics()
    measured = [row.group for row in rows if row.group]
    assert len(measured) == MOST_CATEGORIES
    assert {"questions: k26", "questions: k1", "questions: k24"} <= set(measured)
    assert "3 categories of questions not measured" in caplog.text


def test_resumed_answers_give_the_same_rows(run: Run) -> None:
    again = evalkit.score(run.path)
    assert [row for row in again if row.metric == "words"] == [
        row for row in run.metrics() if row.metric == "words"
    ]


@pytest.mark.parametrize(
    "parts",
    [
        {"other": {"x": [1.0]}},  # the answer has no such value
        {"value": {"x": []}},
        {"value": {"x": [float("nan")]}},
        {"value": {"x": ["1"]}},
        {"value": {" ": [1.0]}},
        {"value": {"a\nb": [1.0]}},
        {"value": [1.0]},
        [1.0],
    ],
    ids=str,
)
def test_parts_that_are_no_numbers_of_a_value_are_one_sentence(
    tmp_path: Path, parts: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    import scorers_for_tests

    monkeypatch.setattr(scorers_for_tests, "PARTS", [parts])
    made = evalkit.generate("noise", ["a cat"], out=tmp_path / "run")
    with pytest.warns(FailedMetricWarning, match="whose parts are no numbers by a name of its"):
        evalkit.score(made.path, metrics="scorers_for_tests:WRONG_PARTS", only=True)
