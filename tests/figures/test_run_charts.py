"""What the figures show."""

from __future__ import annotations

import pytest
from figures_for_tests import FIGURES, MODELS, forest_rows
from matplotlib.text import Text

from evalkit.report import charts
from evalkit.report.chart_style import to_bytes


def texts(figure) -> list[Text]:
    found = figure.findobj(Text)
    return [item for item in found if isinstance(item, Text) and item.get_text().strip()]


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_readable_and_plain(name):
    figure = FIGURES[name]()
    to_bytes(figure, "svg")
    found = texts(figure)
    assert found
    assert min(item.get_fontsize() for item in found) >= 6
    assert not any(item.get_parse_math() for item in found)
    assert not [item for item in found if r"\math" in item.get_text()]
    assert figure.get_figwidth() <= 6.75


def test_direction_and_reference_lines():
    figure = charts.forest(forest_rows(), MODELS)
    assert [axes.get_xlabel() for axes in figure.axes] == ["← lower is better"] * 2
    zero = [
        line.get_xdata()[0]
        for line in figure.axes[1].lines
        if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2
    ]
    assert zero == [0]
    assert figure.axes[0].get_title(loc="left") == "FID · mini"


def test_a_title_names_the_encoder_once():
    rows = [{**row, "title": "FID (mini)"} for row in forest_rows()]
    assert charts.forest(rows, MODELS).axes[0].get_title(loc="left") == "FID (mini)"


@pytest.mark.parametrize("baseline", [9.0, 90.0])
def test_baselines_are_in_view_on_either_side(baseline):
    rows = [{**row, "baseline": baseline} for row in forest_rows()[:2]]
    low, high = charts.forest(rows, MODELS).axes[0].get_xlim()
    assert low < baseline < high


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_direction_follows_the_measure(better):
    rows = [{"model": MODELS[0], "value": float(i)} for i in range(9)]
    label = charts.distribution(rows, MODELS, "Scores", better).axes[0].get_xlabel()
    assert label.replace("←", "").replace("→", "").strip() == f"{better} is better"


def test_models_of_similar_long_names_have_different_labels():
    models = [f"organisation/the-same-long-beginning-{i}-the-same-long-end" for i in range(2)]
    rows = [{"model": m, "outcome": "ok", "count": 3} for m in models]
    labels = [item.get_text() for item in charts.outcomes(rows, models).axes[0].get_yticklabels()]
    assert len(set(labels)) == 2
    rows = [{"model": m, "value": float(i)} for m in models for i in range(9)]
    [legend] = charts.distribution(rows, models, "Scores", "higher").legends
    assert len({item.get_text() for item in legend.get_texts()}) == 2


def test_outcomes_of_a_model_add_up():
    counts = {"ok": 5, "refused": 2, "failed": 0, "missing": 3}
    rows = [{"model": "a", "outcome": name, "count": n} for name, n in counts.items()]
    figure = charts.outcomes(rows, ["a"])
    widths = [patch.get_width() for patch in figure.axes[0].patches]
    assert widths == [5, 2, 3]
    assert [item.get_text() for item in figure.legends[0].get_texts()] == [
        "image",
        "refused",
        "missing",
    ]
    assert "5 of 10" in [item.get_text() for item in texts(figure)]
