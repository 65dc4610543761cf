"""What a gate leaves for the reviewer: JUnit, the step summary, annotations; refusals as well."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner
from unchecked_runs import reseed

import evalkit
from evalkit.cli.app import app
from evalkit.cli.gate_table import print_gate
from evalkit.gate.github import leave_refusal, to_markdown
from evalkit.gate.junit import describe
from evalkit.report import numbers

Runs = Callable[[str], Path]


@pytest.fixture
def summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """GitHub Actions; the file of its step summary."""
    path = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("COLUMNS", "200")
    return path


@pytest.fixture
def blurred(runs: Runs) -> Path:
    return runs("blurred")


def rows(summary: Path) -> dict[str, list[str]]:
    """The cells of the table in the summary, by metric."""
    lines = [line for line in summary.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]
    return {name.split(" ·")[0].replace("\\", ""): rest for name, *rest in cells}


@pytest.fixture
def undecided(tmp_path: Path) -> Path:
    """A configuration with a critical share that few prompts leave undecided."""
    path = tmp_path / "gate.toml"
    path.write_text(
        "on_inconclusive = 'fail'\n[metrics.clip_score]\nmax_drop = 80\n"
        "[metrics.missing_rate]\n[metrics.refusal_rate]\ntier = 'advisory'\n"
    )
    return path


def test_what_is_undecided_fails_as_the_exit_code_does(
    runs: Runs, blurred: Path, undecided: Path, tmp_path: Path, summary: Path
) -> None:
    arguments = ["gate", str(blurred), "--baseline", str(runs("none")), "--config", str(undecided)]
    found = CliRunner().invoke(app, [*arguments, "--junit", str(tmp_path / "gate.xml")])
    assert found.exit_code == 3, found.stdout
    assert "::error title=evalkit gate::missing_rate: INCONCLUSIVE (critical)" in found.stdout
    assert "::notice title=evalkit gate::refusal_rate: INCONCLUSIVE (advisory)" in found.stdout
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert (suite.get("failures"), suite.get("skipped"), suite.get("errors")) == ("1", "1", "0")
    [failure] = suite.iter("failure")
    assert "no prompt changed" in (failure.text or "")  # GitLab shows the text of the element
    assert failure.text == failure.get("message")
    undecided.write_text(undecided.read_text().replace("'fail'", "'pass'"))
    found = CliRunner().invoke(app, [*arguments, "--junit", str(tmp_path / "gate.xml")])
    assert found.exit_code == 0
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "2")


def test_the_numbers_and_reasons_are_the_same_everywhere(
    runs: Runs, blurred: Path, undecided: Path, summary: Path
) -> None:
    arguments = ["gate", str(blurred), "--baseline", str(runs("none")), "--config", str(undecided)]
    shown = CliRunner().invoke(app, arguments).stdout
    cells = rows(summary)
    assert cells.keys() == {"clip_score", "missing_rate", "refusal_rate"}
    for metric, (verdict, candidate, baseline, worse, interval, allowed, reason) in cells.items():
        [line] = [line for line in shown.splitlines() if line.startswith(f"{metric} ")]
        for number in (verdict.split()[0], candidate, baseline, worse, allowed):
            assert number in line.split()
        assert interval.replace(" to ", "..") in line
        assert bool(reason) is verdict.startswith("INCONCLUSIVE")
        assert f"{metric}: {reason.replace('&#58;', ':')}" in shown or not reason
    [clip] = [
        one
        for one in json.loads((blurred / "gate.json").read_text())["decisions"]
        if one["metric"] == "clip_score"
    ]
    low = float(cells["clip_score"][4].split(" to ")[0].replace(numbers.MINUS, "-"))
    assert low == pytest.approx(clip["low"], abs=0.1)


def test_the_point_rule_says_that_it_knows_no_noise(
    runs: Runs, summary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = evalkit.gate(runs("none"), baseline=runs("none"), metrics="fid")
    said = "no interval: decided by the values alone, not aware of noise"
    change = {"metric": "images_per_second", "basis": "point", "low": None, "high": None}
    speed = replace(made.decisions[0], **change, reason=said)
    made = replace(made, decisions=(speed,))
    assert speed.verdict == "PASS"
    print_gate(made)
    assert f"images_per_second: {said}" in capsys.readouterr().out
    summary.write_text(to_markdown(made))
    assert rows(summary)["images_per_second"][-1].replace("&#58;", ":") == said


@pytest.mark.parametrize(
    ("arguments", "code", "message", "number"),
    [
        (["--metrics", "fdi"], 2, "There is no metric 'fdi'. Did you mean 'fid'?", "score-20"),
        ([], 4, "seed: 7, baseline 0", "gate-24"),
    ],
)
def test_a_refusal_is_an_error_of_the_job(
    arguments: list[str],
    code: int,
    message: str,
    number: str,
    copy: Runs,
    runs: Runs,
    summary: Path,
) -> None:
    other = copy("none")
    config = other / "run.toml"
    reseed(config, 7)
    junit = other / "gate.xml"
    given = ["gate", str(other), "--baseline", str(runs("none")), "--junit", str(junit)]
    found = CliRunner().invoke(app, [*given, *arguments])
    assert found.exit_code == code
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("errors"), suite.get("failures"), suite.get("tests")) == ("1", "0", "1")
    [error] = suite.iter("error")
    assert message in (error.text or "")
    assert error.text == error.get("message")
    [annotation] = [line for line in found.stderr.splitlines() if line.startswith("::error ")]
    assert message in annotation
    assert annotation.endswith(f" [{number}]")
    assert (error.text or "").endswith(f" [{number}]")
    said = "not comparable" if code == 4 else "wrong input"
    assert f"### evalkit gate: {said}" in summary.read_text()


def test_a_line_has_the_interval_where_there_is_one(runs: Runs, blurred: Path) -> None:
    [one] = evalkit.gate(blurred, baseline=runs("none"), metrics="clip_score").decisions
    assert re.search(r"; worse by \S+ \(\S+ to \S+\), allowed \S+", describe(one))
    assert re.search(r"; worse by \S+, allowed", describe(replace(one, low=None, high=None)))


def test_a_summary_that_is_full_is_left_as_it_is(summary: Path) -> None:
    """GitHub takes 1 MiB; one byte more and it would show nothing."""
    refusal = evalkit.EvalkitError("Nothing was found.")
    leave_refusal(refusal, "run", None)
    said = summary.read_text()
    for size, expected in ((2**20 - len(said), 2**20), (2**20 - len(said) + 1, None)):
        summary.write_text("x" * size)
        leave_refusal(refusal, "run", None)
        assert summary.stat().st_size == (expected or size)


def test_a_refusal_whose_file_cannot_be_written_keeps_its_exit_code(
    runs: Runs, tmp_path: Path
) -> None:
    given = ["gate", str(runs("none")), "--baseline", "nowhere", "--junit", str(tmp_path)]
    found = CliRunner().invoke(app, given)
    assert found.exit_code == 2
    assert "There is no run folder nowhere" in found.stderr


def test_python_raises_the_refusal_and_prints_nothing(runs: Runs, summary: Path) -> None:
    with pytest.raises(evalkit.EvalkitError, match="There is no run folder nowhere"):
        evalkit.gate(runs("none"), baseline="nowhere")
    assert not summary.exists()
