"""`evalkit figures`: files, captions, reasons, and the same bytes in every process."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import logging
import re
import shutil
import subprocess
from pathlib import Path

import pandas
import pytest
from forked import Command
from report_runs import add_groups, comparison, make_comparisons, make_run, write_comparisons

import evalkit
from evalkit.core import EvalkitError
from evalkit.figures.said import bars
from evalkit.figures.style import to_bytes
from evalkit.figures.write import FILES
from evalkit.report.facts import read_facts
from evalkit.report.figures import make_charts
from evalkit.report.markdown import to_markdown
from evalkit.report.sections import contexts
from evalkit.run_folder import Run

THREE = ("dalle", "gan", "third")
DRAWN = ["metrics", "differences", "pareto", "groups", "scores", "agreement", "images"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = make_run(tmp_path_factory.mktemp("runs") / "three", 40, THREE)
    make_comparisons(made, THREE)
    add_groups(made)
    return made


@pytest.fixture(scope="module")
def folder(run: Run) -> Path:
    return evalkit.figures(run)


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*"))}


def test_each_figure_has_all_its_files(run: Run, folder: Path) -> None:
    assert folder == run.path / "figures" / "icml"
    names = {path.name for path in folder.glob("*")}
    assert names == {f"{name}.{kind}" for name in DRAWN for kind in FILES}
    assert all(path.stat().st_size > 50 for path in folder.glob("*"))


def test_the_same_run_gives_the_same_bytes_in_another_process(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    only = "metrics,pareto,scores,images"
    code = f"import evalkit; evalkit.figures({str(run.path)!r}, only={only!r}, out='again')"
    assert Command(code, tmp_path).wait() == 0
    again, known = hashes(tmp_path / "again"), hashes(folder)
    assert len(again) == 4 * len(FILES)
    assert again == {name: known[name] for name in again}


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("metrics", "metric_dots"),
        ("differences", "difference_dots"),
        ("pareto", "pareto"),
        ("groups", "group_dots"),
        ("scores", "score_distribution"),
        ("agreement", "metric_agreement"),
    ],
)
def test_the_csv_is_the_frame_of_the_figure(folder: Path, name: str, function: str) -> None:
    frame = pandas.read_csv(folder / f"{name}.csv")
    figure = getattr(evalkit.figures, function)(frame)
    assert to_bytes(figure, "png") == (folder / f"{name}.png").read_bytes()


def test_captions_say_what_the_bars_are_and_how_many_images(folder: Path) -> None:
    said = {name: (folder / f"{name}.txt").read_text() for name in DRAWN}
    assert "(N = 39 to 40 images)" in said["metrics"]
    assert "Bars: 95% intervals (bootstrap over prompts)." in said["metrics"]
    assert "finite-sample baselines" in said["metrics"]
    assert "Solid lines: zero. Dotted lines: the best value." in said["metrics"]
    assert "(N = 38 prompts)" in said["differences"]
    assert "Thick bars: 95% intervals (paired)" in said["differences"]
    assert "Without a margin: KID" in said["differences"]
    assert "They are no joint regions" in said["pareto"]
    assert "There are no error bars." in said["scores"]
    assert "There are no intervals" in said["agreement"]
    assert "not by hand" in said["images"]
    assert "(seed 0)" in said["images"]


def test_the_log_says_which_figures_are_absent_and_why(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "evalkit"):
        evalkit.figures(run, only="scores,fid_by_count,strengths,win_rates,human", out=tmp_path)
    said = [record.getMessage() for record in caplog.records]
    absent = dict(re.match(r"no figure (\w+): (.*)", one).groups() for one in said if "no f" in one)
    assert absent.keys() == {"fid_by_count", "strengths", "win_rates", "human"}
    assert "features" in absent["fid_by_count"]
    assert "rating" in absent["human"]


def test_shares_have_no_distribution(run: Run, tmp_path: Path) -> None:
    """A metric of 0 and 1 is passed over, and alone it is no figure."""
    with run.scores_path.open() as file:
        graded = list(csv.DictReader(file))
    hits = [{**row, "metric": "precision", "value": str(at % 2)} for at, row in enumerate(graded)]
    for rows, metric in ((hits + graded, graded[0]["metric"]), (hits, "")):
        run.write_scores(tuple(row.values()) for row in rows)
        folder = evalkit.figures(run, only="scores,metrics", out=tmp_path / (metric or "none"))
        made = folder / "scores.csv"
        assert made.exists() == bool(metric)
        if metric:
            assert set(pandas.read_csv(made).metric) == {metric}


def test_a_run_with_one_model_has_what_one_model_can_have(tmp_path: Path) -> None:
    made = make_run(tmp_path / "one", 40, ("dalle",))
    folder = evalkit.figures(made)
    assert {path.stem for path in folder.glob("*.pdf")} == {"metrics", "pareto", "scores", "images"}


def test_only_and_metrics_choose(run: Run, tmp_path: Path) -> None:
    folder = evalkit.figures(run, only=["metrics"], metrics="kid", out=tmp_path, columns="two")
    assert {path.stem for path in folder.glob("*")} == {"metrics"}
    rows = pandas.read_csv(folder / "metrics.csv").to_dict("records")
    assert {row["metric"] for row in rows} == {"kid"}


def test_a_figure_of_an_earlier_run_goes_and_other_files_stay(tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", 40, ("dalle",))
    folder = evalkit.figures(made, only="scores")
    (folder / "differences.pdf").write_text("of two models")
    (folder / "mine.pdf").write_text("mine")
    evalkit.figures(made, only="scores,differences")
    assert not (folder / "differences.pdf").exists()
    assert (folder / "mine.pdf").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": ""}, "`--only ''` names nothing"),
        ({"metrics": ","}, "`--metrics ,` names nothing"),
        ({"only": "metrics,paretto"}, "There is no figure 'paretto'.*pareto"),
        ({"metrics": "vendi"}, "has no metric 'vendi'; it has fid"),
        ({"width": "a4"}, "There is no width 'a4'"),
        ({"columns": "three"}, "expected one or two"),
        ({"only": "strengths"}, "no data for any of these figures"),
    ],
)
def test_bad_options_are_one_sentence(
    run: Run, tmp_path: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(EvalkitError, match=message):
        evalkit.figures(run, out=tmp_path, **options)
    assert not list(tmp_path.glob("*"))


def test_a_run_without_scores_is_refused(tmp_path: Path) -> None:
    evalkit.generate("noise", ["a cat"], out=tmp_path / "run")
    with pytest.raises(EvalkitError, match=r"no metrics\.json"):
        evalkit.figures(tmp_path / "run")


def test_figures_for_slides_are_slides_and_a_higher_one_says_what_helps(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    evalkit.figures(run, width="slides", out=tmp_path / "three")
    assert not caplog.messages
    many = make_run(tmp_path / "many", 10, tuple(f"model-{n}" for n in range(14)), hostile=False)
    evalkit.figures(many, width="slides", only="metrics")
    [said] = caplog.messages
    assert re.search(r"metrics is 8\.\d inches high, and a slide 5\.6: name fewer metrics", said)
    assert "--columns" not in said
    caplog.clear()
    evalkit.figures(many, width="slides", only="metrics", metrics="fid,kid,clip_score")
    assert not caplog.messages


# --- captions ---
def test_a_caption_names_the_lines_and_intervals_of_this_figure_only(
    tmp_path: Path, run: Run
) -> None:
    folder = evalkit.figures(run, only="metrics", metrics="fid", out=tmp_path)
    assert "line: " not in (folder / "metrics.txt").read_text().replace("vertical lines", "")
    evalkit.figures(run, only="metrics", metrics="clip_score", out=tmp_path)
    said = (folder / "metrics.txt").read_text()
    assert "Dotted line: the best value." in said
    assert "Solid" not in said
    assert "baseline" not in said
    one = make_run(tmp_path / "one", 40, ("dalle",))
    said = (evalkit.figures(one, only="pareto") / "pareto.txt").read_text()
    assert "Dotted" not in said  # one model has no front


def test_methods_and_missing_intervals_are_those_of_their_models() -> None:
    row = {"metric": "recall", "title": "Recall", "value": 0.5, "better": "higher"}
    given = {"low": 0.4, "high": 0.6}
    rows = [
        {
            **row,
            **given,
            "model": "a",
            "interval": "jackknife over 20 groups of prompts, t",
        },
        {**row, **given, "model": "b", "interval": "Wilson, 71 prompts (recall is the same)"},
        {**row, "low": None, "high": None, "model": "c", "interval": "no interval: …"},
    ]
    assert bars(rows) == (
        "Bars: 95% intervals (jackknife over groups of prompts (a) or Wilson (b))."
        " No interval: Recall of c."
    )
    assert bars(rows[:1]) == "Bars: 95% intervals (jackknife over groups of prompts)."
    assert bars(rows[2:]) == "No value has an interval."


@pytest.mark.parametrize("groups", [[], ["colour"]])
def test_why_there_are_no_groups(
    groups: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make_run(tmp_path / "run", 10, ("dalle",), hostile=False)
    group = groups[0] if groups else ""
    made.write_prompts([dataclasses.replace(one, group=group) for one in made.prompts()])
    with caplog.at_level(logging.INFO, "evalkit"):
        evalkit.figures(made, only="groups,scores")
    reason = "all prompts are of one group only, colour" if groups else "the prompts have no groups"
    assert f"no figure groups: {reason}" in caplog.messages


def test_the_log_speaks_of_the_run_and_not_of_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make_run(tmp_path / "run", 10, ("dalle",), hostile=False)
    with caplog.at_level(logging.INFO, "evalkit"):
        evalkit.figures(made)
    absent = [one for one in caplog.messages if one.startswith("no figure")]
    assert len(absent) >= 6
    assert not [one for one in absent if "frame" in one]


def test_a_figure_that_the_metrics_of_the_command_do_not_allow_says_so(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "evalkit"):
        evalkit.figures(run, metrics="kid", out=tmp_path, only="metrics,pareto,scores,fid_by_count")
    assert {path.stem for path in tmp_path.glob("*")} == {"metrics"}
    assert "no figure pareto: it needs two metrics, and --metrics names kid only" in caplog.messages
    assert any("scores: --metrics names no metric with values per image" in one
               for one in caplog.messages)  # fmt: skip


# --- margins ---
def test_margins_are_those_of_the_gate_else_its_defaults(tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", 40)
    write_comparisons(
        made,
        [
            comparison("fid", "dalle", "gan", "a better", value_b=40.0),
            comparison("precision", "dalle", "gan", "no significant difference"),
            comparison("kid", "dalle", "gan", "not tested"),
        ],
    )

    def margins() -> dict[str, str]:
        folder = evalkit.figures(made, only="differences")
        rows = csv.DictReader((folder / "differences.csv").read_text().splitlines())
        return {row["metric"]: row["margin"] for row in rows}

    assert margins() == {"fid": "2.0", "kid": "", "precision": "0.02"}
    decision = {"metric": "fid", "encoder": "mini-inception", "margin": 0.5, "group": ""}
    (made.path / "gate.json").write_text(json.dumps({"decisions": [decision]}))
    assert margins()["fid"] == "0.5"


def test_the_default_margins_are_those_of_the_gate() -> None:
    from evalkit.gate.rules import RELATIVE, SHARE
    from evalkit.statistics.margins import default_margin

    assert default_margin((0.0, float("inf")), 40.0) == RELATIVE * 40
    assert default_margin((0.0, 1.0), 0.5) == SHARE
    assert default_margin((-float("inf"), float("inf")), 0.1) is None


# --- features ---
@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was really scored, so that its features are there."""
    place = tmp_path_factory.mktemp("measured") / "run"
    nouns = ("cat", "dog", "cup", "car", "kite", "bus", "cow", "tree", "bird", "boat")
    prompts = [f"a {colour} {noun}" for colour in ("red", "blue", "green") for noun in nouns]
    evalkit.run(
        ["noise"], prompts, encoders="mini", metrics="fid,kid,precision,clip_score", out=place
    )
    return Run(place)


