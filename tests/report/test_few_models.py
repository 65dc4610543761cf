"""Charts with a line for every model show the best ones of many, and say so."""

from __future__ import annotations

from odd_runs import ODD
from report_runs import add_groups, make_run

from evalkit.report.facts import read_facts
from evalkit.report.few_models import MOST, few_models
from evalkit.report.figures import make_charts
from evalkit.report.svg import inline_svg


def test_few_models_are_all_shown(tmp_path):
    run = make_run(tmp_path / "run", 12, hostile=False)
    add_groups(run)
    facts = read_facts(run.path)
    assert few_models(facts) == (facts, "")


def test_charts_of_fifty_models_show_the_best(tmp_path):
    facts = read_facts(ODD["fifty models"](tmp_path / "run").path)
    best = facts.models[:MOST]  # later models have worse values
    charts = {chart.name: chart for chart in make_charts(facts)}
    for name in ("scores", "groups", "baseline"):
        shown = {row["model"] for row in charts[name].rows if row["model"]}
        assert shown == set(best)
        assert "Shown: the 12 models with the best CLIP score of 50." in charts[name].caption
    assert {row["model"] for row in charts["metrics"].rows} == set(facts.models)
    for panel in (*charts["scores"].panels, *charts["groups"].panels):
        assert "viewBox" in inline_svg(panel, "x")  # laid out without a warning
