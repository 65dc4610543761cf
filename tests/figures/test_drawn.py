"""What is drawn: positions of artists are the values of the frame, whatever the look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from figures_for_tests import (
    MODELS,
    comparison_rows,
    count_rows,
    image_rows,
    metric_rows,
    pair_rows,
    pareto_rows,
    score_rows,
    strength_rows,
    texts,
    win_rate_rows,
)
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from PIL import Image
from scipy import stats

import evalkit
from evalkit.core import EvalkitError
from evalkit.figures.style import COLOURS, MARKERS, to_bytes

of = evalkit.figures
THREE = ["a", "b", "c"]


def markers(axes: Axes) -> list[tuple[float, float]]:
    """The points of lines that have a marker and no line."""
    lines = [line for line in axes.lines if line.get_marker() not in ("None", "", None)]
    return [point for line in lines for point in zip(*line.get_data(), strict=True)]


def bars(axes: Axes) -> list[tuple[float, float]]:
    """The two ends of each horizontal error bar."""
    segments = [
        segment
        for one in axes.collections
        if isinstance(one, LineCollection)
        for segment in one.get_segments()
    ]
    ends = [sorted(segment[:, 0]) for segment in segments if segment[0, 1] == segment[1, 1]]
    return [(low, high) for low, high in ends]


def said(figure: Figure) -> list[str]:
    return [item.get_text() for item in texts(figure)]


# --- metrics ---
def test_dots_are_at_the_values_and_bars_at_the_ends() -> None:
    figure = of.metric_dots(metric_rows(THREE))
    fid = figure.axes[0]
    assert markers(fid) == [(30.0, 0), (33.0, 1), (36.0, 2)]
    assert bars(fid) == [(28.0, 32.0), (31.0, 35.0), (34.0, 38.0)]
    assert fid.get_title(loc="left") == "FID · inception"
    assert fid.get_xlabel() == "← lower is better"
    assert [label.get_text() for label in fid.get_yticklabels()] == THREE
    assert figure.axes[2].get_xlabel() == "higher is better →"


def test_the_finite_sample_baseline_is_in_view() -> None:
    rows = [row | {"baseline": 90.0} for row in metric_rows(THREE) if row["metric"] == "fid"]
    low, high = of.metric_dots(rows).axes[0].get_xlim()
    assert low < 30 < 90 < high


def test_an_axis_from_zero_has_a_line_there() -> None:
    kid = of.metric_dots(metric_rows(THREE)).axes[1]
    assert [0, 0] in [list(line.get_xdata()) for line in kid.lines]


def test_only_named_metrics_and_models_are_drawn() -> None:
    figure = of.metric_dots(metric_rows(THREE), metrics=["kid"], models=["c", "a"])
    [axes] = figure.axes
    assert [place for _, place in markers(axes)] == [1, 0]  # a is below c
    with pytest.raises(EvalkitError, match="only of fid, kid, clip_score"):
        of.metric_dots(metric_rows(THREE), metrics=["vendi"])


def test_a_data_frame_and_rows_give_the_same_figure() -> None:
    rows = metric_rows(THREE)
    frame = pandas.DataFrame(rows)  # a missing baseline is NaN
    assert markers(of.metric_dots(frame).axes[1]) == markers(of.metric_dots(rows).axes[1])


@pytest.mark.parametrize("name", sorted(of.__all__))
def test_what_is_no_frame_is_refused(name: str) -> None:
    class Run:
        pass

    for wrong in (Run(), "reports/first", ["fid"], None):
        with pytest.raises(EvalkitError, match=r"Expected a data frame.*`run\.frame\(|by_count"):
            getattr(of, name)(wrong)


@pytest.mark.parametrize("name", ["metric_dots", "group_dots", "pareto", "strengths", "win_rates"])
def test_a_frame_without_rows_or_columns_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(EvalkitError, match=r"no rows.*nothing to draw"):
        getattr(of, name)([])
    with pytest.raises(EvalkitError, match="lacks the column"):
        getattr(of, name)(pandas.DataFrame({"model": ["a"], "other": [1]}))


def test_titles_of_a_plain_frame_are_those_of_the_installed_metrics() -> None:
    rows = [{k: v for k, v in r.items() if k != "title"} for r in metric_rows(THREE)]
    assert of.metric_dots(rows, metrics=["fid"]).axes[0].get_title(loc="left") == "FID · inception"


def test_an_unknown_width_is_refused() -> None:
    with pytest.raises(EvalkitError, match=r"There is no width 'icmll'.*icml"):
        of.metric_dots(metric_rows(), width="icmll")
    with pytest.raises(EvalkitError, match="expected one or two"):
        of.metric_dots(metric_rows(), columns="three")


# --- differences ---
def test_differences_have_both_intervals_the_margin_and_the_verdict() -> None:
    axes = of.difference_dots(comparison_rows(THREE)).axes[0]
    drawn = [(list(line.get_xdata()), line) for line in axes.lines if len(line.get_xdata()) == 2]
    ends = [data for data, line in drawn if line.get_marker() == "None" and data != [0, 0]]
    assert ends == [[-4.0, 0.0], [-3.0, -1.0], [-3.0, 1.0], [-2.0, 0.0]]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in points] == [-2.0, -1.0]
    filled = [to_rgb(line.get_markerfacecolor()) != (1.0, 1.0, 1.0) for line in points]
    assert filled == [True, False]  # significant, not significant
    band = axes.collections[0].get_datalim(axes.transData)
    assert (band.x0, band.x1) == (-1.5, 1.5)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a − b", "a − c"]  # noqa: RUF001


def test_without_a_margin_there_is_no_band() -> None:
    rows = [row | {"margin": None} for row in comparison_rows(THREE)]
    assert not of.difference_dots(rows).axes[0].collections


def test_of_many_pairs_those_with_the_best_model_are_drawn() -> None:
    names = [f"m{n}" for n in range(7)]
    rows = []
    for first, a in enumerate(names):
        for second in range(first + 1, 7):
            row = comparison_rows(["x", "y"])[0] | {"model_a": a, "model_b": names[second]}
            rows.append(row | {"difference": float(first - second)})  # the last one is worst
    axes = of.difference_dots(rows).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [f"m0 − m{n}" for n in range(1, 7)]  # noqa: RUF001


# --- pareto ---
def test_an_ellipse_is_the_joint_region_of_hotelling() -> None:
    [row] = pareto_rows(["a"])
    axes = of.pareto([row]).axes[0]
    ellipse = next(patch for patch in axes.patches if isinstance(patch, Ellipse))
    assert ellipse.center == (row["x"], row["y"])
    outline = ellipse.get_patch_transform().transform(ellipse.get_path().vertices)
    matrix = np.array([[1.0, -0.1], [-0.1, 0.04]])
    steps = outline - [row["x"], row["y"]]
    squared = np.einsum("ni,ij,nj->n", steps, np.linalg.inv(matrix), steps)
    limit = 2 * 19 / 18 * stats.f.ppf(0.95, 2, 18)
    # The points of a Bézier circle are on it or at control points outside.
    assert squared.min() == pytest.approx(limit, rel=1e-3)


def test_without_a_covariance_there_are_crosses_and_no_ellipse() -> None:
    axes = of.pareto(metric_rows(THREE)).axes[0]
    assert not [patch for patch in axes.patches if isinstance(patch, Ellipse)]
    ends = [line.get_xdata() for line in axes.lines if line.get_marker() == "None"]
    assert [28.0, 32.0] in [list(one) for one in ends]
    assert axes.get_xlabel() == "FID, lower is better"
    assert axes.get_ylabel() == "CLIP score, higher is better"


def test_the_front_joins_the_models_that_no_other_dominates() -> None:
    rows = [
        pareto_rows(["a"])[0] | {"model": name, "x": x, "y": y}
        for name, x, y in (("low", 1.0, 1.0), ("high", 3.0, 3.0), ("worse", 4.0, 2.0))
    ]
    axes = of.pareto(rows).axes[0]
    dotted = [line for line in axes.lines if line.get_linestyle() not in ("-", "None")]
    assert [line.get_xydata().tolist() for line in dotted] == [[[1.0, 1.0], [3.0, 3.0]]]


def test_a_model_far_away_is_at_the_edge_and_the_others_fill_the_axes() -> None:
    rows = pareto_rows(["a", "b", "c", "d"])
    near = of.pareto(rows[:3]).axes[0]
    rows[3] |= {"x": 400.0, "y": 12.0}
    figure = of.pareto(rows)
    axes = figure.axes[0]
    assert axes.get_xlim() == near.get_xlim()
    assert (axes.get_xlim()[1], axes.get_ylim()[0]) in markers(axes)
    assert "(400, 12) →" in said(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list("abcd")


@pytest.mark.parametrize("many", [2, 3])
def test_models_that_are_not_far_away_or_too_few_are_inside(many: int) -> None:
    rows = pareto_rows(["a", "b", "c"][:many])
    rows[-1] |= {"x": 400.0} if many == 2 else {"x": 40.0}
    low, high = of.pareto(rows).axes[0].get_xlim()
    assert low < rows[0]["x"] < rows[-1]["x"] < high


# --- by group, distribution ---
def test_groups_have_the_values_of_all_models_and_their_numbers_of_prompts() -> None:
    axes = of.group_dots(metric_rows(THREE)).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[:2] == ["colour (4)", "<b> & $x$ (5)"]
    assert sorted(x for x, _ in markers(axes))[:3] == [23.0, 24.0, 24.0]
    assert axes.get_xlabel() == "CLIP, higher is better →"  # the title of the rows by group
    verticals = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
    assert verticals == [27.0, 26.0, 25.0]


def test_a_distribution_of_many_images_has_few_steps_and_the_same_shape() -> None:
    rows = [{"model": "a", "metric": "clip_score", "value": value**2} for value in range(10_000)]
    curve = of.score_distribution(rows).axes[0].lines[0]
    places, shares = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
    assert len(places) < 500
    assert (places[1], places[-1], shares[-1]) == (0, 9_999**2, 1)
    inside = (places >= 0) & (shares < 1)
    assert np.abs(np.sqrt(places[inside]) / 10_000 - shares[inside]).max() < 0.01


def test_a_distribution_reaches_one_and_has_its_median() -> None:
    axes = of.score_distribution(score_rows(["a", "b"])).axes[0]
    [curve, *_] = axes.lines
    assert curve.get_ydata()[-1] == 1
    assert markers(axes)[0] == (20 + 14 / 7, 0.5)


# --- FID by count ---
def test_the_line_in_one_over_n_ends_at_its_value_at_infinity() -> None:
    axes = of.fid_by_count(count_rows(["a"])).axes[0]
    assert (0, pytest.approx(20.0)) in markers(axes)
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert {"∞", "500", "1,000"} <= {*labels}
    assert (pytest.approx(1 / 1000), pytest.approx(24.0)) in markers(axes)


def test_fid_by_count_of_a_frame_with_many_metrics_needs_several_counts_of_fid() -> None:
    whole = [row for row in metric_rows(THREE) if not row["group"]]
    with pytest.raises(EvalkitError, match=r"at one number of images \(40\).*fid_by_count.csv"):
        of.fid_by_count(whole)
    with pytest.raises(EvalkitError, match="no metric 'fid', only kid"):
        of.fid_by_count([row for row in whole if row["metric"] == "kid"])
    mixed = [row | {"metric": "fid", "encoder": "e"} for row in count_rows(["a"])]
    mixed += [row | {"metric": "kid", "value": 0.1} for row in mixed]
    assert markers(of.fid_by_count(mixed).axes[0]) == markers(
        of.fid_by_count(count_rows(["a"])).axes[0]
    )


def test_the_largest_number_of_images_always_has_a_label() -> None:
    counts = (69, 77, 86, 95, 104, 113, 122, 131, 138)
    for most in (138, 139, 50_000):
        rows = [{"model": "a", "count": n, "value": 20 + 300 / n} for n in (*counts, most)]
        labels = [one.get_text() for one in of.fid_by_count(rows).axes[0].get_xticklabels()]
        assert len(labels) == len({*labels})
        assert {"∞", "69", f"{most:,}"} <= {label.strip() for label in labels}


def test_open_markers_of_equal_values_are_side_by_side() -> None:
    rows = [row | {"model": name} for name in "ab" for row in count_rows(["a"])]
    axes = of.fid_by_count(rows).axes[0]
    ends = [
        line.get_transform().transform(line.get_xydata())[0]
        for line in axes.lines
        if to_rgb(line.get_markerfacecolor()) == (1.0, 1.0, 1.0)
    ]
    apart = abs(ends[0][0] - ends[1][0]) / axes.figure.dpi * 72
    assert apart > 5  # points
    assert axes.get_xlim()[0] < 0
    assert of.fid_by_count(count_rows(["a", "z"])).axes[0].get_xlim()[0] == 0


# --- raters ---
def test_strengths_are_those_of_raters_only() -> None:
    axes = of.strengths([*metric_rows(THREE), *strength_rows(THREE)]).axes
    assert len(axes) == 1
    assert markers(axes[0]) == [(40.0, 0), (20.0, 1), (0.0, 2)]


def test_win_rates_are_in_percent_of_the_row_and_significant_pairs_have_a_frame() -> None:
    figure = of.win_rates(win_rate_rows(THREE))
    axes = figure.axes[0]
    assert {"53", "56", "47", "44"} <= set(said(figure))
    assert [label.get_text() for label in axes.get_yticklabels()] == THREE  # the best one first
    framed = [patch.get_xy() for patch in axes.patches if not patch.get_fill()]
    assert framed == [(2 - 0.44, 0 - 0.44), (0 - 0.44, 2 - 0.44)]


def test_the_correlation_with_raters_is_that_of_pairs_and_their_mirror_images() -> None:
    rows = pair_rows()
    x = np.array([row["difference"] for row in rows])
    y = np.array([row["preference"] for row in rows])
    expected = stats.spearmanr(np.concatenate([x, -x]), np.concatenate([y, -y]))[0]
    figure = of.metric_against_human(rows)
    [text] = [one for one in said(figure) if one.startswith("Spearman")]
    assert f"Spearman {expected:.2f} (" in text
    assert " to " in text
    assert len(markers(figure.axes[0])) == 60


def test_the_axis_of_a_study_of_pairs_is_the_share_of_raters() -> None:
    rows = pair_rows()  # preferences -1, 0 and 1
    shares = of.metric_against_human([row | {"mode": "pairwise"} for row in rows]).axes[0]
    opinions = of.metric_against_human(rows).axes[0]
    assert shares.get_ylabel() == "raters who prefer the first, %"
    assert opinions.get_ylabel() == "opinion, first − second"  # noqa: RUF001
    for (_, share), (_, opinion) in zip(markers(shares), markers(opinions), strict=True):
        assert share == pytest.approx(50 * (1 + opinion), abs=6)


# --- metrics against metrics ---
def test_metrics_are_turned_so_that_larger_is_better() -> None:
    rows = [row for row in metric_rows(THREE) if not row["group"]]
    figure = of.metric_agreement(rows)
    # FID and KID grow and CLIP score falls with the place of the model: all rank alike.
    assert said(figure).count("1.0") == 6
    falling = [row | {"value": -row["value"]} if row["metric"] == "kid" else row for row in rows]
    assert said(of.metric_agreement(falling)).count("−1.0") == 4  # noqa: RUF001


def test_two_models_say_nothing_about_the_agreement_of_metrics() -> None:
    with pytest.raises(EvalkitError, match=r"all metrics: 2.* expected at least 3 models"):
        of.metric_agreement(metric_rows(MODELS))


# --- images ---
def test_images_are_chosen_by_rules(tmp_path: Path) -> None:
    from evalkit.figures.image_grid import chosen_images

    images, scores = image_rows(tmp_path, ["a", "b"])
    rows = chosen_images(images, scores)
    kinds: dict[str, list[str]] = {}
    for row in rows:
        kinds.setdefault(row["kind"], []).append(row["prompt"])
    assert kinds["best mean CLIP score"] == ["p0", "p0", "p1", "p1"]
    assert kinds["worst mean CLIP score"] == ["p8", "p8", "p7", "p7"]
    assert kinds["most disagreed"][0] == "p4"
    assert len(kinds["random (seed 0)"]) == 4
    assert chosen_images(images, scores) == rows
    other = chosen_images(images, scores, seed=1)
    assert [row["prompt"] for row in other[:4]] != kinds["random (seed 0)"]
    assert other[4:] == rows[4:]


def test_a_prompt_that_a_model_refused_is_not_shown(tmp_path: Path) -> None:
    from evalkit.figures.image_grid import chosen_images

    images, scores = image_rows(tmp_path, ["a", "b"])
    images = [row for row in images if (row["model"], row["prompt"]) != ("b", "p0")]
    assert "p0" not in {row["prompt"] for row in chosen_images(images, scores)}


def test_the_grid_has_one_image_of_each_model_per_line(tmp_path: Path) -> None:
    images, scores = image_rows(tmp_path, ["a", "b"])
    figure = of.image_grid(images, scores)
    assert len(figure.axes[0].images) == 2 * 8
    without = of.image_grid(images)
    assert len(without.axes[0].images) == 2 * 2
    assert "random (seed 0)" in " ".join(said(without))


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    images, _ = image_rows(tmp_path, ["a"])
    (tmp_path / "0.png").write_bytes(b"no image")
    with pytest.raises(EvalkitError, match=r"0\.png cannot be read"):
        of.image_grid(images)


def test_images_of_a_csv_are_found_from_the_folder_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, _ = image_rows(tmp_path, ["a", "b"])
    relative = [row | {"path": Path(row["path"]).name} for row in images]
    monkeypatch.chdir(Path(__file__).parent)
    with pytest.raises(EvalkitError, match=r"0\.png .*relative path.*`folder=`.*run folder"):
        of.image_grid(relative)
    assert len(of.image_grid(relative, folder=tmp_path).axes[0].images) == 4
    gone = [row | {"path": str(tmp_path / "gone.png")} for row in images]
    with pytest.raises(EvalkitError, match=r"gone\.png does not exist"):
        of.image_grid(gone, folder=tmp_path)


# --- looks ---
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_figure_has_a_white_background_unless_told_otherwise(tmp_path: Path, kind: str) -> None:
    figure = of.metric_dots(metric_rows(THREE))
    to_bytes(figure, "svg")  # as in the HTML page, which has its own background
    for name, options in (("white", {}), ("clear", {"transparent": True})):
        figure.savefig(tmp_path / f"{name}.{kind}", **options)
    if kind == "png":
        corner = {
            name: Image.open(tmp_path / f"{name}.png").convert("RGBA").getpixel((0, 0))
            for name in ("white", "clear")
        }
        assert corner == {"white": (255, 255, 255, 255), "clear": (255, 255, 255, 0)}
    else:
        assert "fill: #ffffff" in (tmp_path / "white.svg").read_text()
        assert b"fill: #ffffff" not in to_bytes(figure, "svg")


def test_a_model_has_the_same_look_in_all_figures_of_a_list() -> None:
    both = ["a", "b", "c"]
    rows = [row for row in score_rows(both) if row["model"] != "a"]
    axes = of.score_distribution(rows, models=both).axes[0]
    assert axes.lines[0].get_color() == COLOURS[1]
    dots = of.metric_dots(metric_rows(both), models=both).axes[0]
    drawn = [line for line in dots.lines if line.get_marker() in MARKERS]
    assert [line.get_marker() for line in drawn] == list(MARKERS[:3])


def test_colours_differ_in_grey_together_with_their_markers() -> None:
    def grey(colour: str) -> float:
        return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))

    shades = sorted(grey(colour) for colour in COLOURS)
    assert len({round(shade, 2) for shade in shades}) == len(COLOURS)
    assert max(shades) < 0.75  # visible on white


def test_rows_of_models_are_not_drawn_as_values_of_images():
    rows = [{**row, "requested": 4} for row in score_rows(["a", "b"])]
    with pytest.raises(EvalkitError, match="one value per model; expected one per image"):
        of.score_distribution(rows)


@pytest.mark.parametrize("each", [0, -1, "x", True])
def test_the_prompts_of_each_kind_are_a_number(each: Any):
    from evalkit.figures.image_grid import chosen_images

    with pytest.raises(EvalkitError, match="expected a whole number from 1 to 100"):
        chosen_images([{"model": "a", "prompt": "p", "path": "x"}], each=each)
