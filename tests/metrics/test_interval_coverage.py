"""Coverage of the intervals of further metrics, by seeded simulation.

FID, KID, inception score and recall are tested in tests/statistics/test_intervals.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from correlated_features import CLUSTER, MOMENTS, REAL, features
from installed_metrics import METRICS

from evalkit.statistics import intervals


@pytest.mark.parametrize("name", ["fid_infinity", "cmmd", "mind", "coverage", "vendi"])
def test_jackknife_intervals_cover(name: str):
    """The nominal coverage is 95%; the width is at most twice the expected one."""
    clusters = np.repeat(np.arange(50), CLUSTER)
    groups = intervals.groups_of_clusters(clusters)
    assert groups is not None
    inputs = {"fid_infinity": {"real_moments": MOMENTS}, "vendi": {}}.get(name, {"real": REAL})
    random = np.random.RandomState(4)
    sets = [0.9 * features(random, 100) + 0.05 for _ in range(80)]
    values = np.array([float(METRICS[name].compute(fake=x, **inputs)) for x in sets])
    found = []
    for value, x in zip(values, sets, strict=True):
        left_out = METRICS[name].leave_out(fake=x, groups=groups, **inputs)
        found.append(intervals.group_jackknife(value, left_out, groups))
    ends = np.array([(low, high) for low, high, _ in found if low is not None])
    assert len(ends) > 75
    assert np.mean((ends[:, 0] <= values.mean()) & (values.mean() <= ends[:, 1])) >= 0.87
    assert (ends[:, 1] - ends[:, 0]).mean() < 2.0 * (2 * 1.96 * values.std())


@pytest.mark.parametrize(
    "name", ["density", "memorization", "retrieval_precision", "clip_score_paper"]
)
def test_intervals_of_per_image_values_cover(name: str):
    clusters = np.repeat(np.arange(50), CLUSTER)
    random = np.random.RandomState(5)
    values, found = [], []
    for _ in range(100):
        fake = 0.9 * features(random, 100) + 0.05
        prompts = features(random, 50).repeat_interleave(CLUSTER, dim=0)
        inputs = {"real": REAL}
        if name in ("retrieval_precision", "clip_score_paper"):
            inputs, fake = {"text": prompts}, fake + 0.3 * prompts
        images = METRICS[name].compute(fake=fake, **inputs).numpy()
        if name in ("memorization", "retrieval_precision"):
            found.append(intervals.rate(images, clusters))
        else:
            found.append(intervals.clustered_bootstrap(images, clusters, draws=300))
        values.append(images.mean())
    truth = np.mean(values)
    assert np.mean([(low or 0) <= truth <= (high or 0) for low, high, _ in found]) >= 0.88


def test_the_interval_of_duplicates_is_too_narrow():
    """It treats images as independent, but copies come in pairs: docs/concepts/intervals.md."""
    random, clusters = np.random.RandomState(6), np.arange(100)
    modes = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
    values, found = [], []
    for _ in range(200):
        fake = modes[torch.from_numpy(random.randint(0, 300, 100))]
        images = METRICS["duplicates"].compute(fake=fake).numpy()
        values.append(images.mean())
        found.append(intervals.rate(images, clusters))
    covered = np.mean([(low or 0) <= np.mean(values) <= (high or 0) for low, high, _ in found])
    assert 0.75 < covered < 0.95
