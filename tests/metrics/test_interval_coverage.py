"""Coverage of the intervals of the newer metrics, by the same small seeded simulation as in
tests/statistics/test_intervals.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from correlated_features import CLUSTER, MOMENTS, REAL, features
from installed_metrics import METRICS

from evalkit.statistics import intervals


@pytest.mark.parametrize("name", ["fid_infinity", "cmmd", "mind", "coverage", "vendi"])
def test_jackknife_intervals_of_sets_cover(name: str):
    """Nominally in 95 of 100 cases; and not by being wide."""
    clusters = np.repeat(np.arange(50), CLUSTER)
    groups = intervals.groups_of_clusters(clusters)
    assert groups is not None
    inputs = {"fid_infinity": {"real_moments": MOMENTS}, "vendi": {}}.get(name, {"real": REAL})
    random = np.random.RandomState(4)
    sets = [0.9 * features(random, 100) + 0.05 for _ in range(80)]
    values = np.array([float(METRICS[name].compute(fake=x, **inputs)) for x in sets])
    left_out = (METRICS[name].leave_out(fake=x, groups=groups, **inputs) for x in sets)
    found = [
        intervals.group_jackknife(value, others, groups)
        for value, others in zip(values, left_out, strict=True)
    ]
    ends = np.array([(low, high) for low, high, _ in found if low is not None])
    assert len(ends) > 75
    assert np.mean((ends[:, 0] <= values.mean()) & (values.mean() <= ends[:, 1])) >= 0.87
    assert (ends[:, 1] - ends[:, 0]).mean() < 2.0 * (2 * 1.96 * values.std())


@pytest.mark.parametrize(
    "name", ["density", "memorization", "retrieval_precision", "clip_score_paper"]
)
def test_intervals_of_values_of_images_cover(name: str):
    clusters = np.repeat(np.arange(50), CLUSTER)
    random = np.random.RandomState(5)
    values, found = [], []
    for _ in range(100):
        fake, prompts = (
            0.9 * features(random, 100) + 0.05,
            features(random, 50).repeat_interleave(CLUSTER, dim=0),
        )
        inputs = {"real": REAL} if name in ("density", "memorization") else {"text": prompts}
        images = (
            METRICS[name]
            .compute(fake=fake + (0.3 * prompts if "text" in inputs else 0.0), **inputs)
            .numpy()
        )
        hits = name in ("memorization", "retrieval_precision")
        found.append(
            intervals.rate(images, clusters)
            if hits
            else intervals.clustered_bootstrap(images, clusters, draws=300)
        )
        values.append(images.mean())
    truth = np.mean(values)
    assert np.mean([(low or 0) <= truth <= (high or 0) for low, high, _ in found]) >= 0.88


def test_the_interval_of_duplicates_takes_images_for_independent_and_is_too_narrow_for_copies():
    """Why docs/metrics.md says so: copies come in pairs, and the interval counts both."""
    random, modes, clusters = (
        np.random.RandomState(6),
        torch.randn(300, 16, generator=torch.Generator().manual_seed(0)),
        np.arange(100),
    )
    values, found = [], []
    for _ in range(200):
        images = (
            METRICS["duplicates"]
            .compute(fake=modes[torch.from_numpy(random.randint(0, 300, 100))])
            .numpy()
        )
        values.append(images.mean())
        found.append(intervals.rate(images, clusters))
    covered = np.mean([(low or 0) <= np.mean(values) <= (high or 0) for low, high, _ in found])
    assert 0.75 < covered < 0.95
