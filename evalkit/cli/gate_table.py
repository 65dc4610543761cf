"""The decisions of the gate at a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.cli.stdout import Stdout
from evalkit.gate.decide import Decision
from evalkit.gate.gate import Gate
from evalkit.report.decision import shown
from evalkit.terminal import printable

_STYLES = {"REGRESSED": "bold red", "INCONCLUSIVE": "yellow", "PASS": "green", "IMPROVED": "green"}
_HEADER = ("metric", "verdict", "candidate", "baseline", "worse by", "allowed")
_SHORT = ("metric", "verdict", "worse by", "allowed")


def print_gate(result: Gate) -> None:
    """The table, the reasons that numbers do not give, and the outcome in one sentence."""
    console = Stdout()
    console.print(_fitting(result.decisions, console))
    for remark in result.remarks:
        _say(console, remark)
    for one in result.decisions:
        if reason := shown(dataclasses.asdict(one)).reason:
            _say(console, f"{_name(one)}: {reason}")
    for item in result.changed[:3] if result.outcome == "regressed" else ():
        _say(console, f"{item.metric} {item.change:+.4g}: {item.text[:70]}")
    _say(console, f"\n{result.sentence}")


def _fitting(decisions: Sequence[Decision], console: Console) -> Table:
    """The table; at a narrow terminal intervals have a line of their own, then values are left out.

    A verdict or a number is never cut; a long name of a metric is folded.
    """
    free = console.options.update(width=10_000)
    for header, between in ((_HEADER, " "), (_HEADER, "\n")):
        table = _table(decisions, header, between)
        if console.measure(table, options=free).maximum <= console.width:
            return table
    return _table(decisions, _SHORT, "\n")


def _table(decisions: Sequence[Decision], header: Sequence[str], between: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in header:
        table.add_column(
            name,
            justify="left" if name in ("metric", "verdict") else "right",
            no_wrap=name != "metric",
            overflow="fold",
            min_width=8 if name == "metric" else None,
        )
    for one in decisions:
        cells = _cells(one, between)
        table.add_row(*(cells[name] for name in header))
    return table


def _cells(one: Decision, between: str) -> dict[str, Text]:
    text = shown(dataclasses.asdict(one))
    ends = text.interval.replace(" to ", "..")
    tier = "" if one.tier == "critical" else f"{between}({one.tier})"
    texts = (
        printable(_name(one)),
        f"{one.verdict}{tier}",
        text.candidate,
        text.baseline,
        f"{text.worse}{between}({ends})" if ends else text.worse,
        text.margin,
    )
    cells = {name: Text(cell) for name, cell in zip(_HEADER, texts, strict=True)}
    cells["verdict"].stylize(_STYLES[one.verdict])
    return cells


def _name(one: Decision) -> str:
    who = f" {one.encoder}" if ":" in one.encoder else ""
    return f"{one.metric}{who}" + (f", {one.group}" if one.group else "")


def _say(console: Console, line: str) -> None:
    console.print(Text(printable(line)))