def test_the_joint_region_agrees_with_the_interval_of_each_metric(measured: Run) -> None:
    folder = evalkit.figures(measured, only="pareto,fid_by_count")
    [row] = pandas.read_csv(folder / "pareto.csv").to_dict("records")
    from scipy import stats

    half = stats.t.ppf(0.975, row["groups"] - 1) * row["variance_x"] ** 0.5
    assert half == pytest.approx((row["x_high"] - row["x_low"]) / 2)
    assert abs(row["covariance"]) <= (row["variance_x"] * row["variance_y"]) ** 0.5
    assert "jackknife that leaves the same 20 groups" in (folder / "pareto.txt").read_text()


@pytest.mark.parametrize("names", ["kid,clip_score", "fid,kid", "precision,fid"])
def test_any_two_metrics_have_a_joint_region(measured: Run, tmp_path: Path, names: str) -> None:
    folder = evalkit.figures(measured, only="pareto", metrics=names, out=tmp_path)
    [row] = pandas.read_csv(folder / "pareto.csv").to_dict("records")
    from scipy import stats

    for side, name in zip("xy", names.split(","), strict=True):
        if name in ("fid", "kid"):  # the intervals of the others are no jackknife
            half = stats.t.ppf(0.975, row["groups"] - 1) * row[f"variance_{side}"] ** 0.5
            assert half == pytest.approx((row[f"{side}_high"] - row[f"{side}_low"]) / 2)
    assert abs(row["covariance"]) <= (row["variance_x"] * row["variance_y"]) ** 0.5
    assert "Ellipses" in (folder / "pareto.txt").read_text()


