"""The decisions in GitHub's step summary, and as annotations of the job."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.escape import markdown, visible
from evalkit.gate.junit import describe

if TYPE_CHECKING:
    from evalkit.gate.gate import Gate

log = logging.getLogger(__name__)
LIMIT = 1 << 20  # bytes that GitHub takes in one step summary


def append_summary(result: Gate) -> None:
    """Append to the file that $GITHUB_STEP_SUMMARY names; other steps write there, too."""
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        return
    path, text = Path(place), to_markdown(result)
    try:
        _append(path, text, result)
    except OSError as error:  # the decision stands without it
        log.warning("the step summary %s was not written: %s", place, error.strerror)


def _append(path: Path, text: str, result: Gate) -> None:
    taken = path.stat().st_size if path.exists() else 0
    if taken + len(text.encode()) > LIMIT:
        text = f"\nevalkit gate: {result.outcome}. The table is left out: 1 MiB is the limit.\n"
    if taken + len(text.encode()) <= LIMIT:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)


def to_markdown(result: Gate) -> str:
    """The outcome, what was allowed to differ, and a table of the decisions."""
    lines = ["", f"### evalkit gate: {result.outcome}", "", markdown(result.sentence), ""]
    lines += [markdown(remark) for remark in result.remarks]
    lines += ["", "| metric | verdict | candidate | baseline | worse by | allowed |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: |"]
    for one in result.decisions:
        name = " · ".join(filter(None, [one.metric, one.encoder, one.group]))
        numbers = [_number(value) for value in (one.candidate, one.baseline, one.worse, one.margin)]
        verdict = f"{one.verdict} ({one.tier})"
        lines.append(f"| {markdown(name)} | {verdict} | {' | '.join(numbers)} |")
    return "\n".join([*lines, ""])


def annotation_lines(result: Gate) -> list[str]:
    """Lines that GitHub shows beside the job, where it runs there; [] elsewhere."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return []
    kinds = {"REGRESSED": "error", "INCONCLUSIVE": "warning"}
    return [
        f"::{kinds[one.verdict] if one.tier == 'critical' else 'notice'} title=evalkit gate::"
        f"{visible(one.metric)}: {visible(describe(one))}".replace("%", "%25")
        for one in result.decisions
        if one.verdict in kinds
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
