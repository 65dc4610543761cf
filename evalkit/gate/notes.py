"""What limits a comparison beside its conditions, in sentences that every output has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from evalkit.gate.config import GateConfig, Rule, is_too_wide
from evalkit.gate.rules import lone_metrics
from evalkit.gate.snapshot import MISSING, Snapshot

WIDE = 0.25  # of what a value is above that of as many real images: a larger margin is mentioned


def notes_of(
    a: Snapshot, b: Snapshot, rules: Mapping[str, Rule], settings: GateConfig, *, all_metrics: bool
) -> list[str]:
    """The sentences; all_metrics: whether no metric was named, so that all of both are gated."""
    notes = []
    if a.images and set(a.images) == set(b.images):
        notes.append("All images of the two are the same, byte for byte.")
    if all_metrics and (lone := lone_metrics(a, b)):
        notes.append(f"Not gated, as only one of the two has them: {', '.join(lone)}.")
    for side in (a, b) if a.name != b.name else (a,):
        lost = side.states[MISSING.name].values if MISSING.name in side.states else None
        if lost and any(lost):
            notes.append(
                f"{int(sum(lost)):,} of {len(lost):,} requested images of {side.name} are missing:"
                " neither usable nor refused."
            )
        for name in rules:
            if name in side.states and (said := side.states[name].unanswered):
                notes.append(f"{name}: of {side.name}, {said}: they are in no comparison of it.")
    return [*notes, *_wide_margins(a, b, rules), *_of_groups(a, rules, settings)]


def _wide_margins(a: Snapshot, b: Snapshot, rules: Mapping[str, Rule]) -> Iterable[str]:
    """Margins that are a share of a value which is mostly due to the number of images."""
    for name, rule in rules.items():
        value, floor = b.states[name].value, a.states[name].of_real
        margin = rule.allowed(value) if value is not None and rule.margin is None else None
        if value is None or floor is None or not margin or margin <= WIDE * (value - floor):
            continue
        rest = max(value - floor, 0.0)
        yield (
            f"{name}: as many real images have {floor:.4g} of the baseline's {value:.4g}, so the"
            f" margin of {margin:.4g} is large beside the rest, {rest:.4g}: a clear change may"
            " pass. More images make this part smaller; gate.toml may state a margin of its own."
        )


def _of_groups(a: Snapshot, rules: Mapping[str, Rule], settings: GateConfig) -> Iterable[str]:
    if settings.groups is None:
        return
    measures = [a.states[name].measure for name in rules if a.states[name].values]
    names = [
        one.name
        for one in measures
        if settings.groups.direction in (None, one.better) and is_too_wide(settings.groups, one)
    ]
    if names:
        yield (
            f"The margin of [groups] is not applied to {', '.join(names)}: it allows every change"
            " of them."
        )
