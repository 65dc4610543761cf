"""The decisions on splits of one model: false alarms, and how often planted damage is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from evalkit.core import EvalkitError
from evalkit.gate.config import GateConfig, Rule
from evalkit.gate.decide import Decision
from evalkit.gate.gate import decisions_of, outcome_of
from evalkit.gate.rules import choose_rules, measured_names, usual_rule
from evalkit.gate.selftest.damage import Damage
from evalkit.gate.selftest.enough import prompts_needed
from evalkit.gate.selftest.generate import guidance_of
from evalkit.gate.selftest.pool import read_pool
from evalkit.gate.selftest.sides import Pool, Split, sides, split
from evalkit.gate.snapshot import Snapshot, take
from evalkit.hints import plural
from evalkit.run_folder import Run
from evalkit.specs import split_run
from evalkit.statistics.intervals import LEAST_GROUPS, wilson

BLIND = 0.05  # a metric that finds a damage in at most this share is blind to it


@dataclass(frozen=True)
class FalseAlarms:
    """One model against itself."""

    margins: str  # "configured", or "none": without any margin, the hardest case
    splits: int
    alarms: int  # splits with a regression of any gated metric
    rate: float
    low: float  # Wilson's 95% interval of the rate
    high: float
    metrics: Mapping[str, float]  # by metric: the share of splits with a regression


@dataclass(frozen=True)
class Found:
    """One kind of damage at one number of prompts."""

    damage: str
    meaning: str
    prompts: int  # of each side
    images: int
    splits: int
    found: float  # the share of splits with the outcome "regressed"
    metrics: Mapping[str, float]  # by metric: the share of splits with a regression
    blind: tuple[str, ...]  # metrics that find it in at most 5%, and would with more prompts, too
    needed: Mapping[str, int]  # prompts of each side with which other metrics would find it


class Prepared(NamedTuple):
    """What every split is decided with."""

    whole: Snapshot  # of all images
    pool: Pool
    rules: dict[str, Rule]
    settings: GateConfig
    not_tested: dict[str, str]
    named: bool  # whether the user named the metrics, and so their tiers

    def rules_of(self, a: Snapshot, b: Snapshot) -> dict[str, Rule]:
        """The rules for two sides, as the gate chooses them: what happens to one side counts."""
        if self.named:
            return self.rules
        return {name: usual_rule(name, a.states[name], b.states[name]) for name in self.rules}


def prepare(
    candidate: str, settings: GateConfig, names: Sequence[str] = (), generate: bool = False
) -> Prepared:
    """The images and the rules. Raises EvalkitError where nothing can be tested."""
    whole = take(candidate, measured_names(settings, names))
    rules, not_tested = _testable(choose_rules(settings, names, whole, whole), whole)
    if not rules:
        raise EvalkitError(
            f"No gated metric of {whole.name} can be tested: {'; '.join(not_tested.values())}.",
            "Gate a metric of images.",
            code="gate-44",
        )
    of_images = [name for name in rules if not whole.states[name].measure.from_records]
    guidance = guidance_of(Run(split_run(candidate)[0]), whole.model)
    if isinstance(guidance, str):
        if generate:
            raise EvalkitError(
                f"The images of {whole.name} cannot be made with half the guidance: {guidance}.",
                "Test without `--generate`.",
                code="gate-45",
            )
        not_tested["half the guidance"] = guidance
    elif not generate:
        not_tested["half the guidance"] = "it was not asked for (--generate)"
    pool = read_pool(candidate, whole.model, of_images, generate)
    if pool.most < LEAST_GROUPS:
        least = LEAST_GROUPS * (1 if pool.pairing == "samples" else 2)
        raise EvalkitError(
            f"{whole.name} has {plural(len(pool.units), 'prompt')}; a selftest needs at least"
            f" {least}, and shows little below 100.",
            "Generate images of more prompts.",
            code="gate-46",
        )
    named = bool(names or settings.metrics)
    return Prepared(whole, pool, rules, settings, not_tested, named)


def _testable(rules: Mapping[str, Rule], whole: Snapshot) -> tuple[dict[str, Rule], dict[str, str]]:
    """The rules whose decision depends on the noise of the images, and why the others do not."""
    kept: dict[str, Rule] = {}
    left: dict[str, str] = {}
    for name, rule in rules.items():
        state = whole.states[name]
        margins_only = replace(rule, least=None, most=None)
        if state.measure.from_ratings:
            left[name] = "ratings: the images are not rated again"
        elif state.scored:
            left[name] = "scorers: damaged images are not scored again"
        elif state.measure.from_records and state.values is None:
            left[name] = "speed and cost have no interval"
        elif state.value is None:
            left[name] = state.note.removeprefix("not measured: ")
        elif margins_only.is_empty:
            left[name] = "it has a limit (min, max) and no margin"
        else:
            kept[name] = margins_only
    return kept, left


def row_name(one: Decision) -> str:
    """The name of a decision in the tables of the selftest."""
    return f"{one.metric}, {one.group}" if one.group else one.metric


def against_itself(
    test: Prepared, size: int, splits: Sequence[int], after: Callable[[], None] = lambda: None
) -> tuple[list[list[Decision]], list[list[Decision]]]:
    """The model against itself, with `size` prompts on each side; splits: their numbers.

    Returns the decisions of every split with the margins, and without any.
    """
    bare = {name: Rule(margin=0.0, tier=rule.tier) for name, rule in test.rules.items()}
    without = replace(test.settings, groups=None)
    configured, none = [], []
    for number in splits:
        a, b = sides(test.pool, cut_of(test.pool, size, number))
        configured.append(decisions_of(a, b, test.rules_of(a, b), test.settings))
        none.append(decisions_of(a, b, bare, without))
        after()
    return configured, none


def cut_of(pool: Pool, prompts: int, number: int) -> Split:
    return split(pool, prompts, np.random.RandomState([prompts, number]))


def rate(margins: str, tables: Sequence[Sequence[Decision]]) -> FalseAlarms:
    alarms = sum(any(one.verdict == "REGRESSED" for one in table) for table in tables)
    interval = wilson(alarms, len(tables))
    assert interval.low is not None
    assert interval.high is not None
    rate = alarms / len(tables)
    return FalseAlarms(
        margins, len(tables), alarms, rate, interval.low, interval.high, _shares(tables)
    )


def rows_of(tables: Sequence[Sequence[Decision]]) -> list[list[Decision]]:
    """The decisions on each metric and group, of the tables that have it.

    A side may have no prompt of a small group.
    """
    found: dict[tuple[str, str, str], list[Decision]] = {}
    for table in tables:
        for one in table:
            found.setdefault((one.metric, one.encoder, one.group), []).append(one)
    return list(found.values())


def _shares(tables: Sequence[Sequence[Decision]]) -> dict[str, float]:
    """By metric: the share of tables with a regression."""
    return {
        row_name(row[0]): float(np.mean([one.verdict == "REGRESSED" for one in row]))
        for row in rows_of(tables)
    }


def planted(
    test: Prepared, size: int, splits: Sequence[int], after: Callable[[], None] = lambda: None
) -> list[Found]:
    """How often each damage of one side is a regression, with `size` prompts on each side."""
    tables: dict[str, list[list[Decision]]] = {damage.name: [] for damage in test.pool.damages}
    images = 0
    for number in splits:
        cut = cut_of(test.pool, size, number)
        images = len(cut.keys)
        for damage in test.pool.damages:  # one split at a time: what both sides share is memoized
            a, b = sides(test.pool, cut, damage, seed=number)
            tables[damage.name].append(decisions_of(a, b, test.rules_of(a, b), test.settings))
        after()
    alpha = test.settings.alpha
    return [_found(one, tables[one.name], size, images, alpha) for one in test.pool.damages]


def _found(
    damage: Damage, tables: Sequence[list[Decision]], size: int, images: int, alpha: float
) -> Found:
    shares = _shares(tables)
    tests = sum(one.p is not None for one in tables[0])
    counts = {row_name(row[0]): prompts_needed(row, tests, alpha) for row in rows_of(tables)}
    needed = {name: count for name, count in counts.items() if count and count > size}
    blind = tuple(name for name, share in shares.items() if share <= BLIND and name not in needed)
    found = float(np.mean([outcome_of(table) == "regressed" for table in tables]))
    return Found(
        damage.name, damage.meaning, size, images, len(tables), found, shares, blind, needed
    )
