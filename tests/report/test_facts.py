"""What is read from a run folder."""

from __future__ import annotations

import dataclasses

from report_runs import comparison, make_run, write_comparisons

from evalkit.report.facts import read_facts, sample_prompts, speed_rows


def test_measures_of_records_are_apart_from_those_of_images(run):
    facts = read_facts(run.path)
    assert [f.measure.name for f in facts.of_images] == [
        "fid",
        "kid",
        "inception_score",
        "clip_score",
        "precision",
        "recall",
    ]
    assert [f.measure.name for f in facts.stated][6:] == ["refusal_rate"]  # one was refused


def test_rates_of_zero_are_not_stated(tmp_path):
    run = make_run(tmp_path / "run", 10, models=("dalle",), hostile=False)
    rows = [
        dataclasses.replace(row, value=0.0) if row.metric == "refusal_rate" else row
        for row in run.metrics()
    ]
    run.write_metrics(rows)
    assert len(read_facts(run.path).stated) == 6


def test_score_is_the_first_metric_with_values_per_image(tmp_path):
    run = make_run(tmp_path / "run", 10, hostile=False)
    header = ["model", "index", "sample", "metric", "encoder", "value"]
    rows = [
        ("dalle", 0, 0, "precision", "mini-inception", 1.0),
        ("dalle", 0, 0, "kid", "other encoder", 2.0),
        ("dalle", 0, 0, "inception_score", "mini-inception", 3.5),
        ("dalle", 1, 0, "inception_score", "mini-inception", "nan"),
        ("dalle", 2, 0, "inception_score", "mini-inception", ""),
    ]
    run.write_scores(header, rows)
    facts = read_facts(run.path)
    assert facts.score is not None
    assert facts.score.title == "Inception score"
    assert facts.scores == {("dalle", 0, 0): 3.5}
    run.scores_path.unlink()
    assert read_facts(run.path).score is None


def test_comparisons_of_unknown_models_are_left_out(tmp_path):
    run = make_run(tmp_path / "run", 10, hostile=False)
    write_comparisons(run, [comparison("fid", "dalle", "unknown", "a better")])
    assert read_facts(run.path).comparisons is None


def test_sample_of_prompts_is_fixed(run):
    facts = read_facts(run.path)
    chosen = sample_prompts(facts, 8)
    assert chosen == sorted(set(chosen)) == sample_prompts(facts, 8)
    assert len(chosen) == 8
    assert set(sample_prompts(facts, 3)) < set(chosen)


def test_speed_is_of_generated_images_only(tmp_path):
    run = make_run(tmp_path / "run", 10, hostile=False)
    dalle, gan = speed_rows(read_facts(run.path))
    assert (dalle["model"], dalle["count"], gan["count"]) == ("dalle", 9, 9)
    assert dalle["low"] <= dalle["value"] <= dalle["high"]
    assert 1 / 0.6 < dalle["images_per_second"] < 1 / 0.2
