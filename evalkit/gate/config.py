"""gate.toml: what a metric may lose, and what then happens.

baseline = "reports/main:dalle"
alpha = 0.05
on_inconclusive = "pass"       # or "fail": exit code 3

[metrics.fid]
max_relative_increase = 0.03   # of the baseline's value
max_increase = 0.5             # both hold where both are given
tier = "critical"              # or supporting, advisory: only critical ones decide
max = 30                       # a tripwire on the value itself

[groups]                       # metrics with values per image, in each group of prompts
max_drop = 1.0                 # not applied to metrics whose range is not wider, such as shares
tier = "advisory"
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from evalkit.config import did_you_mean
from evalkit.core import Better, EvalkitError, Measure
from evalkit.files import parse_toml, read_utf8
from evalkit.statistics.multiple import ALPHA

Tier = Literal["critical", "supporting", "advisory"]
OnInconclusive = Literal["pass", "fail"]
_KEYS = ("baseline", "alpha", "on_inconclusive", "allow_mismatch", "metrics", "groups")
_MARGINS = ("max_increase", "max_relative_increase", "max_drop", "max_relative_drop")
LEAST_ALPHA = 1e-6  # p-values are exact to 1e-12, and corrected for every gated metric
LARGEST = 1e15
_RULE = (*_MARGINS, "min", "max", "tier")


@dataclass(frozen=True)
class Rule:
    """What one metric may lose against the baseline."""

    margin: float | None = None  # in the unit of the metric
    relative: float | None = None  # as a share of the baseline's value
    least: float | None = None  # the value may not be below this
    most: float | None = None  # or above this
    tier: Tier = "critical"
    direction: Better | None = None  # that the names of the margins imply; None without margins

    @property
    def is_empty(self) -> bool:
        """Whether it limits nothing."""
        return self.margin is self.relative is self.least is self.most is None

    def allowed(self, baseline: float) -> float | None:
        """The margin at this value of the baseline: the smaller one; None for tripwires only."""
        both = [self.margin, None if self.relative is None else self.relative * abs(baseline)]
        return min((one for one in both if one is not None), default=None)


@dataclass(frozen=True)
class GateConfig:
    """The content of gate.toml."""

    baseline: str = ""
    alpha: float = ALPHA  # for the whole table: the probability of any false alarm
    on_inconclusive: OnInconclusive = "pass"
    allow_mismatch: tuple[str, ...] = ()
    metrics: Mapping[str, Rule] = field(default_factory=dict)  # {}: all that both runs have
    groups: Rule | None = None
    source: str = ""  # the file, for errors


def read_config(path: Path | str) -> GateConfig:
    """The configuration in a file. Raises EvalkitError that names the key which is wrong."""
    source = str(path)
    try:
        values = parse_toml(read_utf8(Path(path)))
    except OSError as error:
        raise EvalkitError(
            f"{source} cannot be read: {error.strerror}.", "Check the path.", code="gate-25"
        ) from error
    except (ValueError, RecursionError) as error:
        raise EvalkitError(
            f"{source} is not TOML: {error}.", "Correct this line.", code="gate-26"
        ) from error
    _known(values, _KEYS, source)
    alpha = values.get("alpha", ALPHA)
    check_alpha(alpha, source)
    after = values.get("on_inconclusive", "pass")
    _require(after in get_args(OnInconclusive), source, "on_inconclusive", after, "pass or fail")
    baseline = values.get("baseline", "")
    _require(isinstance(baseline, str), source, "baseline", baseline, "a text")
    allowed = values.get("allow_mismatch", [])
    texts = isinstance(allowed, list) and all(isinstance(one, str) for one in allowed)
    _require(texts, source, "allow_mismatch", allowed, "a list of texts")
    tables = values.get("metrics", {})
    _require(isinstance(tables, dict), source, "metrics", tables, "tables such as [metrics.fid]")
    groups = values.get("groups")
    if groups is not None and _rule(groups, f"{source}, groups").is_empty:
        raise EvalkitError(
            f"{source}, groups has no margin.", "Give it one, such as max_drop = 1.", code="gate-27"
        )
    if baseline and not baseline.startswith("git:"):  # relative to the file, as in a run's
        baseline = str(Path(path).parent / Path(baseline).expanduser())
    return GateConfig(
        baseline,
        float(alpha),
        after,
        tuple(allowed),
        {name: _rule(table, f"{source}, metrics.{name}") for name, table in tables.items()},
        None if groups is None else _rule(groups, f"{source}, groups"),
        source,
    )


def _rule(table: Any, place: str) -> Rule:
    _require(isinstance(table, dict), place, "the entry", table, "a table")
    _known(table, _RULE, place)
    for key in (*_MARGINS, "min", "max"):
        if key in table:
            _require(_is_number(table[key]), place, key, table[key], f"a number up to {LARGEST:g}")
    for key in _MARGINS:
        if key in table:
            _require(table[key] >= 0, place, key, table[key], "a number of at least 0")
    tier = table.get("tier", "critical")
    _require(tier in get_args(Tier), place, "tier", tier, "critical, supporting or advisory")
    if table.get("min", -math.inf) > table.get("max", math.inf):
        raise EvalkitError(f"{place} has a min above its max.", "Exchange them.", code="gate-28")
    rising = [key for key in _MARGINS[:2] if key in table]
    falling = [key for key in _MARGINS[2:] if key in table]
    if rising and falling:
        raise EvalkitError(
            f"{place} has {rising[0]} and {falling[0]}; a metric gets worse in one direction only.",
            "Keep the one for the worse direction.",
            code="gate-29",
        )
    kind = "increase" if rising else "drop"
    return Rule(
        table.get(f"max_{kind}"),
        table.get(f"max_relative_{kind}"),
        table.get("min"),
        table.get("max"),
        tier,
        "lower" if rising else "higher" if falling else None,
    )


def is_too_wide(rule: Rule, measure: Measure) -> bool:
    """Whether a margin allows every change that is possible."""
    low, high = measure.range
    whole = rule.margin is not None and rule.margin >= high - low
    falls = rule.relative is not None and rule.relative >= 1 and measure.better == "higher"
    return whole or (falls and low >= 0)


def check_margins(name: str, rule: Rule, measure: Measure, source: str) -> None:
    """Raise EvalkitError for a margin that would allow any regression.

    It is of the wrong sign, or as wide as the range of the metric.
    """
    better = measure.better
    if rule.direction is not None and rule.direction != better:
        wrong, right = ("increase", "drop") if rule.direction == "lower" else ("drop", "increase")
        raise EvalkitError(
            f"{source or 'The gate'} limits the {wrong} of {name}, and {better} values of it are"
            f" better: a regression is a{'n' if right == 'increase' else ''} {right}.",
            f"Write max_{right} or max_relative_{right}.",
            code="gate-30",
        )
    if is_too_wide(rule, measure):
        low, high = measure.range
        values = f"values from {low:g}" + (f" to {high:g}" if math.isfinite(high) else "")
        raise EvalkitError(
            f"The margin that {source or 'the gate'} gives {name} allows every change: the metric"
            f" has {values}.",
            "Give it a smaller one, or `min` or `max` alone.",
            code="gate-31",
        )


def _known(table: Mapping[str, Any], keys: tuple[str, ...], place: str) -> None:
    for key in table:
        if key not in keys:
            raise EvalkitError(
                f"{place} has the unknown key {key!r}.", did_you_mean(key, keys), code="gate-32"
            )


def check_alpha(alpha: object, source: str = "") -> None:
    """Raise EvalkitError for a value that is no probability, or one that no p-value reaches."""
    _require(
        _is_number(alpha) and LEAST_ALPHA <= alpha < 0.5,  # pyright: ignore
        source,
        "alpha",
        alpha,
        f"a number of at least {LEAST_ALPHA:g}, below 0.5",
    )


def _is_number(value: object) -> bool:
    """Whether it is a number that can be computed with: a larger one may have no finite product."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -LARGEST <= value <= LARGEST
    )


def _require(good: bool, place: str, key: str, found: object, expected: str) -> None:
    if not good:
        where = f"{place}: " if place else ""
        raise EvalkitError(f"{where}{key} is {found!r:.80}; expected {expected}.", code="gate-33")
