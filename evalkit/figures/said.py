"""Parts of captions: what the bars and lines of a figure are, and of how many images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.figures.parts import reference_kind
from evalkit.figures.rows import MINUS, Row, by_metric, measure_of, short_method

LEVEL = "95%"
MOST_NAMES = 3  # models in parentheses; of more, their number


def bars(rows: Sequence[Row], column: str = "interval") -> str:
    """What the error bars are, and which values have none."""
    if not any(row.get("low") is not None for row in rows):
        return "No value has an interval."
    return f"Bars: {LEVEL} intervals ({methods(rows, column)}).{without(rows)}"


def methods(rows: Sequence[Row], column: str) -> str:
    """The methods of the intervals, with the metrics of each where there are several."""
    of_title: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if row.get("low") is not None:
            own = of_title.setdefault(measure_of(row).title, {})
            own.setdefault(short_method(row.get(column) or "as given"), []).append(_name(row))
    found: dict[str, list[str]] = {}
    for title, own in of_title.items():
        said = [f"{method} ({_some(names)})" for method, names in own.items()]
        key = " or ".join(said) if len(own) > 1 else next(iter(own))
        found.setdefault(key, []).append(title)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{', '.join(titles)}: {method}" for method, titles in found.items())


def without(rows: Sequence[Row]) -> str:
    """The values that have no interval in a figure where others have one; "" for none."""
    said = []
    for own in by_metric(rows).values():
        names = list(dict.fromkeys(_name(row) for row in own if row.get("low") is None))
        if names:
            all_of = not any(row.get("low") is not None for row in own)
            said.append(measure_of(own[0]).title + ("" if all_of else f" of {_some(names)}"))
    return f" No interval: {', '.join(dict.fromkeys(said))}." if said else ""


def lines(rows: Sequence[Row]) -> str:
    """The vertical lines of panels with these rows, those that are drawn."""
    panels = list(by_metric(rows).values())
    kinds = [reference_kind(own, measure_of(own[0]).from_zero) for own in panels]
    said = ""
    if any(row.get("baseline") is not None for row in rows):
        said += " Short vertical lines: finite-sample baselines, the values of as many real images."
    for kind, name, what in (("zero", "Solid", "zero"), ("best", "Dotted", "the best value")):
        if number := kinds.count(kind):
            said += f" {name} line{'' if number == 1 else 's'}: {what}."
    return said


def counts(rows: Sequence[Row], column: str) -> str:
    return span([row[column] for row in rows if row.get(column)])


def span(numbers: Sequence[Any]) -> str:
    """`71`, or `60 to 71`."""
    known = sorted({int(number) for number in numbers})
    if not known:
        return ""
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"


def of(number: str, what: str) -> str:
    return f" (N = {number} {what})" if number else ""


def number_of(items: Sequence[Any], noun: str) -> str:
    return f"{len(items):,} {noun}{'' if len(items) == 1 else 's'}"


def raters(rows: Sequence[Row]) -> str:
    """Who was asked; models that judge are not people."""
    names = dict.fromkeys(str(row.get("raters") or row.get("encoder")) for row in rows)
    models = [name for name in names if name.startswith("model:")]
    said = f"Raters and question: {', '.join(names)}."
    return said + (" Raters are models, not people." if len(models) == len(names) else "")


def _name(row: Mapping[str, Any]) -> str:
    """The model, or the pair of models, with the group of prompts."""
    name = row.get("model") or f"{row['model_a']} {MINUS} {row['model_b']}"
    return f"{name} on {row['group']}" if row.get("group") else name


def _some(names: Sequence[str]) -> str:
    known = list(dict.fromkeys(names))
    return ", ".join(known) if len(known) <= MOST_NAMES else f"{len(known):,} of them"
