"""The report as a whole: what it states, for complete and for incomplete run folders."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from report_runs import Page, add_groups, make_comparisons, make_prompts, make_run

from evalkit.core import EvalkitError, MetricRow, Record
from evalkit.report.report import report
from evalkit.run_folder import Run


def test_statements_in_page_and_markdown(run):
    for name in ("index.html", "report.md"):
        text = (run.report_path / name).read_text(encoding="utf-8")
        assert "not measured" in text
        assert "needs at least 50 images" in text
        assert "not comparable with published values" in text
        assert "of the words" not in text  # no bundled model takes part
        assert "blocked by the " in text
        assert "Finite-sample baseline: 11.7 (n = 39)" in text
        assert "no interval: images of a batch share its time" in text
        assert "3 prompts repeat an earlier prompt" in text
        assert "scenes (10,000 images)" in text


def test_folder_without_prompts_has_results_but_no_gallery(tmp_path):
    scored = Run(tmp_path / "bare")
    scored.write_metrics(
        [MetricRow("images", "fid", "pixels", "r", 3.0, 2.0, 4.0, 9, 9, "lower", "jackknife")]
    )
    text = report(scored.path).read_text(encoding="utf-8")
    assert "images: existing images" in text
    assert 'id="gallery"' not in text
    assert "Only images was measured." in text
    assert 'id="outcomes"' not in text  # there were no requests
    assert "## Images" not in (scored.report_path / "report.md").read_text(encoding="utf-8")


def test_same_folder_gives_same_bytes(run, tmp_path):
    other = make_run(tmp_path / "two models")
    add_groups(other)
    report(other.path)

    def files(folder: Path) -> dict[str, bytes]:
        found = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}

    expected, found = files(run.report_path), files(other.report_path)
    assert sorted(found) == sorted(expected)
    assert not [name for name in found if found[name] != expected[name]]


def test_missing_files_raise_with_the_next_command(tmp_path):
    with pytest.raises(EvalkitError, match="not a run folder"):
        report(tmp_path)
    run = make_run(tmp_path / "run", count=10, hostile=False)
    empty = Run(tmp_path / "empty")
    empty.write_prompts(run.prompts())
    empty.write_metrics([])
    with pytest.raises(EvalkitError, match="no images of any model"):
        report(empty.path)


@pytest.mark.parametrize("name", ["metrics.json", "comparisons.json", "protocol.json"])
def test_damaged_files_raise(tmp_path, name):
    run = make_run(tmp_path / "run", count=10, hostile=False)
    (run.path / name).write_text('{"schema": 1, "rows": [{"metric": "fid"}')
    with pytest.raises(EvalkitError, match="is damaged"):
        report(run.path)
    assert not run.report_path.exists()


def test_protocol_of_unexpected_content_is_still_shown(tmp_path):
    run = make_run(tmp_path / "run", count=10, hostile=False)
    run.write_protocol(
        {
            "measures": {"fid": {"title": "<b>"}},
            "references": {"inception": {"name": "<i>"}},
            "nested": {"a": {"b": [{"c": "<u>"}]}},
        }
    )
    text = report(run.path).read_text(encoding="utf-8")
    assert "Clip score" in text  # the name, as there is no entry
    assert "&lt;b&gt;" in text
    assert "&lt;u&gt;" in text
    assert not {"b", "i", "u"} & {tag for tag, values in Page(text).tags if not values}


def test_model_that_refused_everything(tmp_path):
    run = Run(tmp_path / "refused")
    prompts = make_prompts(3, hostile=False)
    run.write_prompts(prompts)
    run.register_model("strict", "strict", 0)
    run.append_records(
        "strict",
        [Record(p.id, i, 0, 0, "refused_output", detail="no") for i, p in enumerate(prompts)],
    )
    why = "not measured: there are no images"
    what = ("strict", "fid", "mini-inception", "r", None, None, None, 0, 3, "lower")
    run.write_metrics([MetricRow(*what, note=why)])
    text = report(run.path).read_text(encoding="utf-8")
    assert "0 of 3 images were generated (3 refused)" in text
    assert "Not measured: there are no images." in text
    assert "3 requests without an image" in text


def test_a_thousand_prompts_take_seconds(tmp_path):
    run = make_run(tmp_path / "run", count=1000, hostile=False)
    start = time.process_time()  # not the clock: the machine may be busy
    path = report(run.path)
    assert time.process_time() - start < 15  # about 4 s
    assert path.stat().st_size < 600_000  # 2,000 images
    assert len(Page(path.read_text(encoding="utf-8")).texts["prompt"]) == 1000


def test_import_is_light():
    heavy = "{'matplotlib', 'torch', 'pandas', 'jinja2', 'scipy'}"
    code = f"import sys, evalkit.report.report; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_results_on_common_images_stand_beside_the_refusals(tmp_path):
    run = make_run(tmp_path / "run", 20, hostile=False)
    report(run.path)
    assert "that all models have" not in (run.report_path / "index.html").read_text()
    rows = run.metrics()
    shared = [
        dataclasses.replace(row, on="common", count=18, value=33.25, low=30.0, high=36.0)
        for row in rows
        if row.metric == "fid"
    ]
    run.write_metrics([*rows, *shared])
    report(run.path)
    for name in ("index.html", "report.md"):
        text = (run.report_path / name).read_text(encoding="utf-8")
        head, section = text.split("On the images that all models have", maxsplit=1)
        said = 4 if name == "index.html" else 2  # the opening and the findings: verdicts are about
        assert head.count("33.2") == said  # the same images too
        assert "The findings are about the 18 of 20 requested images that all models have" in head
        assert section.count(">33.2<" if name == "index.html" else "33.2") == 2
        assert "18 of 20 images" in section


def test_figures_and_tables_of_an_earlier_report_are_removed(tmp_path):
    run = make_run(tmp_path / "run", 20, hostile=False)
    make_comparisons(run, ("dalle", "gan"))
    report(run.path)
    before = {path for path in run.report_path.rglob("*") if path.is_file()}
    assert {path.parent.name for path in before} == {"report", "figures", "tables"}
    own = [run.report_path / name for name in ("notes.md", "figures/mine.png", "tables/mine.tex")]
    for path in own:
        path.write_text("mine")
    run.write_metrics([row for row in run.metrics() if row.metric == "kid" and row.model == "gan"])
    run.write_scores([])
    report(run.path)
    page = (run.report_path / "report.md").read_text(encoding="utf-8")
    left = {path.name for path in (run.report_path / "figures").iterdir()} - {"mine.png"}
    assert left == {f"{name}.{kind}" for name in ("metrics", "outcomes", "speed")
                    for kind in ("svg", "pdf", "png", "csv")}  # fmt: skip
    shown = set(re.findall(r"figures/([\w.-]+)", page))
    assert shown
    assert shown <= left
    assert {path.name for path in (run.report_path / "tables").iterdir()} == {
        "metrics.tex", "metrics.csv", "outcomes.tex", "outcomes.csv", "evalkit.bib", "mine.tex",
    }  # fmt: skip
    assert all(path.read_text() == "mine" for path in own)


def test_a_report_removes_whatever_a_report_writes(tmp_path):
    """Every figure and table of the fullest report: none has a name that would stay behind."""
    run = make_run(tmp_path / "run", 20, hostile=False)
    make_comparisons(run, ("dalle", "gan"))
    report(run.path)
    run.write_metrics([])
    shutil.rmtree(run.path / "images")
    (run.path / "prompts.jsonl").unlink()
    for kept in ("comparisons.json", "scores.csv"):
        (run.path / kept).unlink()
    run.write_metrics(
        [MetricRow("images", "fid", "pixels", "r", None, None, None, 9, 9, "lower", note="none")]
    )
    report(run.path)
    assert list((run.report_path / "figures").iterdir()) == []
    tables = {path.name for path in (run.report_path / "tables").iterdir()}
    assert tables == {"metrics.csv", "evalkit.bib"}


def test_models_that_are_not_compared_are_listed(tmp_path):
    run = make_run(tmp_path / "run", 20, models=("dalle", "gan", "third"), hostile=False)
    report(run.path)
    assert "not part of this comparison" not in (run.report_path / "report.md").read_text()
    run.write_metrics([row for row in run.metrics() if row.model != "gan"])
    report(run.path)
    for name in ("index.html", "report.md"):
        text = (run.report_path / name).read_text(encoding="utf-8")
        assert "The folder also has gan: not part of this comparison." in text
        assert "2 models, 20 prompts" in text
