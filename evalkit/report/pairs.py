"""What all pairs of models say: who is significantly better than whom, and on which metrics.

Everything follows from rows of comparisons.json. Models that say the same are named together, and
a pair that was not tested is in none of the statements.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from evalkit.core import ComparisonRow
from evalkit.report import numbers

FEW = 4  # models: of more, a sentence by pairs is too long
Tables = Sequence[Sequence[ComparisonRow]]  # the comparisons of each metric
Metrics = tuple[int, ...]  # places in the tables


class Better(NamedTuple):
    """Each of the winners is significantly better than each of the losers on these metrics."""

    winners: tuple[str, ...]
    losers: tuple[str, ...]
    metrics: Metrics
    tested: Metrics  # the metrics on which these pairs were tested

    def text(self, names: Mapping[str, str], word: str = "significantly better") -> str:
        """`a and b are each significantly better than c`."""
        verb = "is" if len(self.winners) == 1 else "are each"
        who, than = (
            numbers.listing([names[model] for model in models])
            for models in (self.winners, self.losers)
        )
        return f"{who} {verb} {word} than {than}"


class Tied(NamedTuple):
    """No two of the models differ significantly on these metrics."""

    models: tuple[str, ...]
    metrics: Metrics
    tested: Metrics

    def text(self, names: Mapping[str, str]) -> str:
        """`no significant difference between a, b and c`."""
        listed = numbers.listing([names[model] for model in self.models])
        return f"no significant difference between {listed}"


def models_of(tables: Tables) -> list[str]:
    """The compared models, in the order of the rows."""
    return list(
        dict.fromkeys(
            name for rows in tables for row in rows for name in (row.model_a, row.model_b)
        )
    )


def was_tested(row: ComparisonRow) -> bool:
    """Whether a row has a verdict about its models."""
    return row.verdict != "not tested"


def better(tables: Tables) -> list[Better]:
    """All significant differences, those of many metrics and models first."""
    won: dict[tuple[str, str], Metrics] = {}
    for place, rows in enumerate(tables):
        for row in rows:
            if row.winner:
                pair = row.winner, row.loser
                won[pair] = (*won.get(pair, ()), place)
    tested = _places(tables, was_tested)
    order = [pair for pair in itertools.permutations(models_of(tables), 2) if pair in won]
    losers: dict[tuple[str, Metrics, Metrics], tuple[str, ...]] = {}
    for winner, loser in order:
        key = winner, won[winner, loser], tested[frozenset((winner, loser))]
        losers[key] = (*losers.get(key, ()), loser)
    winners: dict[tuple[tuple[str, ...], Metrics, Metrics], tuple[str, ...]] = {}
    for (winner, metrics, of), names in losers.items():
        winners[names, metrics, of] = (*winners.get((names, metrics, of), ()), winner)
    found = [Better(who, names, metrics, of) for (names, metrics, of), who in winners.items()]
    return sorted(found, key=lambda b: -len(b.metrics) * len(b.winners) * len(b.losers))


def tied(tables: Tables) -> list[Tied]:
    """All pairs that were tested without a significant difference; models in large groups."""
    tested = _places(tables, was_tested)
    equal = _places(tables, lambda row: was_tested(row) and not row.winner)
    models = [model for model in models_of(tables) if any(model in pair for pair in equal)]
    found, left = [], set(equal)
    for size in range(min(len(models), FEW), 1, -1):
        for group in itertools.combinations(models, size):
            pairs = [frozenset(pair) for pair in itertools.combinations(group, 2)]
            alike = {(equal.get(pair), tested.get(pair)) for pair in pairs}
            if len(alike) == 1 and all(pair in equal for pair in pairs) and left & {*pairs}:
                found.append(Tied(group, equal[pairs[0]], tested[pairs[0]]))
                left -= {*pairs}
    return found


def _places(
    tables: Tables, chosen: Callable[[ComparisonRow], bool]
) -> dict[frozenset[str], Metrics]:
    """The metrics on which each pair has a row of this kind."""
    found: dict[frozenset[str], Metrics] = {}
    for place, rows in enumerate(tables):
        for row in filter(chosen, rows):
            pair = frozenset((row.model_a, row.model_b))
            found[pair] = (*found.get(pair, ()), place)
    return found
