"""The whole text of each output of a gate: JUnit, the step summary, annotations, the sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from evalkit.core import EvalkitError
from evalkit.gate.comparable import Mismatch
from evalkit.gate.decide import Decision
from evalkit.gate.gate import Changed, Gate, outcome_of, to_json
from evalkit.gate.github import annotation_lines, append_summary, leave_refusal, to_markdown
from evalkit.gate.junit import refusal_to_xml, to_xml


def row(metric: str, verdict: str, tier: str = "critical", **fields: Any) -> Decision:
    numbers = ["candidate", "baseline", "worse", "low", "high", "margin"]
    numbers += ["p", "p_adjusted", "more_images"]
    usual = {"encoder": "", "reference": "", "group": "", "better": "lower", "basis": "paired"}
    known = {**dict.fromkeys(numbers), **usual, "images": 60, "prompts": 60, "reason": ""}
    return Decision(**{**known, "metric": metric, "verdict": verdict, "tier": tier, **fields})


WORSE = row(
    "fid", "REGRESSED", encoder="clip", candidate=12.5, baseline=10.25, worse=2.25, low=1.5,
    high=3.0, margin=0.5, reason="worse than the margin allows",
)  # fmt: skip
ROWS = (
    WORSE,
    row("cost", "REGRESSED", "advisory", basis="point", candidate=3.0, baseline=2.0, worse=1.0,
        margin=0.5, reason="no interval"),
    row("kid", "PASS", candidate=1.0, baseline=1.5, worse=-0.5, reason="no margin"),
    row("recall", "INCONCLUSIVE", encoder="clip", group="50% | all", candidate=0.5, margin=0.02,
        reason="no images"),
    row("pick", "INCONCLUSIVE", "supporting", baseline=0.5, reason="50%\nof\u202ethem"),
    row("fid", "REGRESSED", group="animals"),
)  # fmt: skip
MADE = Gate(
    "runs/new:m", "runs/main:m", "regressed", 1, 0.05, ROWS, (Mismatch("seed", "1", "2"),),
    (Mismatch("device", "cpu", "not recorded"),), notes=("One image is missing.",),
)  # fmt: skip
OPEN = replace(MADE, outcome="inconclusive", exit_code=3, decisions=ROWS[1:5])
FID = (
    "REGRESSED (critical); 12.50, baseline 10.25; worse by +2.25 (1.50 to 3.00), allowed 0.50;"
    " worse than the margin allows"
)
COST = "REGRESSED (advisory); 3.00, baseline 2.00; worse by +1.00, allowed 0.50; no interval"
RECALL = "INCONCLUSIVE (critical); no images"
PICK = "INCONCLUSIVE (supporting); 50% of⟨U+202E⟩them"


@pytest.fixture
def summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    return path


def test_junit() -> None:
    assert to_xml(MADE) == (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        '<testsuite name="evalkit gate" tests="6" failures="2" skipped="2" errors="0">\n'
        "  <properties>\n"
        '    <property name="remark" value="seed differs, and was allowed to: 1, baseline 2." />\n'
        '    <property name="remark" value="device was not checked: cpu, baseline not recorded."'
        " />\n"
        '    <property name="remark" value="One image is missing." />\n'
        "  </properties>\n"
        '  <testcase classname="runs/new:m" name="fid clip">\n'
        f'    <failure message="{FID}">{FID}</failure>\n'
        f"    <system-out>{FID}</system-out>\n"
        "  </testcase>\n"
        '  <testcase classname="runs/new:m" name="cost">\n'
        f"    <system-out>{COST}</system-out>\n"
        "  </testcase>\n"
        '  <testcase classname="runs/new:m" name="kid">\n'
        "    <system-out>PASS (critical); 1.0, baseline 1.5; no margin</system-out>\n"
        "  </testcase>\n"
        '  <testcase classname="runs/new:m" name="recall clip 50% | all">\n'
        f'    <skipped message="{RECALL}">{RECALL}</skipped>\n'
        f"    <system-out>{RECALL}</system-out>\n"
        "  </testcase>\n"
        '  <testcase classname="runs/new:m" name="pick">\n'
        f'    <skipped message="{PICK}">{PICK}</skipped>\n'
        f"    <system-out>{PICK}</system-out>\n"
        "  </testcase>\n"
        '  <testcase classname="runs/new:m" name="fid animals">\n'
        '    <failure message="REGRESSED (critical)">REGRESSED (critical)</failure>\n'
        "    <system-out>REGRESSED (critical)</system-out>\n"
        "  </testcase>\n"
        "</testsuite>\n"
    )


def test_what_is_open_is_a_failure_where_it_is_the_reason_of_the_exit_code() -> None:
    suite = ElementTree.fromstring(to_xml(OPEN))
    assert suite.attrib == {
        "name": "evalkit gate", "tests": "4", "failures": "1", "skipped": "1", "errors": "0",
    }  # fmt: skip
    kinds = {case.get("name"): [one.tag for one in case] for case in suite.iter("testcase")}
    assert kinds == {
        "cost": ["system-out"],
        "kid": ["system-out"],
        "recall clip 50% | all": ["failure", "system-out"],
        "pick": ["skipped", "system-out"],
    }
    plain = to_xml(replace(OPEN, allowed=(), unchecked=(), notes=()))
    assert ElementTree.fromstring(plain).find("properties") is None


def test_the_step_summary() -> None:
    assert to_markdown(MADE) == (
        "\n### evalkit gate: regressed\n\n"
        "runs/new&#58;m is worse than runs/main&#58;m by more than allowed: fid.\n\n"
        "- seed differs, and was allowed to: 1, baseline 2.\n"
        "- device was not checked: cpu, baseline not recorded.\n"
        "- One image is missing.\n\n"
        "| metric | verdict | candidate | baseline | worse by | interval | allowed | reason |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |\n"
        "| fid · clip | REGRESSED (critical) | 12.50 | 10.25 | +2.25 | 1.50 to 3.00 | 0.50 |  |\n"
        "| cost | REGRESSED (advisory) | 3.00 | 2.00 | +1.00 |  | 0.50 | no interval |\n"
        "| kid | PASS (critical) | 1.0 | 1.5 | \u22120.5 |  | \u2013 | no margin |\n"
        "| recall · clip · 50% \\| all | INCONCLUSIVE (critical) | 0.500 | \u2013 | \u2013 |  |"
        " 0.020 | no images |\n"
        "| pick | INCONCLUSIVE (supporting) | \u2013 | 0.50 | \u2013 |  | \u2013 |"
        " 50% of⟨U+202E⟩them |\n"
        "| fid · animals | REGRESSED (critical) | \u2013 | \u2013 | \u2013 |  | \u2013 |  |\n"
    )


def test_annotations(summary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    title = "title=evalkit gate::"
    pick = f"::notice {title}pick: {PICK.replace('%', '%25')}"
    assert annotation_lines(MADE) == [
        f"::error {title}fid: {FID}",
        f"::notice {title}cost: {COST}",
        f"::warning {title}recall: {RECALL}",
        pick,
        f"::error {title}fid: REGRESSED (critical)",
    ]
    recall = f"::error {title}recall: {RECALL}"
    assert annotation_lines(OPEN) == [f"::notice {title}cost: {COST}", recall, pick]
    monkeypatch.setenv("GITHUB_ACTIONS", "false")
    assert annotation_lines(MADE) == []


def test_the_sentence_names_each_critical_metric_once() -> None:
    two = replace(MADE, decisions=(*ROWS, replace(WORSE, metric="cmmd")))
    assert two.sentence == "runs/new:m is worse than runs/main:m by more than allowed: fid, cmmd."
    twice = (*OPEN.decisions, OPEN.decisions[2])
    said = "No regression of runs/new:m was found; not decided: recall."
    assert replace(OPEN, decisions=twice).sentence == said
    assert replace(OPEN, outcome="pass", exit_code=0, decisions=twice).sentence == said
    none = replace(OPEN, outcome="pass", exit_code=0, decisions=(ROWS[1], ROWS[2], ROWS[4]))
    assert none.sentence == "runs/new:m is not worse than runs/main:m by more than allowed."


def test_only_critical_decisions_make_the_outcome() -> None:
    assert outcome_of(ROWS) == "regressed"
    assert outcome_of(OPEN.decisions) == "inconclusive"
    assert outcome_of((ROWS[1], ROWS[2], ROWS[4])) == "pass"


def test_the_json_has_everything_and_no_number_that_json_does_not_know() -> None:
    lost = Changed("clip_score", "p1", 0, "ein Bär", -1.0, 20.0, 21.0)
    text = to_json(replace(MADE, changed=(lost,)))
    content = json.loads(text)
    assert text == json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    assert list(content)[:3] == ["schema", "sentence", "remarks"]
    assert (content["schema"], content["sentence"]) == (1, MADE.sentence)
    assert content["remarks"] == MADE.remarks
    assert content["changed"][0]["text"] == "ein Bär"
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(replace(MADE, alpha=float("nan")))


@pytest.mark.parametrize(("code", "outcome"), [(2, "wrong input"), (4, "not comparable")])
def test_a_refusal(code: int, outcome: str, summary: Path, tmp_path: Path) -> None:
    error, junit = EvalkitError("Found 2 < 3.", "Give more.", code), tmp_path / "gate.xml"
    text = f"{outcome}: Found 2 < 3. Give more."
    assert leave_refusal(error, "new:m", junit) == [f"::error title=evalkit gate::{text}"]
    assert summary.read_text() == (
        f"\n### evalkit gate: {outcome}\n\nFound 2 &#60; 3. Give more.\n"
    )
    assert junit.read_text() == (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        '<testsuite name="evalkit gate" tests="1" failures="0" skipped="0" errors="1">\n'
        '  <testcase classname="new:m" name="gate">\n'
        '    <error message="Found 2 &lt; 3. Give more.">Found 2 &lt; 3. Give more.</error>\n'
        "  </testcase>\n"
        "</testsuite>\n"
    )
    assert junit.read_text() == refusal_to_xml("new:m", "Found 2 < 3. Give more.")


def test_a_table_that_is_too_long_is_one_sentence(summary: Path) -> None:
    """GitHub takes 1 MiB of all steps together, and shows nothing of more."""
    table = len(to_markdown(MADE).encode())
    summary.write_text("x" * (2**20 - table))
    append_summary(MADE)
    assert summary.stat().st_size == 2**20
    summary.write_text("x" * (2**20 - table + 1))
    append_summary(MADE)
    said = "\nevalkit gate: regressed. The table is left out: 1 MiB is the limit.\n"
    assert summary.read_text().lstrip("x") == said
    summary.unlink()
    append_summary(MADE)
    assert summary.read_text() == to_markdown(MADE)


@pytest.mark.parametrize("more", [0, 1])
def test_a_first_table_may_have_just_the_limit(more: int, summary: Path) -> None:
    rest = len(to_markdown(replace(MADE, decisions=(row("fid", "PASS"),))).encode())
    longer = row("fid", "PASS", reason="x" * (2**20 - rest + more))
    append_summary(replace(MADE, decisions=(longer,)))
    assert (summary.stat().st_size == 2**20) is not bool(more)
    assert summary.read_text().startswith("\n### ") is not bool(more)


def test_outside_of_github_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    append_summary(MADE)
    assert leave_refusal(EvalkitError("No."), "new:m", None) == []
