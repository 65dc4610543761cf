"""`evalkit gate selftest`: does the gate hold what it promises, on one's own images?

- False alarms: one model against itself, in many random splits (see `selftest_sides`).
- Planted damage: how often the gate finds it, by which metrics, and which metrics are blind to it.
- The smallest change of each metric that the gate sees at this number of images.

Every split is decided as `evalkit gate` decides, with the metrics and margins of its configuration.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from evalkit.core import EvalkitError
from evalkit.files import write_atomically
from evalkit.gate.config import GateConfig, Rule, read_config
from evalkit.gate.decide import Decision
from evalkit.gate.gate import _decisions, _measured_names, _outcome, _rules
from evalkit.gate.selftest_damage import DAMAGES, Damage
from evalkit.gate.selftest_pool import read_pool
from evalkit.gate.selftest_sides import STANDS_FOR, Pairing, Pool, Split, sides, split
from evalkit.gate.snapshot import Snapshot, split_name, take
from evalkit.run_folder import Run
from evalkit.score.presets import expand
from evalkit.specs import split_names
from evalkit.statistics.intervals import GROUPS, LEAST_GROUPS, wilson
from evalkit.terminal import progress

SCHEMA = 1
SPLITS = 200
FEWEST_SPLITS = 20
POWER = 0.8
FOUND = 0.95  # the share of splits in which the gate has to find a damage
BLIND = 0.05  # a metric that finds a damage in at most this share is blind to it
_SMALLER = (2, 4)  # damage is also planted on a half and a quarter of the prompts
_PER_DAMAGE = 4  # one split in four


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
    blind: tuple[str, ...]  # metrics that find it in at most 5%


@dataclass(frozen=True)
class Smallest:
    """The smallest change for the worse of one metric that the gate finds in 80% of cases."""

    metric: str
    encoder: str
    group: str
    value: float  # of the run
    margin: float
    error: float  # standard error of a difference at the number of images of the run
    change: float | None  # None: not known, and `note` gives the reason
    percent: float | None  # of the value
    note: str = ""


@dataclass(frozen=True)
class Selftest:
    """The content of gate_selftest.json."""

    model: str
    passed: bool
    exit_code: int
    problems: tuple[str, ...]  # why it did not pass
    alpha: float
    pairing: Pairing
    stands_for: str  # what the two sides of a split stand for
    images: int  # of the model
    prompts: int
    images_per_side: int
    prompts_per_side: int
    false_alarms: tuple[FalseAlarms, ...]
    damages: tuple[Found, ...]
    smallest: tuple[Smallest, ...]
    not_tested: Mapping[str, str]  # what, and why


class Test(NamedTuple):
    """What every split is decided with."""

    whole: Snapshot  # of all images
    pool: Pool
    rules: dict[str, Rule]
    settings: GateConfig
    not_tested: dict[str, str]


def gate_selftest(
    candidate: str | os.PathLike[str],
    *,
    config: str | Path | None = None,
    metrics: str | Sequence[str] | None = None,
    alpha: float | None = None,
    splits: int = SPLITS,
) -> Selftest:
    """Test the gate on the images of one model: false alarms, planted damage, smallest change.

    Writes gate_selftest.json into the run; nothing else in it changes. The same run and settings
    give the same file.

    Args:
        candidate: `RUN` or `RUN:LABEL`, scored; or a Run.
        config: a gate.toml with margins, as for `evalkit.gate`.
        metrics: gate these only.
        alpha: the probability of any false alarm (default 0.05).
        splits: random splits of the model against itself, at least 20; each damage is planted in a
            quarter as many.

    Raises:
        EvalkitError: as `evalkit.gate`, and for too few prompts.
    """
    candidate = os.fspath(candidate)
    settings = read_config(config) if config is not None else GateConfig()
    if alpha is not None:
        if not (isinstance(alpha, int | float) and 0 < alpha < 0.5):
            raise EvalkitError(f"alpha is {alpha!r}; expected a number above 0, below 0.5.")
        settings = replace(settings, alpha=alpha)
    if not isinstance(splits, int) or splits < FEWEST_SPLITS:
        raise EvalkitError(
            f"splits is {splits!r}; expected a whole number of at least {FEWEST_SPLITS}.",
            "With 200 splits a rate of 5% has an interval of about 3% to 9%.",
        )
    wanted = [metrics] if isinstance(metrics, str) else metrics or ()
    names = list(dict.fromkeys(expand([name for text in wanted for name in split_names(text)])))
    test = prepare(candidate, settings, names)
    pool = test.pool
    with progress("the model against itself", splits, "splits") as advance:
        tables, alarms = against_itself(test, pool.most, splits, lambda: advance(1))
    damages = tuple(_planted(test, max(5, splits // _PER_DAMAGE)))
    problems = _problems(alarms, damages, settings.alpha)
    result = Selftest(
        model=test.whole.name,
        passed=not problems,
        exit_code=3 if problems else 0,
        problems=tuple(problems),
        alpha=settings.alpha,
        pairing=pool.pairing,
        stands_for=STANDS_FOR[pool.pairing],
        images=int((pool.rows >= 0).sum()),
        prompts=len(pool.units),
        images_per_side=len(_cut(pool, pool.most, 0).keys),
        prompts_per_side=pool.most,
        false_alarms=alarms,
        damages=damages,
        smallest=tuple(_smallest(test, tables)),
        not_tested=test.not_tested,
    )
    write_atomically(Run(split_name(candidate)[0]).path / "gate_selftest.json", to_json(result))
    return result


def to_json(result: Selftest) -> str:
    """gate_selftest.json."""
    content = {"schema": SCHEMA, **dataclasses.asdict(result)}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def prepare(candidate: str, settings: GateConfig, names: Sequence[str] = ()) -> Test:
    """The images and the rules. Raises EvalkitError where nothing can be tested."""
    whole = take(candidate, _measured_names(settings, names))
    rules, not_tested = _testable(_rules(settings, names, whole, whole), whole)
    if not rules:
        raise EvalkitError(
            f"No gated metric of {whole.name} can be tested: {'; '.join(not_tested.values())}.",
            "Gate a metric of images.",
        )
    of_images = [name for name in rules if not whole.states[name].measure.from_records]
    pool = read_pool(candidate, whole.model, of_images, DAMAGES)
    if pool.most < LEAST_GROUPS:
        least = LEAST_GROUPS * (1 if pool.pairing == "samples" else 2)
        raise EvalkitError(
            f"{whole.name} has {len(pool.units)} prompts; a selftest needs at least {least}, and"
            " says little below 100.",
            "Generate images of more prompts.",
        )
    return Test(whole, pool, rules, settings, not_tested)


def _testable(rules: Mapping[str, Rule], whole: Snapshot) -> tuple[dict[str, Rule], dict[str, str]]:
    """The rules whose decision depends on the noise of the images, and why the others do not."""
    kept: dict[str, Rule] = {}
    left: dict[str, str] = {}
    for name, rule in rules.items():
        state = whole.states[name]
        margins_only = replace(rule, least=None, most=None)
        if state.measure.from_ratings:
            left[name] = "ratings: the images are not rated again"
        elif state.measure.from_records and state.values is None:
            left[name] = "speed and cost have no interval"
        elif state.value is None:
            left[name] = state.note.removeprefix("not measured: ")
        elif margins_only.is_empty:
            left[name] = "it has a limit (min, max) and no margin"
        else:
            kept[name] = margins_only
    return kept, left


def _name(one: Decision) -> str:
    return f"{one.metric}, {one.group}" if one.group else one.metric


def against_itself(
    test: Test, size: int, splits: int, after: Callable[[], None] = lambda: None
) -> tuple[list[list[Decision]], tuple[FalseAlarms, ...]]:
    """The model against itself, with `size` prompts on each side.

    Returns the decisions of every split, and the rate of false alarms with the margins and without.
    """
    bare = {name: Rule(margin=0.0, tier=rule.tier) for name, rule in test.rules.items()}
    without = replace(test.settings, groups=None)
    configured, none = [], []
    for number in range(splits):
        a, b = sides(test.pool, _cut(test.pool, size, number))
        configured.append(_decisions(a, b, test.rules, test.settings))
        none.append(_decisions(a, b, bare, without))
        after()
    return configured, (_rate("configured", configured), _rate("none", none))


def _cut(pool: Pool, prompts: int, number: int) -> Split:
    return split(pool, prompts, np.random.RandomState([prompts, number]))


def _rate(margins: str, tables: Sequence[Sequence[Decision]]) -> FalseAlarms:
    alarms = sum(any(one.verdict == "REGRESSED" for one in table) for table in tables)
    interval = wilson(alarms, len(tables))
    assert interval.low is not None
    assert interval.high is not None
    rate = alarms / len(tables)
    return FalseAlarms(
        margins, len(tables), alarms, rate, interval.low, interval.high, _shares(tables)
    )


def _shares(tables: Sequence[Sequence[Decision]]) -> dict[str, float]:
    """By metric: the share of tables with a regression."""
    return {
        _name(row[0]): float(np.mean([one.verdict == "REGRESSED" for one in row]))
        for row in zip(*tables, strict=True)
    }


def _planted(test: Test, splits: int) -> Iterator[Found]:
    sizes = [test.pool.most // part for part in (1, *_SMALLER)]
    sizes = [size for size in sizes if size >= 2 * LEAST_GROUPS or size == test.pool.most]
    with progress("planted damage", len(sizes) * splits, "splits") as advance:
        for size in sizes:
            yield from planted(test, size, splits, lambda: advance(1))


def planted(
    test: Test, size: int, splits: int, after: Callable[[], None] = lambda: None
) -> list[Found]:
    """How often each damage of one side is a regression, with `size` prompts on each side."""
    tables: dict[str, list[list[Decision]]] = {damage.name: [] for damage in DAMAGES}
    images = 0
    for number in range(splits):
        cut = _cut(test.pool, size, number)
        images = len(cut.keys)
        for damage in DAMAGES:  # one split at a time: what both sides share is memoized
            a, b = sides(test.pool, cut, damage, seed=number)
            tables[damage.name].append(_decisions(a, b, test.rules, test.settings))
        after()
    return [_found(one, tables[one.name], size, images) for one in DAMAGES]


def _found(damage: Damage, tables: Sequence[list[Decision]], size: int, images: int) -> Found:
    shares = _shares(tables)
    blind = tuple(name for name, share in shares.items() if share <= BLIND)
    found = float(np.mean([_outcome(table) == "regressed" for table in tables]))
    return Found(damage.name, damage.meaning, size, images, len(tables), found, shares, blind)


def _smallest(test: Test, tables: Sequence[Sequence[Decision]]) -> Iterator[Smallest]:
    """From the spread of the differences of the model with itself.

    margin + (t of alpha / m + t of the power) standard errors, m gated metrics (Holm's first step).
    """
    pool, whole = test.pool, test.whole
    count = sum(one.p is not None for one in tables[0])
    sides_images = tables[0][0].images
    scale = math.sqrt(sides_images / max(sides_images, int((pool.rows >= 0).sum())))
    for row in zip(*tables, strict=True):
        one = row[0]
        state = whole.states[one.metric]
        value = state.value if not one.group else one.candidate
        rule = test.settings.groups if one.group else test.rules.get(one.metric)
        if value is None or rule is None or rule.allowed(value) is None:
            continue
        margin = rule.allowed(value) or 0.0
        units = len(whole.prompts)
        degrees = (units if state.values is not None else min(units, GROUPS)) - 1
        reach = float(stats.t.isf(test.settings.alpha / max(1, count), degrees))
        reach += float(stats.t.isf(1 - POWER, degrees))
        error = scale * float(np.std([o.worse for o in row if o.worse is not None], ddof=1))
        change, note = margin + reach * error, ""
        if error == 0 and state.measure.range == (0.0, 1.0):
            change, note = _of_share(margin, reach, units), "as if every prompt had one image"
        elif error == 0:
            change, note = None, "all images have the same value"
        percent = 100 * change / abs(value) if change is not None and value else None
        yield Smallest(
            one.metric, one.encoder, one.group, value, margin, error, change, percent, note
        )


def _of_share(margin: float, reach: float, count: int) -> float | None:
    """The share p, where none was before, with p = margin + reach sqrt(p (1 - p) / count)."""
    square = reach * reach / count  # (p - margin)^2 = square p (1 - p)
    a, b, c = 1 + square, -(2 * margin + square), margin * margin
    found = (-b + math.sqrt(b * b - 4 * a * c)) / (2 * a)
    return found if found < 1 else None


def _problems(alarms: Sequence[FalseAlarms], damages: Sequence[Found], alpha: float) -> list[str]:
    found = []
    configured = alarms[0]
    if configured.low > alpha:
        found.append(
            f"false alarms: {configured.rate:.1%} of {configured.splits} splits, above alpha"
            f" {alpha:g} beyond the interval"
        )
    most = max(one.prompts for one in damages)
    for one in damages:
        if one.prompts == most and one.found < FOUND:
            found.append(
                f"{one.meaning}: found in {one.found:.0%} of the splits, below {FOUND:.0%}"
            )
    return found
