"""The decisions in GitHub's step summary, and as annotations of the job."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.core import EvalkitError
from evalkit.escape import markdown, visible
from evalkit.files import write_atomically
from evalkit.gate.junit import describe, fails, refusal_to_xml
from evalkit.report.decision import shown

if TYPE_CHECKING:
    from evalkit.gate.gate import Gate

log = logging.getLogger(__name__)
LIMIT = 1 << 20  # bytes that GitHub takes in one step summary


def append_summary(result: Gate) -> None:
    """Append to the file that $GITHUB_STEP_SUMMARY names; other steps write there, too."""
    short = f"\nevalkit gate: {result.outcome}. The table is left out: 1 MiB is the limit.\n"
    _append(to_markdown(result), short)


def _append(text: str, short: str = "") -> None:
    """Append a text to the step summary, or a short one where the text would exceed the limit."""
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        return
    path = Path(place)
    try:
        taken = path.stat().st_size if path.exists() else 0
        text = text if taken + len(text.encode()) <= LIMIT else short
        if taken + len(text.encode()) <= LIMIT:
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:  # the decision stands without it
        log.warning("the step summary %s was not written: %s", place, error.strerror)


def to_markdown(result: Gate) -> str:
    """The outcome, what was allowed to differ, and a table of the decisions."""
    lines = ["", f"### evalkit gate: {result.outcome}", "", markdown(result.sentence), ""]
    lines += [f"- {markdown(remark)}" for remark in result.remarks]
    lines += [
        "",
        "| metric | verdict | candidate | baseline | worse by | interval | allowed | reason |",
    ]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    for one in result.decisions:
        name = " · ".join(filter(None, [one.metric, one.encoder, one.group]))
        text = shown(dataclasses.asdict(one))
        numbers = (text.candidate, text.baseline, text.worse, text.interval, text.margin)
        cells = (markdown(name), f"{one.verdict} ({one.tier})", *numbers, markdown(text.reason))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def annotation_lines(result: Gate) -> list[str]:
    """Lines that GitHub shows beside the job, where it runs there; [] elsewhere."""
    made = []
    for one in result.decisions:
        if one.verdict not in ("REGRESSED", "INCONCLUSIVE"):
            continue
        open_ = "warning" if one.tier == "critical" else "notice"
        kind = "error" if fails(one, result) else open_
        made += _annotation(kind, f"{one.metric}: {describe(one)}")
    return made


def _annotation(kind: str, text: str) -> list[str]:
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return []
    return [f"::{kind} title=evalkit gate::" + visible(text).replace("%", "%25")]


def leave_refusal(error: EvalkitError, candidate: str, junit: Path | None) -> list[str]:
    """What a gate leaves that ends with 2 or 4: JUnit and the summary; returns the annotation."""
    text = " ".join(filter(None, [error.message, error.hint, error.code and f"[{error.code}]"]))
    outcome = "not comparable" if error.exit_code == 4 else "wrong input"
    if junit is not None:
        try:
            write_atomically(Path(junit).expanduser(), refusal_to_xml(candidate, text))
        except (OSError, EvalkitError) as second:  # the error itself is what counts
            log.warning("%s was not written: %s", junit, getattr(second, "message", second))
    _append(f"\n### evalkit gate: {outcome}\n\n{markdown(text)}\n")
    return _annotation("error", f"{outcome}: {text}")
