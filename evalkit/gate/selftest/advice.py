"""What to do about a selftest that does not pass, one sentence for each reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalkit.gate.config import Tier
from evalkit.gate.selftest.decide import FalseAlarms, Found
from evalkit.report.numbers import estimate, listing


def on_damage(one: Found, tiers: Mapping[str, Tier], enough: float) -> str:
    """How to find a damage: a metric that sees it has to decide, or more prompts are needed.

    tiers: by name of the metric; enough: the share of splits in which a damage has to be found.
    """
    name = one.damage.replace("_", " ")
    seen = [metric for metric, share in one.metrics.items() if share >= enough]
    critical = {metric for metric in one.metrics if tiers.get(metric, "critical") == "critical"}
    if shown := [metric for metric in seen if metric not in critical]:
        verb = "sees it and does" if len(shown) == 1 else "see it and do"
        return f'{name}: {listing(shown)} {verb} not decide: set tier = "critical".'
    later = {metric: count for metric, count in one.needed.items() if metric in critical}
    if later:
        metric = min(later, key=lambda metric: later[metric])
        return (
            f"{name}: use more prompts: {metric} needs {estimate(later[metric])} or more on each"
            f" side of a split, and there are {one.prompts:,}."
        )
    return f"{name}: gate a metric that sees it, as critical."


def on_false_alarms(one: FalseAlarms) -> str:
    """What to do about too many false alarms."""
    worst = max(one.metrics, key=lambda metric: one.metrics[metric])
    return f"false alarms: raise the margins; {worst} has most of them."


def of_limits(names: Sequence[str]) -> dict[str, str]:
    """The limits on values (min, max) that a selftest does not test, by name, and why."""
    return {
        f"{name}: min, max": "limits on the value itself have no noise to test" for name in names
    }
