"""The result of `evalkit gate selftest` at a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.cli.stdout import Stdout
from evalkit.gate.selftest.decide import BLIND, FalseAlarms, Found
from evalkit.gate.selftest.devices import DeviceDifference, Devices
from evalkit.gate.selftest.selftest import FOUND, Selftest
from evalkit.gate.selftest.smallest import POWER, Smallest
from evalkit.terminal import printable


def print_selftest(result: Selftest | Devices) -> None:
    """Tables, each with a sentence on how to read it, and the result in one sentence."""
    console = Stdout()
    if isinstance(result, Devices):
        _print_devices(console, result)
        return
    _say(
        console,
        f"{result.model}: {result.images:,} images of {result.prompts:,} prompts;"
        f" {result.images_per_side:,} images on each side of a split.",
    )
    _say(console, f"The sides stand for {result.stands_for}.")
    _say(console, f"\nFalse alarms of the whole table; alpha is {result.alpha:.3g}:")
    console.print(_table(("margins", "alarms", "95% interval"), map(_alarm, result.false_alarms)))
    _say(console, "\nPlanted damage: the share of splits in which it is a regression")
    console.print(_damages(result))
    for one in {one.damage: one for one in result.damages}.values():
        _say(console, f"{one.damage}: {one.meaning}")
    for line in _explained(result):
        _say(console, line)
    _say(
        console,
        f"\nThe smallest change for the worse that is found in {POWER:.0%} of cases, at"
        f" {result.images:,} images:",
    )
    header = ("metric", "value", "margin", "change", "percent")
    console.print(_table(header, map(_smallest, result.smallest)))
    for name, reason in result.not_tested.items():
        _say(console, f"not tested: {name}: {reason}")
    for problem in result.problems:
        _say(console, f"\n{problem}")
    good = "the gate holds what it promises on these images"
    _verdict(console, result.passed, good, "see above, and what to do about it")
    for advice in result.advice:
        _say(console, advice)


def _explained(result: Selftest) -> Iterator[str]:
    """The words of the table of damages."""
    if any(one.blind for one in result.damages):
        yield "blind: the metric does not see the damage"
    if any(_share(one, name) == "too few" for one in result.damages for name in one.metrics):
        yield "too few: the metric changes, and would find the damage with more prompts"
    for tier in sorted(set(result.tiers.values()) - {"critical"}):
        yield f"{tier}: the metric is shown and does not decide"


def _print_devices(console: Console, result: Devices) -> None:
    _say(
        console,
        f"{result.first} and {result.second}: {result.different:,} of {result.images:,} images have"
        " other pixels.",
    )
    header = ("metric", "first", "second", "worse by", "interval", "margin", "within")
    console.print(_table(header, map(_device, result.metrics)))
    for name in result.not_tested:
        _say(console, f"not tested: {name}")
    _verdict(
        console,
        result.safe,
        "the devices differ by less than the margins; --allow-mismatch device is safe",
        "the devices differ by more than a margin, or it is not decided; gate on one device",
    )


def _say(console: Console, line: str) -> None:
    console.print(Text(printable(line)))


def _verdict(console: Console, good: bool, yes: str, no: str) -> None:
    text = Text(f"PASS: {yes}.", "green") if good else Text(f"FAIL: {no}.", "bold red")
    console.print(Text("\n") + text)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _alarm(one: FalseAlarms) -> tuple[str, ...]:
    return (
        one.margins,
        f"{one.alarms} of {one.splits} ({one.rate:.1%})",
        f"{one.low:.1%} to {one.high:.1%}",
    )


def _damages(result: Selftest) -> Table:
    """Damage in columns; in rows, all metrics together by number of prompts, and each metric."""
    names = list(dict.fromkeys(one.damage for one in result.damages))
    sizes = list(dict.fromkeys(one.prompts for one in result.damages))
    at = {(one.damage, one.prompts): one for one in result.damages}
    rows = [
        (f"all, {size} prompts", *(f"{at[name, size].found:.0%}" for name in names))
        for size in sizes
    ]
    tiers = result.tiers
    for metric in at[names[0], sizes[0]].metrics:
        cells = [at[name, sizes[0]] for name in names]
        rows.append(
            (
                metric
                + ("" if (tier := tiers.get(metric, "critical")) == "critical" else f" ({tier})"),
                *(_share(one, metric) for one in cells),
            )
        )
    table = _table(("", *(name.replace("_", " ") for name in names)), rows)
    for place, row in enumerate(rows[:1]):
        low = any(at[name, sizes[0]].found < FOUND for name in names)
        table.rows[place].style = "bold red" if low and row else "bold"
    return table


def _share(one: Found, metric: str) -> str:
    if metric in one.blind:
        return "blind"
    share = one.metrics[metric]
    return "too few" if share <= BLIND and metric in one.needed else f"{share:.0%}"


def _smallest(one: Smallest) -> tuple[str, ...]:
    name = one.metric + (f", {one.group}" if one.group else "")
    change = "not known" if one.change is None else f"{one.change:.3g}"
    percent = "" if one.percent is None else f"{one.percent:.1f}%"
    return name, f"{one.value:.4g}", f"{one.margin:.3g}", change, percent


def _device(one: DeviceDifference) -> tuple[str, ...]:
    name = one.metric + (f", {one.group}" if one.group else "")
    numbers = ("" if value is None else f"{value:.4g}" for value in (one.first, one.second))
    worse = "" if one.worse is None else f"{one.worse:+.3g}"
    ends = "" if one.low is None or one.high is None else f"{one.low:+.3g} to {one.high:+.3g}"
    margin = "" if one.margin is None else f"{one.margin:.3g}"
    return name, *numbers, worse, ends, margin, "yes" if one.within else "no"
