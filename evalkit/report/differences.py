"""comparisons.json as the report writes it: one line per pair of models and metric, in numbers and
in words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit.report import words

MOST_MORE = 100_000  # prompts; beyond, the number is no plan


@dataclass(frozen=True)
class Pair:
    """Two models on one metric, on the images that both made."""

    metric: str
    encoder: str
    reference: str
    better: str
    model_a: str
    model_b: str
    difference: float  # a less b
    low: float | None
    high: float | None
    p: float | None  # corrected for the whole table
    prompts: int
    verdict: str
    needed: int | None
    method: str
    digits: int = 2

    @property
    def title(self) -> str:
        return words.title(self.metric)

    @property
    def winner(self) -> str:
        """The model that is better, or nothing where the two are not told apart."""
        return {"a better": self.model_a, "b better": self.model_b}.get(self.verdict, "")

    @property
    def loser(self) -> str:
        return {"a better": self.model_b, "b better": self.model_a}.get(self.verdict, "")

    @property
    def text(self) -> str:
        """The difference with its sign: the first model's value less the second's."""
        text = words.number(self.difference, self.digits)
        return f"+{text}" if self.difference > 0 and float(text.replace(",", "")) else text

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f"{words.number(self.low, self.digits)} to {words.number(self.high, self.digits)}"

    @property
    def p_text(self) -> str:
        if self.p is None:
            return words.DASH
        return "< 0.001" if self.p < 0.001 else "1" if self.p > 0.9995 else f"{self.p:.3f}"

    @property
    def verdict_text(self) -> str:
        return f"{self.winner} is better" if self.winner else "not told apart"

    @property
    def more(self) -> str:
        """How many prompts more would tell the two apart if the difference stayed as it is; empty
        where they are.
        """
        if self.winner or self.needed is None:
            return ""
        more = self.needed - self.prompts
        if more > MOST_MORE:
            return f"over {MOST_MORE:,}"
        step = 10 ** max(0, math.floor(math.log10(max(1, more))) - 1)
        return f"about {math.ceil(more / step) * step:,}"

    @property
    def why_none(self) -> str:
        """Why there is no interval."""
        return self.method.removeprefix("no interval: ") if self.low is None else ""


def read_pairs(found: Mapping[str, Any], models: Sequence[str]) -> list[Pair]:
    """The rows of comparisons.json about these models; a row that is not whole is passed over."""
    rows = [
        pair
        for row in found.get("rows", [])
        if isinstance(row, Mapping) and (pair := _pair(row)) is not None
    ]
    rows = [pair for pair in rows if pair.model_a in models and pair.model_b in models]
    digits = {}
    for metric in dict.fromkeys(pair.metric for pair in rows):
        own = [pair for pair in rows if pair.metric == metric]
        widths = [
            pair.high - pair.low for pair in own if pair.low is not None and pair.high is not None
        ]
        digits[metric] = words.decimals([pair.difference for pair in own], widths)
    return [replace(pair, digits=digits[pair.metric]) for pair in rows]


def by_metric(pairs: Sequence[Pair]) -> list[tuple[str, list[Pair]]]:
    """The pairs under the title of their metric, with the encoder where one metric has several."""
    keys = list(dict.fromkeys((pair.metric, pair.encoder, pair.reference) for pair in pairs))
    names = [key[0] for key in keys]
    made = []
    for key in keys:
        own = [pair for pair in pairs if (pair.metric, pair.encoder, pair.reference) == key]
        made.append(
            (own[0].title if names.count(key[0]) == 1 else f"{own[0].title} ({key[1]})", own)
        )
    return made


def told_apart(pairs: Sequence[Pair]) -> str:
    """The table in a sentence."""
    found = sum(bool(pair.winner) for pair in pairs)
    if not found:
        return f"None of the {words.plural(len(pairs), 'difference')} is told from chance."
    return (
        f"{found} of {words.plural(len(pairs), 'difference')} {'is' if found == 1 else 'are'} real."
    )


def _pair(row: Mapping[str, Any]) -> Pair | None:
    try:
        return Pair(
            metric=str(row["metric"]),
            encoder=str(row["encoder"]),
            reference=str(row["reference"]),
            better=str(row["better"]),
            model_a=str(row["model_a"]),
            model_b=str(row["model_b"]),
            difference=float(row["difference"]),
            low=_number(row["low"]),
            high=_number(row["high"]),
            p=_number(row["p_holm"]),
            prompts=int(row["prompts"]),
            verdict=str(row["verdict"]),
            needed=None if row["needed"] is None else int(row["needed"]),
            method=str(row["method"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
