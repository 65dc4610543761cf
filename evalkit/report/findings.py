"""Rows of metrics.json to findings: the values of one metric and what is concluded from them.

Only comparisons.json decides which model is better. Without a test no model is called better.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from evalkit.core import ComparisonRow, Measure, MetricRow
from evalkit.encoders.select import STANDARD
from evalkit.hints import capital
from evalkit.report import numbers
from evalkit.report.pairs import FEW, better, tied, was_tested

_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(/[A-Za-z0-9._~/?=&%#+-]*)?")
FindingKind = Literal["significant", "tie", "untested", "single", "missing"]
Protocol = tuple[str, str, str]  # metric, encoder, reference
RULE = "Holm, 5%"  # the correction and the level of all verdicts
NAMED = 6  # models that a sentence names


@dataclass(frozen=True)
class Cell:
    """The value of one model, as the report writes it."""

    row: MetricRow
    digits: int
    bold: bool  # the best or without a significant difference from it, if another one is worse
    worse: bool  # significantly worse than the best
    unit: str = ""  # of a time: s or ms

    @property
    def measured(self) -> bool:
        return self.row.value is not None

    @property
    def value(self) -> str:
        if self.unit and self.row.value is not None:
            return numbers.three_digits(self.row.value * (1000 if self.unit == "ms" else 1))
        return numbers.number(self.row.value, self.digits)

    @property
    def interval(self) -> str:
        """`low to high`; "" if there is no interval."""
        if not self.measured:
            return ""
        return numbers.interval(self.row.low, self.row.high, self.digits)

    @property
    def baseline(self) -> str:
        """The finite-sample baseline; "" if it is unknown."""
        known = self.measured and self.row.baseline is not None
        return numbers.number(self.row.baseline, self.digits) if known else ""

    @property
    def note(self) -> str:
        """Why there is no value, or how it was computed."""
        return self.row.note.removeprefix("not measured: ")


@dataclass(frozen=True)
class Finding:
    """One metric under one protocol, for all models that have a row."""

    measure: Measure
    encoder: str
    reference: str
    rows: Mapping[str, MetricRow]  # by model
    comparisons: Sequence[ComparisonRow]
    digits: int | None = None  # of all values; None: as these values and intervals need

    @property
    def protocol(self) -> Protocol:
        return self.measure.name, self.encoder, self.reference

    @cached_property
    def unit(self) -> str:
        """The unit of a time: ms where all values are below a second; "" for other metrics."""
        if not (self.measure.from_records and self.measure.name.startswith("latency")):
            return ""
        return "ms" if max(map(_value, self.measured), default=1.0) < 1 else "s"

    @property
    def title(self) -> str:
        """The title, with the unit of a time."""
        return f"{self.measure.title} ({self.unit})" if self.unit else self.measure.title

    @property
    def name(self) -> str:
        """The title, with the encoder unless it is the one of the published metric."""
        if self.measure.from_ratings:
            return f"{self.title} ({self.encoder}, study {self.reference})"
        published = self.encoder in ("", *STANDARD.values())
        return self.title if published else f"{self.title} ({self.encoder})"

    @property
    def arrow(self) -> str:
        return "↓" if self.measure.better == "lower" else "↑"

    @cached_property
    def measured(self) -> list[MetricRow]:
        """The rows that have a value."""
        return [row for row in self.rows.values() if row.value is not None]

    @property
    def several_counts(self) -> bool:
        """Whether the values are of different numbers of images."""
        return len({row.count for row in self.measured}) > 1

    @cached_property
    def best(self) -> MetricRow | None:
        """The row with the best value, which need not be significantly better."""
        choose = min if self.measure.better == "lower" else max
        best = choose(self.measured, key=_value, default=None)
        for pair in self.comparisons:
            # On the images that both made, another model can be significantly better.
            if best is not None and pair.loser == best.model:
                best = self.rows.get(pair.winner, best)
        return best

    @cached_property
    def with_best(self) -> dict[str, ComparisonRow]:
        """The comparisons with the best model, by the name of the other one."""
        if self.best is None:
            return {}
        name = self.best.model
        found = {}
        for row in self.comparisons:
            if name in (row.model_a, row.model_b):
                found[row.model_b if row.model_a == name else row.model_a] = row
        return found

    @cached_property
    def worse(self) -> list[str]:
        """Models that are significantly worse than the best."""
        return [
            row.model
            for row in self.measured
            if (pair := self.with_best.get(row.model)) and pair.loser == row.model
        ]

    @cached_property
    def ties(self) -> list[str]:
        """Models that were tested and are not significantly worse than the best."""
        return [
            row.model
            for row in self.measured
            if (pair := self.with_best.get(row.model))
            and pair.verdict == "no significant difference"
        ]

    @cached_property
    def untested(self) -> list[str]:
        """Models whose difference from the best was not tested."""
        return [
            row.model
            for row in self.measured
            if row is not self.best
            and ((pair := self.with_best.get(row.model)) is None or pair.verdict == "not tested")
        ]

    @cached_property
    def equals(self) -> list[str]:
        """The models with exactly the value of the best, and the best."""
        best = self.best.value if self.best else None
        return [row.model for row in self.measured if row.value == best]

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """The values of all models, with the same number of digits."""
        digits = digits_of(self.measured) if self.digits is None else self.digits
        bold = {*self.ties, self.best.model} if self.worse and self.best else set()
        return {
            model: Cell(row, digits, model in bold, model in self.worse, self.unit)
            for model, row in self.rows.items()
        }

    @property
    def kind(self) -> FindingKind:
        if not self.measured:
            return "missing"
        if len(self.measured) == 1:
            return "single"
        if any(pair.winner for pair in self.comparisons):
            return "significant"
        return "tie" if self.ties else "untested"

    @property
    def verdict(self) -> str:
        """The conclusion in one sentence."""
        if self.best is None:
            reasons = sorted({cell.note.rstrip(".") for cell in self.cells.values() if cell.note})
            return ": ".join(filter(None, ["Not measured", numbers.listing(reasons)])) + "."
        if len(self.measured) == 1:
            return f"Only {self.best.model} was measured."
        if self.kind == "significant" and 2 < len(self.measured) <= FEW:
            return f"{'; '.join(self._by_pairs())}."
        text, ties = self._lead(), [m for m in self.ties if self.worse or m not in self.equals]
        parts = []
        if self.worse:
            parts.append(f"significantly better than {numbers.listing(self.worse, NAMED)}")
        if ties:
            parts.append(f"no significant difference from {numbers.listing(ties, NAMED)}")
        tested = "; ".join(parts)
        if tested:
            prompts = max(pair.prompts for pair in self.with_best.values())
            tested += f" ({RULE}; {numbers.plural(prompts, 'prompt')})"
        untested = ""
        if self.untested:
            reasons = {reason(self.with_best[m]) for m in self.untested if m in self.with_best}
            why = f" ({numbers.listing(sorted(reasons))})" if reasons else ""
            names = numbers.listing(self.untested, NAMED)
            untested = f"the difference from {names} was not tested{why}"
        rest = "; ".join(filter(None, [tested, untested, self._among_others()]))
        return f"{text} {rest}." if rest else f"{text.rstrip(';')}."

    def _by_pairs(self) -> list[str]:
        """The verdicts on all pairs, as parts of a sentence."""
        names = {model: model for model in self.rows}
        parts = [one.text(names) for one in better([self.comparisons])]
        parts += [one.text(names) for one in tied([self.comparisons])]
        prompts = max(pair.prompts for pair in self.comparisons if was_tested(pair))
        parts[-1] += f" ({RULE}; {numbers.plural(prompts, 'prompt')})"
        others = [pair for pair in self.comparisons if not was_tested(pair)]
        if others:
            what = "the difference" if len(others) == 1 else "the differences"
            listed = numbers.listing([f"{p.model_a} and {p.model_b}" for p in others], NAMED)
            why = numbers.listing(sorted({reason(pair) for pair in others if reason(pair)}))
            verb = "was" if len(others) == 1 else "were"
            parts.append(f"{what} between {listed} {verb} not tested{f' ({why})' if why else ''}")
        return parts

    def _among_others(self) -> str:
        """How many differences between models other than the best are significant."""
        rest = [
            pair
            for pair in self.comparisons
            if pair not in self.with_best.values() and was_tested(pair)
        ]
        count = sum(bool(pair.winner) for pair in rest)
        verb = "is" if count == 1 else "are"
        listed = numbers.plural(len(rest), "difference")
        return f"of {listed} between the others, {count} {verb} significant" if count else ""

    def _lead(self) -> str:
        """`a is`, `a has the best value;` or `a and b have equal values;`."""
        assert self.best is not None
        if self.worse:
            return f"{self.best.model} is"
        if len(self.equals) < 2:
            return f"{self.best.model} has the best value;"
        every = len(self.equals) == len(self.measured)
        verb = "have equal values" if every else "share the best value"
        return f"{numbers.listing(self.equals, NAMED)} {verb};"

    @property
    def detail(self) -> str:
        """The values of all models; of many, the best ones."""
        cells = [cell for cell in self.cells.values() if cell.measured]
        if len(cells) > NAMED:
            sign = 1 if self.measure.better == "lower" else -1
            cells.sort(key=lambda cell: sign * _value(cell.row))
        texts = [
            f"{cell.row.model} {cell.value}" + (f" ({cell.interval})" if cell.interval else "")
            for cell in cells[:NAMED]
        ]
        rest = len(cells) - NAMED
        return "; ".join([*texts, f"{numbers.plural(rest, 'more model')}"] if rest > 0 else texts)

    @property
    def row_cautions(self) -> list[str]:
        """What the rows with a value say about its limits, each once."""
        return sorted({part for row in self.measured for part in row.caution.split("; ") if part})

    @property
    def cautions(self) -> list[str]:
        """Sentences that belong beside the values."""
        counts = [row.count for row in self.measured]
        texts = [self._additional_prompts()]
        if self.measure.depends_on_count and len(set(counts)) > 1:
            texts.append(
                "This metric depends on the number of images, which differs between the models"
                f" ({numbers.counts(counts)})."
            )
        texts.append(self._baselines())
        # One that begins with the label of a model has it as it is written.
        own = tuple(f"{model}: " for model in self.cells)
        said = [part if part.startswith(own) else capital(part) for part in self.row_cautions]
        return [text for text in texts if text] + [f"{text}." for text in said]

    def _additional_prompts(self) -> str:
        """The estimate for the model that needs the fewest additional prompts."""
        needed = {
            model: self.with_best[model].additional_prompts or 0
            for model in self.ties
            if self.with_best[model].additional_prompts
        }
        if not needed:
            return ""
        model = min(needed, key=needed.__getitem__)
        return (
            f"Additional prompts needed for a significant difference from {model}:"
            f" {numbers.estimate(needed[model])}."
        )

    def _baselines(self) -> str:
        found = sorted({(c.row.count, c.baseline) for c in self.cells.values() if c.baseline})
        texts = [f"{text} (n = {count:,})" for count, text in found]
        listed = numbers.listing(texts, NAMED)
        text = f"Finite-sample baseline: {listed}." if listed else ""
        return " ".join(filter(None, [text, self._below_baseline()]))

    @property
    def below_baseline(self) -> list[MetricRow]:
        """The rows that are closer to the reference than as many real images."""
        lower = self.measure.better == "lower"
        return [
            row
            for row in self.measured
            if lower and row.baseline is not None and _value(row) < row.baseline
        ]

    def _below_baseline(self) -> str:
        """Which values are below the baseline, and why that can be."""
        below = self.below_baseline
        chance = [
            row
            for row in below
            if row.baseline is not None and row.high is not None and row.high >= row.baseline
        ]
        if not below:
            return ""
        names, some = (numbers.listing([r.model for r in rows], NAMED) for rows in (below, chance))
        why = (
            "because the images depend on those of the reference or because the prompts ask for"
            " another mix of content"
        )
        whose = "the interval includes" if len(chance) == 1 else "the intervals include"
        if chance and len(chance) == len(below):
            why = f"by chance ({whose} the baseline), {why}"
        elif chance:
            why = f"{why}; of {some} perhaps by chance ({whose} the baseline)"
        return f"Below it: {names}; closer to the reference than as many real images, {why}."

    @property
    def fine_print(self) -> str:
        """What the metric means, and how the values and intervals were computed."""
        methods = {cell.row.interval for cell in self.cells.values() if cell.interval}
        notes = [cell.note for cell in self.cells.values() if cell.measured]
        notes += [cell.row.interval for cell in self.cells.values() if not cell.interval]
        parts = [self.measure.meaning]
        if intervals := numbers.listing(sorted(filter(None, methods))):
            parts.append(f"Interval: {intervals}.")
        if note := "; ".join(dict.fromkeys(filter(None, notes))):
            parts.append(f"Note: {note}.")
        return " ".join(filter(None, parts))

    @property
    def paper(self) -> str:
        """The address of the paper if it is a plain web address, which is safe in a link."""
        return self.measure.paper if _ADDRESS.fullmatch(self.measure.paper) else ""


def findings(
    rows: Sequence[MetricRow],
    models: Sequence[str],
    comparisons: Sequence[ComparisonRow],
    stated: Any,
) -> list[Finding]:
    """One finding per metric, encoder and reference, in the order of the rows.

    Args:
        stated: the "measures" of protocol.json.
    """
    table: dict[Protocol, dict[str, MetricRow]] = {}
    for row in rows:
        if row.model in models:
            table.setdefault((row.metric, row.encoder, row.reference), {})[row.model] = row
    found = []
    for (metric, encoder, reference), own in table.items():
        ordered = {model: own[model] for model in models if model in own}
        pairs = [
            pair
            for pair in comparisons
            if (pair.metric, pair.encoder, pair.reference) == (metric, encoder, reference)
        ]
        measure = _measure(next(iter(ordered.values())), stated)
        found.append(Finding(measure, encoder, reference, ordered, pairs))
    return found


def _measure(row: MetricRow, stated: Any) -> Measure:
    """What protocol.json states about the metric of a row; an older one states nothing."""
    try:
        entry = stated[row.metric]
        low, high = entry["range"]
        span = (-math.inf if low is None else low, math.inf if high is None else high)
        return Measure(**{**entry, "name": row.metric, "better": row.better, "range": span})
    except (KeyError, TypeError, ValueError):
        return Measure(row.metric, row.better)


def digits_of(measured: Sequence[MetricRow]) -> int:
    """Digits after the point for these values and their intervals."""
    ends = [(row.low, row.high) for row in measured]
    widths = [high - low for low, high in ends if low is not None and high is not None]
    return numbers.decimals([_value(row) for row in measured], widths)


def _value(row: MetricRow) -> float:
    assert row.value is not None
    return row.value


def reason(pair: ComparisonRow) -> str:
    """Why a pair has no interval; "" if it has one."""
    return pair.method.removeprefix("no interval: ") if pair.low is None else ""