def test_kept_values_of_another_scoring_are_not_taken(measured: Run, tmp_path: Path) -> None:
    copy = Run(shutil.copytree(measured.path, tmp_path / "copy"))
    path = copy.measured_path("noise", "kid")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"value": content["value"] + 1}))
    folder = evalkit.figures(copy, only="pareto", metrics="kid,clip_score")
    said = (folder / "pareto.txt").read_text()
    assert "the run folder does not have KID of noise without groups of prompts" in said
    assert "reference" not in said


@pytest.mark.parametrize("bend", [1000.0, -1000.0])
def test_the_caption_says_what_a_negative_extrapolation_means(measured: Run, bend: float) -> None:
    from evalkit.figures.captions import caption
    from evalkit.figures.source import Source

    rows = [{"model": "noise", "count": n, "value": 20 + bend * (1 / n - 0.05)} for n in (10, 20)]
    said = caption("fid_by_count", rows, Source(measured))
    assert ("Below zero: noise (−30.0)." in said) == (bend > 0)  # noqa: RUF001
    assert ("an extrapolation can be" in said) == (bend > 0)


def test_fid_by_count_ends_at_fid(measured: Run) -> None:
    folder = evalkit.figures(measured, only="fid_by_count")
    last = pandas.read_csv(folder / "fid_by_count.csv").iloc[-1]
    [fid] = [row.value for row in measured.metrics() if row.metric == "fid"]
    assert last["count"] == 30
    assert last["value"] == pytest.approx(fid)
    few = f"FID∞ of noise is no estimate: of 30 images with {last['dimension']:.0f} dimensions"
    assert few in (folder / "fid_by_count.txt").read_text()


