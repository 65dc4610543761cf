"""Which metrics are gated, and by which rules. A missing metric is an error, never a pass."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

from evalkit.config import did_you_mean
from evalkit.core import EvalkitError
from evalkit.gate.config import GateConfig, Rule, check_margins
from evalkit.gate.snapshot import SHARPNESS, Snapshot, State
from evalkit.statistics.margins import RELATIVE, SHARE

log = logging.getLogger(__name__)
SHARPER = 0.2  # of the sharpness: it is no measure of quality, and a blur halves it


def measured_names(settings: GateConfig, names: Sequence[str]) -> list[str] | None:
    """The metrics that a snapshot has to measure; None for all of the run."""
    if names:
        return [name.partition("@")[0] for name in names]
    return [name.partition("@")[0] for name in settings.metrics] or None


def choose_rules(
    settings: GateConfig, names: Sequence[str], a: Snapshot, b: Snapshot
) -> dict[str, Rule]:
    """The rule of each gated metric, by its name in the snapshots.

    names: metrics that are gated alone; [] for those of the configuration, or else for all that
    both models have and that need no margin of their own.
    """
    named = list(names) or list(settings.metrics)
    if named:
        rules = {
            name: _named_rule(settings, name, a, b)
            for given in named
            for name in _matching(given, a, b)
        }
    else:
        rules = {name: usual_rule(name, a.states[name], b.states[name]) for name in _usual(a, b)}
        if all(a.states[name].measure.from_records for name in rules):
            raise EvalkitError(
                f"{a.name} and {b.name} have no metric of images in common from which something may"
                " be concluded.",
                "Score both with the same metrics and with encoders that know the images.",
                code="gate-38",
            )
    return rules


def _usual(a: Snapshot, b: Snapshot) -> list[str]:
    """The metrics that are gated where none is named."""
    if lone := lone_metrics(a, b):
        log.warning("not gated, as only one of the two has them: %s", ", ".join(lone))
    both = [name for name, one in a.states.items() if _by_default(one) and name in b.states]
    seen = [name for name in both if a.states[name].encoder not in a.blind]
    for name in seen:
        if a.states[name].value is None and b.states[name].value is None:
            log.info("not gated: %s: %s", name, a.states[name].note)
    # A value that one of the two lacks stays: it is not decided, and every output says so.
    return [name for name in seen if (a.states[name].value, b.states[name].value) != (None, None)]


def lone_metrics(a: Snapshot, b: Snapshot) -> list[str]:
    """The metrics that would be gated if both had them."""
    every = {**a.states, **b.states}
    lone = (name for name in every if (name in a.states) != (name in b.states))
    return [name for name in lone if _by_default(every[name])]


def usual_rule(name: str, one: State, other: State) -> Rule:
    """A share of something that happened to neither decides the outcome only where it is named.

    Few prompts never exclude a small rise, and a model that never refuses would leave every gate
    undecided.
    """
    rule = _default_rule(name, one)
    if one.measure.from_records and one.values and not any((*one.values, *(other.values or ()))):
        return replace(rule, tier="supporting")
    return rule


def _matching(given: str, a: Snapshot, b: Snapshot) -> list[str]:
    """The measured metrics of a given name; ratings of several questions share one."""
    both = [name for name in a.states if name in b.states]
    matching = [name for name in both if given in (name, name.partition("@")[0])]
    if not matching:
        plain, _, raters = given.partition("@")
        if raters and plain in both:
            raise EvalkitError(
                f"The gated metric {given!r} names raters after the @, but {plain} is not a metric"
                " of raters.",
                f"Write `{plain}`; it is measured with {a.states[plain].encoder or 'no encoder'}.",
                code="gate-39",
            )
        lacks = b if given in a.states else a
        raise EvalkitError(
            f"The gated metric {given!r} is not measured for {lacks.name}.",
            did_you_mean(given, lacks.states),
            code="gate-40",
        )
    return matching


def _named_rule(settings: GateConfig, name: str, a: Snapshot, b: Snapshot) -> Rule:
    """The rule of the table that names the metric; [metrics."win_rate@human:x"] before win_rate."""
    state = a.states[name]
    tables = settings.metrics
    rule = tables.get(name) or tables.get(name.partition("@")[0]) or Rule()
    if rule.is_empty:
        rule = replace(_default_rule(name, state), tier=rule.tier)
    for side in (a, b):
        if side.states[name].value is None:
            why = side.states[name].note.removeprefix("not measured: ")
            raise EvalkitError(
                f"The gated metric {name!r} has no value for {side.name}: {why}.",
                "Measure it, or take it out of the gate.",
                code="gate-41",
            )
    if state.encoder in a.blind:
        raise EvalkitError(
            f"{state.encoder} was not trained on images such as those of {a.name}: nothing may be"
            f" concluded from {name}.",
            "Score both runs with other encoders, or take the metric out of the gate.",
            code="gate-42",
        )
    check_margins(name, rule, state.measure, settings.source)
    return rule


def _by_default(state: State) -> bool:
    """Whether a metric is gated without being named.

    Speed and cost depend on the machine and the day, ratings on other raters; and a share of a
    value that may be around zero (KID) is no margin.
    """
    number = state.measure.from_records and state.values is None
    return not (state.measure.from_ratings or number) and math.isfinite(state.measure.range[0])


def _default_rule(name: str, state: State) -> Rule:
    if not math.isfinite(state.measure.range[0]):
        key = "max_increase" if state.measure.better == "lower" else "max_drop"
        raise EvalkitError(
            f"{name} has no natural zero, so a share of the baseline's value cannot be its margin.",
            f"State its margin in gate.toml: {key} under [metrics.{name}].",
            code="gate-43",
        )
    if state.measure.range == (0.0, 1.0):
        return Rule(margin=SHARE)
    return Rule(relative=SHARPER if name == SHARPNESS.name else RELATIVE)
