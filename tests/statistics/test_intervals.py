"""Intervals: known values, and the coverage of every method by seeded simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from correlated_features import CLUSTER, DIMENSION, MOMENTS, REAL, features
from scipy import stats
from torch import Tensor

from evalkit.metrics import frechet, inception_score, kernel, manifold
from evalkit.statistics import intervals

CLASSES = torch.from_numpy(np.random.RandomState(3).randn(DIMENSION, 8))

Value = Callable[[Tensor], Tensor]
LeftOut = Callable[[Tensor, Tensor], Tensor]
SET_METRICS: dict[str, tuple[Value, LeftOut]] = {
    "fid": (
        lambda x: frechet.fid(fake=x, real_moments=MOMENTS),
        lambda x, g: frechet.fid_without(fake=x, real_moments=MOMENTS, groups=g),
    ),
    "kid": (
        lambda x: kernel.kid_of_all(fake=x, real=REAL),
        lambda x, g: kernel.kid_without(fake=x, real=REAL, groups=g),
    ),
    "inception_score": (
        lambda x: inception_score.inception_score(fake=x @ CLASSES),
        lambda x, g: inception_score.inception_score_without(fake=x @ CLASSES, groups=g),
    ),
    "recall": (
        lambda x: manifold.recall(fake=x, real=REAL),
        lambda x, g: manifold.recall_without(fake=x, real=REAL, groups=g),
    ),
}


@pytest.mark.parametrize("count", [60, 200])
@pytest.mark.parametrize("name", SET_METRICS)
def test_jackknife_intervals_cover(name: str, count: int):
    """They contain the mean over all sets of this count in 95% of cases; here, at least 88%."""
    value, left_out = SET_METRICS[name]
    clusters = np.repeat(np.arange(count // CLUSTER), CLUSTER)
    groups = intervals.groups_of_clusters(clusters)
    assert groups is not None
    random = np.random.RandomState(4)
    sets = [0.9 * features(random, count) + 0.05 for _ in range(100)]
    values = np.array([float(value(x)) for x in sets])
    found = [
        intervals.group_jackknife(v, left_out(x, groups), groups)
        for v, x in zip(values, sets, strict=True)
    ]
    ends = np.array([(low, high) for low, high, _ in found if low is not None])
    assert np.mean((ends[:, 0] <= values.mean()) & (values.mean() <= ends[:, 1])) >= 0.88
    assert (ends[:, 1] - ends[:, 0]).mean() < 2.0 * (2 * 1.96 * values.std())


def test_the_percentile_bootstrap_of_fid_excludes_its_own_estimate():
    """The reason why it is not used for properties of a set."""
    random = np.random.RandomState(5)
    x = features(random, 100)
    estimate = frechet.fid(fake=x, real_moments=MOMENTS)
    samples = [x[torch.from_numpy(random.randint(0, 100, 100))] for _ in range(100)]
    draws = [float(frechet.fid(fake=sample, real_moments=MOMENTS)) for sample in samples]
    assert np.quantile(draws, 0.025) > float(estimate)


@pytest.mark.parametrize(("prompts", "samples"), [(8, 1), (40, 1), (30, 4)])
def test_bootstrap_intervals_of_means_cover(prompts: int, samples: int):
    random = np.random.RandomState(6)
    clusters = np.repeat(np.arange(prompts), samples)
    covered = 0
    for _ in range(200):
        values = np.repeat(random.gamma(3.0, size=prompts), samples)
        values = values + 0.5 * random.randn(prompts * samples)
        low, high, _ = intervals.clustered_bootstrap(values, clusters, draws=400)
        assert low is not None
        assert high is not None
        covered += low <= 3.0 <= high
    assert covered / 200 >= 0.90


def test_bootstrap_without_clusters_would_be_too_narrow():
    random = np.random.RandomState(7)
    values, clusters = np.repeat(random.randn(25), 8), np.repeat(np.arange(25), 8)
    low, high, _ = intervals.clustered_bootstrap(values, clusters)
    low1, high1, _ = intervals.clustered_bootstrap(values, np.arange(200))
    assert (high or 0) - (low or 0) > 2 * ((high1 or 0) - (low1 or 0))


def test_wilson_agrees_with_scipy():
    from scipy.stats import binomtest

    for hits, count in ((0, 20), (3, 24), (50, 50), (123, 400)):
        expected = binomtest(hits, count).proportion_ci(0.95, "wilson")
        found = intervals.wilson(hits, count)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert intervals.wilson(0, 0).low is None


@pytest.mark.parametrize("rate", [0.1, 0.6])
def test_rates_over_prompts_cover(rate: float):
    random = np.random.RandomState(8)
    clusters, covered = np.repeat(np.arange(40), 5), 0
    for _ in range(300):
        of_prompt = np.where(random.rand(40) < 0.5, 0.5 * rate, 1.5 * rate)
        hits = (random.rand(200) < np.repeat(of_prompt, 5)).astype(float)
        low, high, _ = intervals.rate(hits, clusters)
        covered += (low or 0) <= rate <= (high or 0)
    assert covered / 300 >= 0.91


def test_the_count_of_a_rate_is_divided_by_the_design_effect():
    """Three prompts with 4, 0 and 2 hits of 4: 3/2 (2^2 + 2^2) / 12^2 over 1/2 1/2 / 12."""
    hits = np.array([1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0], dtype=float)
    found = intervals.rate(hits, np.repeat(np.arange(3), 4))
    assert found.method == "Wilson, 3 prompts (design effect 4.00)"
    assert found[:2] == pytest.approx(intervals.wilson(1.5, 3)[:2])
    alike = intervals.rate(np.tile([1.0, 0.0], 6), np.repeat(np.arange(3), 4))
    assert alike[:2] == pytest.approx(intervals.wilson(6, 12)[:2])  # never below 1
    one = intervals.rate(np.array([1.0, 0.0, 1.0]), np.zeros(3, dtype=np.int64))
    assert one[:2] == pytest.approx(intervals.wilson(2, 3)[:2])


def test_a_rate_of_zero_has_the_interval_of_one_value_per_prompt():
    low, high, _ = intervals.rate(np.zeros(40), np.repeat(np.arange(10), 4))
    assert low == 0.0
    assert (high or 0) == pytest.approx(intervals.wilson(0, 10).high or 0)


def test_groups_keep_clusters_whole_and_sizes_similar():
    random = np.random.RandomState(9)
    clusters = np.repeat(np.arange(57), random.randint(1, 6, 57))
    groups = intervals.groups_of_clusters(clusters)
    assert groups is not None
    assert all(len(set(groups[clusters == cluster].tolist())) == 1 for cluster in range(57))
    sizes = torch.bincount(groups)
    assert len(sizes) == 20
    assert sizes.max() - sizes.min() <= 5
    assert intervals.groups_of_clusters(np.arange(4)) is None
    few = intervals.groups_of_clusters(np.arange(7))
    assert few is not None
    assert int(few.max()) == 6


def test_jackknife_of_a_mean_is_students_t_interval():
    from scipy import stats

    values = torch.from_numpy(np.random.RandomState(10).randn(20))
    left_out = (values.sum() - values) / 19
    low, high, _ = intervals.group_jackknife(float(values.mean()), left_out, torch.arange(20))
    half = stats.t.ppf(0.975, 19) * float(values.std()) / 20**0.5
    assert (low, high) == pytest.approx((float(values.mean()) - half, float(values.mean()) + half))
    assert intervals.group_jackknife(0.0, torch.zeros(20), torch.arange(20)).low is None


def test_clusters_are_numbered_by_first_appearance():
    assert intervals.cluster_numbers(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


def test_the_covariance_of_a_value_with_itself_is_the_variance_of_its_interval() -> None:
    groups = torch.arange(40) % 7
    values = torch.randn(40, generator=torch.Generator().manual_seed(0)).double()
    without = torch.stack([values[groups != group].mean() for group in range(7)])
    estimate = float(values.mean())
    one, other, both = intervals.group_jackknife_covariance(
        (estimate, -2 * estimate), (without, -2 * without), groups
    )
    low, high, _ = intervals.group_jackknife(estimate, without, groups)
    assert low is not None
    assert high is not None
    assert float(stats.t.ppf(0.975, 6)) * one**0.5 == pytest.approx((high - low) / 2)
    assert (other, both) == (pytest.approx(4 * one), pytest.approx(-2 * one))


def test_a_few_equal_values_have_no_interval():
    few = intervals.clustered_bootstrap(np.full(4, 0.5), np.arange(4))
    assert few == (None, None, "no interval: fewer than 5 prompts, all equal")
    assert intervals.clustered_bootstrap(np.array([0.5, 0.5, 0.6]), np.arange(3)).low is not None
    assert intervals.rate(np.ones(3), np.arange(3)).low == pytest.approx(0.4385, abs=1e-4)  # Wilson