@pytest.mark.skipif(shutil.which("pdffonts") is None, reason="needs pdffonts (poppler-utils)")
def test_fonts_are_embedded_and_not_type_3(folder: Path) -> None:
    for path in folder.glob("*.pdf"):
        done = subprocess.run(["pdffonts", path], capture_output=True, text=True, check=True)
        lines = done.stdout.splitlines()[2:]
        assert lines, path
        assert all("Type 3" not in line and "TrueType" in line for line in lines)
        assert all(re.search(r"\byes\s+(yes|no)\s+(yes|no)\s+\d+\s+\d+$", line) for line in lines)


# --- extreme values ---
def test_values_that_cannot_be_drawn_are_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make_run(tmp_path / "run", 6, hostile=False)
    rows = [
        dataclasses.replace(row, value=sign * 1.7e308, low=-1.7e308, high=1.7e308)
        if row.metric == "fid"
        else row
        for sign, row in zip([1, -1] * len(made.metrics()), made.metrics(), strict=False)
    ]
    made.write_metrics(rows)
    folder = evalkit.figures(made, only="metrics")
    assert "which have numbers beyond 1e+150" in caplog.text
    text = (folder / "metrics.csv").read_text()
    drawn = {row["metric"] for row in csv.DictReader(text.splitlines())}
    assert "kid" in drawn
    assert "fid" not in drawn
    facts = read_facts(made.path)
    assert "fid" not in {row.get("metric") for row in make_charts(facts)[0].rows}
    assert "1.70e308" in to_markdown(facts, [], contexts(facts))
