"""The decisions of the gate at a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.gate.decide import Decision
from evalkit.gate.gate import Gate
from evalkit.report import numbers
from evalkit.terminal import printable

_STYLES = {"REGRESSED": "bold red", "INCONCLUSIVE": "yellow", "PASS": "green", "IMPROVED": "green"}
_HEADER = ("metric", "verdict", "candidate", "baseline", "worse by", "allowed")


def print_gate(result: Gate) -> None:
    """The table, why metrics are not decided or regressed, and the outcome in one sentence."""
    console = Console(highlight=False, markup=False, emoji=False)
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(_HEADER):
        table.add_column(name, justify="left" if place < 2 else "right", no_wrap=place > 1)
    for one in result.decisions:
        table.add_row(*_cells(one))
    console.print(table)
    for one in result.allowed:
        _say(console, f"{one.field} differs: {one.candidate}, baseline {one.baseline} (allowed)")
    for one in result.decisions:
        if one.reason and one.verdict in ("REGRESSED", "INCONCLUSIVE"):
            _say(console, f"{_name(one)}: {one.reason}")
    for item in result.changed[:3] if result.outcome == "regressed" else ():
        _say(console, f"{item['metric']} {item['change']:+.4g}: {item['text'][:70]}")
    _say(console, f"\n{result.sentence}")


def _cells(one: Decision) -> list[Text]:
    values = [value for value in (one.candidate, one.baseline) if value is not None]
    width = [] if one.low is None or one.high is None else [one.high - one.low]
    digits = numbers.decimals(values, width)
    worse = numbers.DASH if one.worse is None else numbers.signed(one.worse, digits)
    ends = numbers.interval(one.low, one.high, digits).replace(" to ", "..")
    tier = "" if one.tier == "critical" else f" ({one.tier})"
    texts = [
        _name(one),
        f"{one.verdict}{tier}",
        numbers.number(one.candidate, digits),
        numbers.number(one.baseline, digits),
        f"{worse} ({ends})" if ends else worse,
        numbers.number(one.margin, digits),
    ]
    cells = [Text(printable(text)) for text in texts]
    cells[1].stylize(_STYLES[one.verdict])
    return cells


def _name(one: Decision) -> str:
    who = f" {one.encoder}" if ":" in one.encoder else ""
    return f"{one.metric}{who}" + (f", {one.group}" if one.group else "")


def _say(console: Console, line: str) -> None:
    console.print(Text(printable(line)))
