"""The coverage of a metric's intervals, for the table in docs/concepts/intervals.md.

    python benchmarks/interval_coverage.py NAME [COUNT SAMPLES DIMENSION TRIALS]

Each trial draws the features of COUNT images, SAMPLES per prompt; they are not Gaussian and are
correlated within a prompt. Coverage is the share of trials whose interval contains the mean of the
metric over all trials; nominal is 0.95. `width` is the mean width, relative to a normal interval
with the true standard deviation.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

from evalkit import plugins
from evalkit.metrics import frechet
from evalkit.statistics import intervals
from evalkit.statistics.intervals import Interval

REFERENCE, MODES = 2000, 300


def mixing_matrix(dimension: int) -> np.ndarray:
    """float64 [dimension, dimension]: a steep spectrum, the same in every trial."""
    matrix = np.random.RandomState(1).randn(dimension, dimension)
    return (matrix * (1 + np.arange(dimension)) ** -0.7).T


def features(random: np.random.RandomState, count: int, samples: int, dimension: int) -> Tensor:
    """float64 [count, dimension]: correlated, skewed, and similar within a prompt."""
    noise = random.randn(count, dimension)
    if samples > 1:
        shared = np.repeat(random.randn(count // samples, dimension), samples, axis=0)
        noise = (shared + noise) / 2**0.5
    return torch.from_numpy(np.maximum(noise @ mixing_matrix(dimension) + 0.4, 0.0))


def trial(
    name: str, random: np.random.RandomState, known: dict, count: int, samples: int, dimension: int
) -> tuple[float, Interval]:
    """One set of images: the value of the metric and its interval."""
    metric, clusters = plugins.metric(name), np.repeat(np.arange(count // samples), samples)
    fake = 0.9 * features(random, count, samples, dimension) + 0.05
    if name == "duplicates":  # a generator with MODES different images
        modes = features(np.random.RandomState(9), MODES, 1, dimension)
        fake = modes[torch.from_numpy(random.randint(0, MODES, count))]
    inputs = {"fake": fake, **known}
    if "text" in metric.needs:
        text = features(random, count // samples, 1, dimension).repeat_interleave(samples, dim=0)
        inputs["text"] = text
        inputs["fake"] = fake + 0.35 * text * float(fake.norm() / text.norm())
    found = metric.compute(**inputs)
    if found.ndim == 1:
        values = found.numpy()
        if ((values == 0) | (values == 1)).all():
            return float(found.mean()), intervals.rate(values, clusters)
        return float(found.mean()), intervals.clustered_bootstrap(values, clusters, draws=500)
    groups = intervals.groups_of_clusters(clusters)
    assert groups is not None
    assert metric.leave_out is not None
    left_out = metric.leave_out(**inputs, groups=groups)
    return float(found), intervals.group_jackknife(float(found), left_out, groups)


def main(
    name: str, count: int = 100, samples: int = 1, dimension: int = 16, trials: int = 200
) -> None:
    torch.set_num_threads(1)
    real = features(np.random.RandomState(2), REFERENCE, 1, dimension)
    references = {"real": real, "real_moments": frechet.moments(real)}
    needs = plugins.metric(name).needs
    known = {key: value for key, value in references.items() if key in needs}
    random = np.random.RandomState(4)
    values, found = zip(
        *[trial(name, random, known, count, samples, dimension) for _ in range(trials)], strict=True
    )
    truth, deviation = np.mean(values), np.std(values)
    ends = [(low, high) for low, high, _ in found if low is not None and high is not None]
    covered = np.mean([low <= truth <= high for low, high in ends])
    width = np.mean([high - low for low, high in ends]) / (2 * 1.96 * deviation)
    print(
        f"{name}, {count} images, {samples} per prompt, D = {dimension}: "
        f"{covered:.3f} of {len(ends)} trials, width {width:.2f}"
    )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
