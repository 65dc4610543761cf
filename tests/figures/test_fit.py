"""Texts are at least 6 pt at the final width and inside of the figure, whatever they say."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from figures_for_tests import LONG, MODELS, functions, metric_rows, run_figures, texts
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import evalkit
from evalkit.figures.pages import WIDTHS
from evalkit.figures.style import to_bytes

NAMES = [
    "metric_dots", "difference_dots", "pareto", "pareto_crosses", "group_dots",
    "score_distribution", "fid_by_count", "strengths", "win_rates", "metric_against_human",
    "metric_agreement", "image_grid",
]  # fmt: skip
PLACES = [("icml", "one"), ("cvpr", "two"), ("neurips", "one"), ("slides", "one")]
WIDE = [f"WWWWWWWWWWWWWWWWWWWWWW{n}WWWWWWWWWWWWWWWWWWWWWWWWW" for n in range(6)]


def clipped(figure: Figure) -> list[str]:
    """The texts that are not wholly inside of the figure, with a tolerance of a point."""
    figure.draw_without_rendering()
    renderer, point = FigureCanvasAgg(figure).get_renderer(), figure.dpi / 72
    outside = []
    for item in texts(figure):
        extent = item.get_window_extent(renderer)
        inside = (
            extent.x0 >= -point
            and extent.y0 >= -point
            and extent.x1 <= figure.bbox.width + point
            and extent.y1 <= figure.bbox.height + point
        )
        outside += [] if inside else [item.get_text()]
    return outside


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that cover each other by more than a fifth of the smaller one."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    found = [(item.get_text(), item.get_window_extent(renderer)) for item in texts(figure)]
    pairs = []
    for (one, a), (other, b) in itertools.combinations(found, 2):
        width = min(a.x1, b.x1) - max(a.x0, b.x0)
        height = min(a.y1, b.y1) - max(a.y0, b.y0)
        smaller = min(a.width * a.height, b.width * b.height)
        if width > 0 and height > 0 and width * height > 0.2 * smaller:
            pairs.append((one, other))
    return pairs


@pytest.mark.parametrize("models", [MODELS[:1], MODELS, LONG, WIDE], ids=["1", "2", "12", "wide"])
@pytest.mark.parametrize("name", NAMES)
def test_texts_are_readable_and_inside(name: str, models: list[str], tmp_path: Path) -> None:
    made = functions(tmp_path, models)
    if name not in made:
        assert len(models) < 3
        return
    for width, columns in PLACES if len(models) < 12 else PLACES[:2]:
        figure = made[name](width=width, columns=columns)
        assert figure.get_figwidth() == getattr(
            WIDTHS[width], "column" if columns == "one" else "page"
        )
        assert min(item.get_fontsize() for item in texts(figure)) >= 6
        assert clipped(figure) == []
        assert overlapping(figure) == []
        assert not any(item.get_parse_math() for item in texts(figure))


@pytest.mark.parametrize("models", [MODELS, LONG], ids=["2", "12"])
@pytest.mark.parametrize("name", ["baseline", "outcomes", "speed", "training_curve"])
def test_texts_of_the_report_are_readable_and_inside(name: str, models: list[str]) -> None:
    figure = run_figures(models)[name]()
    assert min(item.get_fontsize() for item in texts(figure)) >= 6
    assert clipped(figure) == []
    assert figure.get_figwidth() <= 6.75


def test_the_checks_of_this_file_can_fail() -> None:
    figure = Figure(figsize=(1, 1))
    figure.text(0.5, 0.5, "a text that is too long")
    figure.text(0.5, 0.5, "another one")
    assert clipped(figure) == ["a text that is too long", "another one"]
    assert overlapping(figure) == [("a text that is too long", "another one")]


@pytest.mark.parametrize("name", ["pareto", "group_dots", "score_distribution", "fid_by_count"])
def test_labels_in_a_legend_are_different_and_those_of_all_models(
    name: str, tmp_path: Path
) -> None:
    [legend] = functions(tmp_path, LONG)[name]().legends
    labels = [item.get_text() for item in legend.get_texts()]
    assert len(labels) == len({*labels}) == 12
    # Shortened in the middle: the beginning and the end are there.
    assert all(label.startswith(("d", "…")) and label.endswith("l") for label in labels)


@pytest.mark.parametrize("many", [1, 3, 12])
@pytest.mark.parametrize("name", NAMES)
def test_a_figure_for_slides_is_a_slide(name: str, many: int, tmp_path: Path) -> None:
    made = functions(tmp_path, [f"model-{n}" for n in range(many)])
    if name not in made:
        assert many < 3
        return
    figure = made[name](width="slides")
    assert figure.get_size_inches().tolist() == pytest.approx([10, 5.625])
    assert min(item.get_fontsize() for item in texts(figure)) >= 12


def test_six_metrics_of_six_models_are_a_slide() -> None:
    models = [f"model-{n}" for n in range(6)]
    rows = [row for row in metric_rows(models) if not row["group"]]
    rows += [row | {"metric": f"other_{row['metric']}"} for row in rows]
    figure = evalkit.figures.metric_dots(rows, width="slides")
    assert figure.get_size_inches().tolist() == pytest.approx([10, 5.625])
    assert clipped(figure) == []
    assert overlapping(figure) == []


@pytest.mark.parametrize("width", ["icml", "cvpr", "neurips", "slides"])
@pytest.mark.parametrize("columns", ["one", "two"])
@pytest.mark.parametrize("many", [1, 2, 5])
def test_images_reach_the_right_end(width: str, columns: str, many: int, tmp_path: Path) -> None:
    made = functions(tmp_path, [f"model-{n}" for n in range(many)])
    figure = made["image_grid"](width=width, columns=columns)
    ends = [image.get_extent()[1] for image in figure.axes[0].images]
    assert max(ends) > 0.93 * figure.get_figwidth()


@pytest.mark.parametrize("width", ["icml", "neurips", "slides"])
@pytest.mark.parametrize("name", ["metric_agreement", "win_rates"])
def test_a_matrix_is_in_the_middle(width: str, name: str, tmp_path: Path) -> None:
    figure = functions(tmp_path, list("abc"))[name](width=width)
    axes = figure.axes[0]
    ends = [one.get_window_extent().x0 for one in axes.get_yticklabels()]
    right = figure.bbox.width - axes.get_window_extent().x1
    assert min(ends) == pytest.approx(right, abs=0.04 * figure.bbox.width)


def test_files_have_the_size_of_the_figure(tmp_path: Path) -> None:
    figure = functions(tmp_path)["metric_dots"](width="icml")
    data = to_bytes(figure, "pdf").decode("latin-1")
    box = data.partition("/MediaBox [")[2].partition("]")[0].split()
    assert float(box[2]) == pytest.approx(3.25 * 72)
