"""The sentences that sum up a run."""

from __future__ import annotations

import dataclasses

import pytest
from report_runs import comparison, make_comparisons, make_run, write_comparisons

from evalkit.report import sentences
from evalkit.report.facts import read_facts


def test_what_was_generated_and_measured(run):
    facts = read_facts(run.path)
    assert sentences.headline(facts) == "dalle and gan on 40 prompts"
    assert sentences.lede(facts) == (
        "2 models, 40 prompts in 6 groups, 1 image per prompt: 78 of 80 images were generated (1"
        " refused, 1 failed). Measured with mini-inception and mini-clip against the reference"
        " scenes (10,000 images)."
    )


def test_one_group_is_no_grouping(run):
    facts = read_facts(run.path)
    prompts = [dataclasses.replace(prompt, group="all") for prompt in facts.prompts]
    assert "40 prompts, 1 image" in sentences.lede(dataclasses.replace(facts, prompts=prompts))


def test_without_comparisons_no_model_is_better(run):
    facts = read_facts(run.path)
    assert sentences.conclusion(facts) == "No difference between the models was tested."
    for name in ("index.html", "report.md"):
        text = (run.report_path / name).read_text(encoding="utf-8")
        text = text.replace("lower is better", "").replace("higher is better", "")
        assert " better than" not in text
        assert "is better" not in text


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (
            ["no significant difference", "no significant difference", "not tested"],
            "No significant difference between the models on any of 2 metrics (Holm, 5%)."
            " Not tested: 3 more metrics.",
        ),
        (
            ["no significant difference"],
            "No significant difference between the models on 1 metric (Holm, 5%)."
            " Not tested: 4 more metrics.",
        ),
        (
            ["a better", "a better", "b better"],
            "dalle is significantly better on 2 of 3 metrics and gan is significantly better on 1"
            " of 3 metrics (Holm, 5%). Not tested: 2 more metrics.",
        ),
        (
            ["b better", "no significant difference"],
            "gan is significantly better on 1 of 2 metrics; no significant difference on 1"
            " (Holm, 5%). Not tested: 3 more metrics.",
        ),
    ],
)
def test_conclusion(tmp_path, verdicts, expected):
    run = make_run(tmp_path / "run", 10, hostile=False)
    names = ("fid", "kid", "clip_score")
    pairs = zip(names, verdicts, strict=False)
    write_comparisons(run, [comparison(m, "dalle", "gan", verdict) for m, verdict in pairs])
    assert sentences.conclusion(read_facts(run.path)) == expected


def test_three_models_are_better_than_at_least_one_other(tmp_path):
    models = ("dalle", "gan", "third")
    run = make_run(tmp_path / "run", 10, models, hostile=False)
    make_comparisons(run, models)
    facts = read_facts(run.path)
    assert sentences.conclusion(facts).startswith(
        "dalle is significantly better than at least one other model on 1 of 2 metrics"
    )
    assert (
        sentences.differences(facts)
        == "2 of 9 differences are statistically significant (Holm, 5%)."
    )


def test_head_to_head_counts_prompts(tmp_path):
    run = make_run(tmp_path / "run", 10, hostile=False)
    values = {"dalle": [1.0, 2.0, 3.0, 9.0], "gan": [0.0, 3.0, 4.0]}
    rows = [
        (model, index, 0, "clip_score", "mini-clip", value)
        for model, own in values.items()
        for index, value in enumerate(own)
    ]
    run.write_scores(rows)
    expected = "gan has the higher score on 2 of 3 prompts."
    assert sentences.head_to_head(read_facts(run.path)) == expected


def test_banner_is_for_bundled_encoders_only(run, tmp_path):
    assert "mini-inception and mini-clip were trained" in sentences.banner(read_facts(run.path))
    other = make_run(tmp_path / "run", 10, hostile=False)
    text = other.metrics_path.read_text().replace("mini-", "")
    other.metrics_path.write_text(text)
    assert sentences.banner(read_facts(other.path)) == ""
