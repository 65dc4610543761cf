"""Which figures a run has, and what their captions say."""

from __future__ import annotations

import dataclasses

from report_runs import make_run

from evalkit.report.facts import read_facts
from evalkit.report.figures import make_charts


def charts(run):
    return {chart.name: chart for chart in make_charts(read_facts(run.path))}


def test_figures_of_a_run(run):
    made = charts(run)
    assert list(made) == ["metrics", "scores", "groups", "baseline", "outcomes", "speed"]
    assert [name for name in made if made[name].section == "outcomes"] == ["outcomes", "speed"]
    panels = {row["metric"] for row in made["metrics"].rows}
    assert panels == {"fid", "kid", "inception_score", "clip_score", "precision"}
    assert len(made["metrics"].panels) == 5
    assert {row["from_zero"] for row in made["metrics"].rows if row["metric"] == "kid"} == {True}


def test_baseline_of_a_distance_is_extrapolated(run):
    chart = charts(run)["baseline"]
    kinds = [row["kind"] for row in chart.rows]
    assert kinds == ["baseline"] + ["extrapolated"] * 5 + ["model"] * 2
    assert chart.rows[5]["value"] == chart.rows[0]["value"] / 16
    assert chart.title == "FID and its finite-sample baseline"
    assert "Only the gap above the line reflects the model." in chart.caption


def test_values_below_the_baseline_do_not_contradict_its_caption(tmp_path):
    run = make_run(tmp_path / "run", 10, hostile=False)
    rows = [
        dataclasses.replace(row, baseline=99.0 if row.metric == "fid" else None)
        for row in run.metrics()
    ]
    run.write_metrics(rows)
    caption = charts(run)["baseline"].caption
    assert "A value below the line is closer to the reference than as many real images" in caption
    assert "Only the gap above" not in caption


def test_baseline_of_a_score_is_not_extrapolated(tmp_path):
    run = make_run(tmp_path / "run", 10, hostile=False)
    rows = [
        dataclasses.replace(row, baseline=0.9 if row.metric == "precision" else None)
        for row in run.metrics()
    ]
    run.write_metrics(rows)
    made = charts(run)
    assert {row["kind"] for row in made["baseline"].rows} == {"baseline", "model"}
    assert "Only the gap below the line" in made["baseline"].caption
    assert made["baseline"].title == "Precision and its finite-sample baseline"


def test_baselines_of_all_counts_make_a_line(tmp_path):
    run = make_run(tmp_path / "run", 10, hostile=False)
    shared = [
        dataclasses.replace(row, on="common", count=8, baseline=20.0)
        for row in run.metrics()
        if row.metric == "fid"
    ]
    run.write_metrics([*run.metrics(), *shared])
    rows = charts(run)["baseline"].rows
    points = [(row["count"], row["value"]) for row in rows if row["kind"] == "baseline"]
    assert points == [(8, 20.0), (9, 11.7 * 39 / 9)]


def test_captions_follow_the_measure(tmp_path):
    run = make_run(tmp_path / "run", 10, hostile=False)
    caption = charts(run)["scores"].caption
    assert "further to the right has better scores" in caption
    text = run.metrics_path.read_text().replace('"higher"', '"lower"')
    run.metrics_path.write_text(text)
    assert "further to the left has better scores" in charts(run)["scores"].caption


def test_run_without_measured_values(tmp_path):
    run = make_run(tmp_path / "run", 10, hostile=False)
    rows = [dataclasses.replace(row, value=None, low=None, high=None) for row in run.metrics()]
    run.write_metrics(rows)
    assert list(charts(run)) == ["outcomes", "speed"]


def test_captions_name_the_lines_that_are_drawn(tmp_path):
    run = make_run(tmp_path / "run", 10, hostile=False)

    def caption(*names):
        run.write_metrics([row for row in rows if row.metric in names])
        return charts(run)["metrics"].caption

    rows = run.metrics()
    assert "line: " not in caption("fid").replace("vertical lines", "")  # baselines only
    assert caption("clip_score").endswith("Dotted line: the best value.")
    assert "Solid line: zero. Dotted line: the best value." in caption("kid", "clip_score")
