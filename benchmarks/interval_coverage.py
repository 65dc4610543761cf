"""How often the intervals of a metric hold what they should: the table in docs/metrics.md.

    python benchmarks/interval_coverage.py NAME [COUNT SAMPLES DIMENSION TRIALS]

Each trial draws COUNT images, SAMPLES of each prompt, as features that are not Gaussian and alike
within a prompt, and asks whether the interval holds the mean of the metric over all trials. Nominal
is 0.95. `width` is the mean width over that of a normal interval with the true spread.
"""

from __future__ import annotations

import inspect
import sys

import numpy as np
import torch
from torch import Tensor

from evalkit.metrics import LEAVE_OUT, METRICS, frechet
from evalkit.statistics import intervals
from evalkit.statistics.intervals import Interval

REFERENCE, MODES = 2000, 300


def features(random: np.random.RandomState, count: int, samples: int, dimension: int) -> Tensor:
    """float64 [count, dimension]: correlated, skewed, and alike where they share a prompt."""
    mixing = (
        np.random.RandomState(1).randn(dimension, dimension) * (1 + np.arange(dimension)) ** -0.7
    )
    noise = random.randn(count, dimension)
    if samples > 1:
        noise = (
            np.repeat(random.randn(count // samples, dimension), samples, axis=0) + noise
        ) / 2**0.5
    return torch.from_numpy(np.maximum(noise @ mixing.T + 0.4, 0.0))


def trial(
    name: str, random: np.random.RandomState, known: dict, count: int, samples: int, dimension: int
) -> tuple[float, Interval]:
    """One set of images: the value of the metric and its interval."""
    metric, clusters = METRICS[name], np.repeat(np.arange(count // samples), samples)
    fake = 0.9 * features(random, count, samples, dimension) + 0.05
    if name == "duplicates":  # a generator that knows so many pictures only
        fake = features(np.random.RandomState(9), MODES, 1, dimension)[
            torch.from_numpy(random.randint(0, MODES, count))
        ]
    inputs = {"fake": fake, **known}
    if "text" in inspect.signature(metric.compute).parameters:
        inputs["text"] = features(random, count // samples, 1, dimension).repeat_interleave(
            samples, dim=0
        )
        inputs["fake"] = fake + 0.35 * inputs["text"] * float(fake.norm() / inputs["text"].norm())
    found = metric.compute(**inputs)
    if found.ndim == 1:
        values = found.numpy()
        rate = bool(((values == 0) | (values == 1)).all())
        return float(found.mean()), intervals.rate(
            values, clusters
        ) if rate else intervals.clustered_bootstrap(values, clusters, draws=500)
    groups = intervals.groups_of_clusters(clusters)
    assert groups is not None
    return float(found), intervals.group_jackknife(
        float(found), LEAVE_OUT[name](**inputs, groups=groups), groups
    )


def main(
    name: str, count: int = 100, samples: int = 1, dimension: int = 16, trials: int = 200
) -> None:
    torch.set_num_threads(1)
    real = features(np.random.RandomState(2), REFERENCE, 1, dimension)
    asked = inspect.signature(METRICS[name].compute).parameters
    known = {
        key: value
        for key, value in {"real": real, "real_moments": frechet.moments(real)}.items()
        if key in asked
    }
    random = np.random.RandomState(4)
    values, found = zip(
        *[trial(name, random, known, count, samples, dimension) for _ in range(trials)], strict=True
    )
    truth, spread = np.mean(values), np.std(values)
    ends = [(low, high) for low, high, _ in found if low is not None and high is not None]
    covered = np.mean([low <= truth <= high for low, high in ends])
    width = np.mean([high - low for low, high in ends]) / (2 * 1.96 * spread)
    print(
        f"{name}, {count} images, {samples} of a prompt, D = {dimension}: {covered:.3f} of {len(ends)} trials, width {width:.2f}"
    )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
