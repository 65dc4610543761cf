"""The decision on one metric: is it worse than the baseline by more than the margin?

A non-inferiority test on the paired difference. The difference is turned so that worse is positive:

- REGRESSED: it is significantly above the margin, at the level corrected for all gated metrics.
- PASS: it is significantly below the margin (one-sided, at alpha). IMPROVED: below zero as well.
- INCONCLUSIVE: neither; the number of images that would decide is estimated.

A share that few prompts changed has at least the exact interval, see `events`.

Numbers without an interval (speed, cost) follow a point rule, and say so. A tripwire is a limit on
the value itself: a model that has always been beyond it is found, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from evalkit.core import Better
from evalkit.gate.config import Rule, Tier
from evalkit.gate.events import Events, few_events
from evalkit.gate.skewness import Skewed, skewed
from evalkit.gate.snapshot import SHARPNESS, Key, Snapshot, State
from evalkit.statistics import intervals, paired
from evalkit.statistics.multiple import holm
from evalkit.statistics.paired import Difference

MOST_IMAGES = 1_000_000  # a larger estimate says that the difference is as large as the margin
Verdict = Literal["PASS", "IMPROVED", "REGRESSED", "INCONCLUSIVE"]
Basis = Literal["paired", "point", "interval", "tripwire"]


@dataclass(frozen=True)
class Decision:
    """One row of gate.json."""

    metric: str
    encoder: str
    reference: str
    group: str  # of prompts; "" for all
    better: Better
    tier: Tier
    candidate: float | None
    baseline: float | None
    worse: float | None  # the difference, positive where the candidate is worse
    low: float | None  # its interval at the level of the decision: 1 - 2 alpha
    high: float | None
    margin: float | None
    p: float | None  # one-sided: worse than the margin; not corrected
    p_adjusted: float | None  # corrected for all gated metrics (Holm)
    verdict: Verdict
    basis: Basis
    images: int
    prompts: int
    more_images: int | None  # that would decide; None where nothing more is needed, or not known
    reason: str


class Compared(NamedTuple):
    """A metric of both models on the same images."""

    difference: Difference
    candidate: float
    baseline: float
    images: int
    prompts: int
    changes: dict[Key, float]  # candidate - baseline for each image; {} for a property of the set
    skewed: Skewed | None = None  # the mean change with its skewness; None for other values

    def worse(self, level: float, sign: float) -> tuple[float, float]:
        """The interval of the worsening at level 1 - level; sign: 1 where lower is better."""
        low, high = self.difference.interval(level)
        assert low is not None
        assert high is not None
        if self.skewed is not None:
            ends = self.skewed.interval(level)
            low, high = min(low, ends[0]), max(high, ends[1])
        return (low, high) if sign > 0 else (-high + 0.0, -low + 0.0)


def compared(a: Snapshot, b: Snapshot, name: str, group: str | None = None) -> Compared | str:
    """The paired difference a - b of a metric on the images that both have, or why there is none.

    group: only the images of this group of prompts.
    """
    one, other = a.states[name], b.states[name]
    if one.values is not None and other.values is not None:
        theirs = dict(zip(other.keys, other.values, strict=True))
        ours = dict(zip(one.keys, one.values, strict=True))
        keys = [key for key in one.keys if key in theirs and group in (None, a.groups[key[0]])]
        if not keys:
            return "no image in common"
        first, second = (np.array([side[key] for key in keys]) for side in (ours, theirs))
        clusters = _clusters(a, keys)
        found = paired.paired_means(first, second, clusters)
        changes = dict(zip(keys, (first - second).tolist(), strict=True))
        values = float(first.mean()), float(second.mean())
        skew = skewed(first - second, clusters)
        return Compared(found, *values, len(keys), len(set(clusters)), changes, skew)
    if one.left_out is None or other.left_out is None:
        missing = one if one.left_out is None else other
        return missing.note or "no interval"
    if one.keys != other.keys:
        return "the images differ, and the baseline file cannot be measured on a part of them"
    clusters = _clusters(a, one.keys)
    if not np.array_equal(clusters, _clusters(b, one.keys)):
        return "the two have other prompts of equal text, and so other groups of prompts"
    groups = intervals.groups_of_clusters(clusters)
    if groups is None or one.value is None or other.value is None:
        return "too few prompts"
    import torch

    def numbers(found: Sequence[float] | None) -> torch.Tensor | None:
        return None if found is None else torch.tensor(found, dtype=torch.float64)

    first, second = (torch.tensor(side.left_out, dtype=torch.float64) for side in (one, other))
    pairs = numbers(one.left_out_pairs), numbers(other.left_out_pairs)
    found = paired.paired_sets(one.value, other.value, first, second, groups, pairs)
    return Compared(found, one.value, other.value, len(one.keys), len(set(clusters)), {})


def _clusters(snapshot: Snapshot, keys: Sequence[Key]) -> np.ndarray:
    return intervals.cluster_numbers([snapshot.prompts[prompt] for prompt, _ in keys])


def decide(
    a: Snapshot, b: Snapshot, name: str, rule: Rule, alpha: float, group: str | None = None
) -> Decision:
    """The decision on one metric, before the correction for the others (see `correct`).

    a is the candidate, b the baseline.
    """
    one, other = a.states[name], b.states[name]
    better = one.measure.better
    made = Decision(
        name.partition("@")[0], one.encoder, one.reference, group or "", better, rule.tier,
        one.value, other.value, None, None, None, None, None, None, "INCONCLUSIVE", "paired",
        len(one.keys), len({prompt for prompt, _ in one.keys}), None, "",
    )  # fmt: skip
    found = compared(a, b, name, group)
    if isinstance(found, str):
        if one.values is not None and other.values is not None:
            return _without_images(made, rule, found)
        return _without_pairs(made, one, other, rule, alpha, found)
    difference, sign = found.difference, 1.0 if better == "lower" else -1.0
    made = replace(
        made, candidate=found.candidate, baseline=found.baseline, images=found.images,
        prompts=found.prompts, worse=sign * difference.value + 0.0,  # no -0
        margin=rule.allowed(found.baseline),
    )  # fmt: skip
    if made.margin is None:
        return _tripwire(replace(made, verdict="PASS", reason="no margin"), rule)
    if found.prompts < intervals.LEAST_GROUPS:  # also where all values are equal
        few = f"fewer than {intervals.LEAST_GROUPS} prompts"
        return _tripwire(replace(made, reason=few), rule)
    if difference.p is None:
        made = replace(made, reason=difference.method)
        span = one.measure.range[1] - one.measure.range[0]
        if found.changes and math.isfinite(span):
            made = _all_changed(made, span, alpha)
        return _tripwire(made, rule)
    events = None
    if not _same_images(a, b, found.changes):  # else it is certain that nothing changed
        events = few_events(one, other, found.changes, sign)
    if events is None:
        made = _by_interval(made, lambda level: found.worse(level, sign), alpha)
        return _tripwire(made, rule)
    return _tripwire(_by_events(made, found, sign, events, alpha), rule)


def _same_images(a: Snapshot, b: Snapshot, keys: Collection[Key]) -> bool:
    """Whether both models made the same image, byte for byte, for each key."""
    both = {(prompt, sample) for prompt, sample, _ in set(a.images) & set(b.images)}
    return set(keys) <= both


def _by_events(
    made: Decision, found: Compared, sign: float, events: Events, alpha: float
) -> Decision:
    """The verdict on a share that few prompts changed: the interval is at least the exact one."""
    margin = made.margin
    assert margin is not None

    def interval(level: float) -> tuple[float, float]:
        low, high = found.worse(level, sign)
        return low, high if events.is_better(level / 2) else max(high, events.high(level))

    made = _by_interval(made, interval, alpha)
    assert made.p is not None
    made = replace(made, p=max(made.p, events.p(margin)))
    if made.verdict != "INCONCLUSIVE" or events.worse or events.better:
        return made
    more = events.more_prompts(margin, alpha)
    images = None if more is None else math.ceil(more * made.images / made.prompts)
    reason = f"no prompt changed: a rise by up to {made.high:.2g} cannot be excluded"
    if images is not None:
        reason += f"; {images:,} more images without a change would decide"
    return replace(made, more_images=images, reason=reason)


def _all_changed(made: Decision, span: float, alpha: float) -> Decision:
    """A change by the same value for every prompt: the bootstrap knows no spread.

    span: of the possible values; a prompt changes by at most this. If its mean change is at most m,
    it changes by w > m with a probability of at most (span + m) / (span + w), by Markov's
    inequality. So the p-value is the largest under the hypothesis.
    """
    assert made.margin is not None
    assert made.worse is not None
    worse, margin = made.worse, min(made.margin, span)

    def p(mean: float) -> float:
        """At most, where the mean change is on the other side of `mean` than `worse`."""
        sign = 1.0 if worse > mean else -1.0
        return float(((span + sign * mean) / (span + sign * worse)) ** made.prompts)

    if worse > margin:
        return replace(made, p=p(margin))
    if worse < 0 and p(0.0) <= alpha:
        return replace(made, p=1.0, verdict=_better(made), reason="")
    if worse < margin and p(margin) <= alpha:
        return replace(made, p=1.0, verdict="PASS", reason="")
    return made


def _by_interval(
    made: Decision, interval: Callable[[float], tuple[float, float]], alpha: float
) -> Decision:
    """The verdict from the interval of the worsening; interval(level of both tails together)."""
    worse, margin = made.worse, made.margin
    assert worse is not None
    assert margin is not None
    low, high = interval(2 * alpha)
    made = replace(made, low=low, high=high, p=_p_above(interval, margin))
    if high < 0:
        return replace(made, verdict=_better(made))
    if high < margin or (margin == 0 and low == high == 0):
        return replace(made, verdict="PASS")
    if low > margin:  # a regression, unless a further test or the correction leaves it open
        reason = "above the margin, but its corrected p-value is not significant"
        return replace(made, reason=reason)
    more = _more(made, high - worse if worse < margin else worse - low, alpha)
    return replace(made, more_images=more, reason=_undecided(more))


def _better(made: Decision) -> Verdict:
    """The verdict on a value that is significantly better: noise is sharp, and no improvement."""
    return "PASS" if made.metric == SHARPNESS.name else "IMPROVED"


def _p_above(interval: Callable[[float], tuple[float, float]], margin: float) -> float:
    """The one-sided level at which the lower end of the interval just reaches the margin."""
    low, high = 1e-12, 0.5
    if interval(2 * low)[0] > margin:
        return low
    if interval(1.0)[0] <= margin:
        return 1.0
    for _ in range(50):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if interval(2 * middle)[0] > margin else (middle, high)
    return high


def _more(made: Decision, half: float, alpha: float) -> int | None:
    """Further images with which such a difference is decided with a probability of `paired.POWER`.

    Just as many as move the end of the interval to the margin would decide in every second
    repetition only.

    half: from the difference to that end of its interval which is beyond the margin.
    """
    assert made.margin is not None
    assert made.worse is not None
    distance = abs(made.margin - made.worse)
    half *= 1 + float(stats.norm.ppf(paired.POWER) / stats.norm.isf(alpha))
    ratio = half / distance if distance else math.inf
    more = made.images * ratio * ratio - made.images
    return math.floor(more) + 1 if more < MOST_IMAGES else None


def _undecided(more: int | None) -> str:
    if more is None:
        return "the difference is as large as the margin: more images will hardly decide"
    return (
        f"the interval includes the margin: about {more:,} more images would decide in 4 of 5 cases"
    )


def _without_images(made: Decision, rule: Rule, reason: str) -> Decision:
    """No image in common: the values are of other images. A tripwire is about the whole run."""
    tripped = made if made.group else _tripwire(made, rule)
    if tripped.basis == "tripwire":
        return tripped
    return replace(made, candidate=None, baseline=None, images=0, prompts=0, reason=reason)


def _without_pairs(
    made: Decision, one: State, other: State, rule: Rule, alpha: float, reason: str
) -> Decision:
    """Numbers without pairs: by their intervals if both have one, else by the values alone."""
    if one.value is None or other.value is None:
        why = one.note if one.value is None else f"baseline: {other.note}"
        return replace(made, reason=why.removeprefix("not measured: "))
    sign = 1.0 if made.better == "lower" else -1.0
    worse, margin = sign * (one.value - other.value) + 0.0, rule.allowed(other.value)
    made = replace(made, worse=worse, margin=margin)
    if margin is None:
        return _tripwire(replace(made, verdict="PASS", basis="point", reason="no margin"), rule)
    if one.measure.from_ratings and None not in (one.low, one.high, other.low, other.high):
        # Other raters, other pairs: the errors of two studies are independent.
        halves = [(side.high - side.low) / 2 for side in (one, other)]  # pyright: ignore
        error = math.hypot(*halves) / float(stats.norm.ppf(0.975))

        def interval(level: float) -> tuple[float, float]:
            half = float(stats.norm.isf(level / 2)) * error
            return worse - half, worse + half

        made = replace(_by_interval(made, interval, alpha), basis="interval", more_images=None)
        if made.verdict == "INCONCLUSIVE":  # for want of answers, not of images
            made = replace(made, reason="the interval includes the margin: more answers may decide")
        return _tripwire(made, rule)
    if one.measure.from_records:
        verdict: Verdict = "PASS" if worse <= margin else "REGRESSED"
        said = "no interval: decided by the values alone, not aware of noise"
        return _tripwire(replace(made, basis="point", verdict=verdict, reason=said), rule)
    return _tripwire(replace(made, reason=reason), rule)


def _tripwire(made: Decision, rule: Rule) -> Decision:
    value = made.candidate
    if value is None:
        return made
    for limit, beyond, word in (
        (rule.least, rule.least is not None and value < rule.least, "below the limit"),
        (rule.most, rule.most is not None and value > rule.most, "above the limit"),
    ):
        if beyond:
            said = f"{value:.6g} is {word} of {limit:g}"
            return replace(made, verdict="REGRESSED", basis="tripwire", reason=said)
    return made


def correct(decisions: Sequence[Decision], alpha: float) -> list[Decision]:
    """The decisions with p-values corrected for all of them: only these make a regression."""
    adjusted = holm([one.p for one in decisions])
    made = []
    for one, corrected in zip(decisions, adjusted, strict=True):
        if corrected is not None:
            one = replace(one, p_adjusted=corrected.p)
            if corrected.p <= alpha and one.basis in ("paired", "interval"):
                said = "worse than the margin allows"
                one = replace(one, verdict="REGRESSED", more_images=None, reason=said)
        made.append(one)
    return made
