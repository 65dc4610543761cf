"""The result of `evalkit gate selftest` at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.gate.selftest import FOUND, FalseAlarms, Found, Selftest, Smallest
from evalkit.terminal import printable


def print_selftest(result: Selftest) -> None:
    """Three tables, each with a sentence on how to read it, and the result in one sentence."""
    console = Console(highlight=False, markup=False, emoji=False)

    def say(line: str) -> None:
        console.print(Text(printable(line)))

    say(
        f"{result.model}: {result.images:,} images of {result.prompts:,} prompts;"
        f" {result.images_per_side:,} images on each side of a split.\n"
        f"The sides stand for {result.stands_for}.\n"
    )
    say(f"False alarms, at most {result.alpha:.3g} for the whole table:")
    console.print(_table(("margins", "alarms", "95% interval"), map(_alarm, result.false_alarms)))
    say("\nPlanted damage: how often it is a regression, and which metrics see it")
    header = ("damage", "prompts", "found", "seen by", "blind")
    console.print(_table(header, _damages(result.damages)))
    say(f"\nThe smallest change that is found in 80% of cases, at {result.images:,} images:")
    header = ("metric", "value", "margin", "change", "percent")
    console.print(_table(header, map(_smallest, result.smallest)))
    for name, reason in result.not_tested.items():
        say(f"not tested: {name}: {reason}")
    say("")
    for problem in result.problems:
        say(problem)
    console.print(
        Text("PASS: the gate holds what it promises on these images.", "green")
        if result.passed
        else Text("FAIL: see above.", "bold red")
    )


def _table(header: Sequence[str], rows: Iterator[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(header):
        texts = place == 0 or name in ("seen by", "blind")
        table.add_column(name, justify="left" if texts else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _alarm(one: FalseAlarms) -> tuple[str, ...]:
    return (
        one.margins,
        f"{one.alarms} of {one.splits} ({one.rate:.1%})",
        f"{one.low:.1%} to {one.high:.1%}",
    )


def _damages(found: Sequence[Found]) -> Iterator[tuple[str, ...]]:
    for one in found:
        best = sorted(one.metrics.items(), key=lambda item: -item[1])
        seen = ", ".join(
            name if share >= FOUND else f"{name} {share:.0%}"
            for name, share in best
            if name not in one.blind
        )
        yield one.meaning, str(one.prompts), f"{one.found:.0%}", seen, ", ".join(one.blind)


def _smallest(one: Smallest) -> tuple[str, ...]:
    name = one.metric + (f", {one.group}" if one.group else "")
    change = "not known" if one.change is None else f"{one.change:.3g}"
    percent = "" if one.percent is None else f"{one.percent:.1f}%"
    return name, f"{one.value:.4g}", f"{one.margin:.3g}", change, percent
