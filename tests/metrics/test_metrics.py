"""Properties of the metrics: invariances, quick forms against slow ones, bounded memory, and what
is refused.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from installed_metrics import METRICS
from torch import Tensor

from evalkit.core import EvalkitError, Moments
from evalkit.metrics import frechet, inception_score, kernel, manifold, numeric

seeds = st.integers(0, 2**31)
few = settings(max_examples=15, deadline=None, derandomize=True)


def rows(count: int, dimension: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(count, dimension) + shift)


def groups_of(count: int, groups: int, seed: int) -> Tensor:
    """Random groups, none of them empty."""
    random = np.random.RandomState(seed)
    return torch.from_numpy(
        random.permutation(
            np.concatenate([np.arange(groups), random.randint(0, groups, count - groups)])
        )
    )


# --- moments and the Frechet distance ---
@few
@given(seeds, st.integers(2, 40), st.integers(2, 40), st.floats(-1e3, 1e3))
def test_moments_merge_and_part(seed: int, first: int, second: int, shift: float):
    x, y = rows(first, 6, seed, shift), rows(second, 6, seed ^ 1, -shift)
    both = frechet.merge_moments(frechet.moments(x), frechet.moments(y))
    whole = frechet.moments(torch.cat([x, y]))
    scale = 1 + shift**2
    assert both.count == first + second
    assert torch.allclose(both.mean, whole.mean, rtol=1e-12, atol=1e-12 * abs(shift) + 1e-13)
    assert torch.allclose(both.cov, whole.cov, rtol=1e-10, atol=1e-13 * scale)
    left = frechet.remove_moments(both, frechet.moments(y))
    assert torch.allclose(
        left.mean, frechet.moments(x).mean, rtol=1e-9, atol=1e-10 * (1 + abs(shift))
    )
    assert torch.allclose(left.cov, frechet.moments(x).cov, rtol=1e-6, atol=1e-10 * scale)
    assert np.allclose(whole.cov.numpy(), np.cov(torch.cat([x, y]).numpy(), rowvar=False))


@few
@given(seeds, st.integers(4, 60), st.integers(4, 60))
def test_frechet_distance_is_a_squared_distance(seed: int, fakes: int, reals: int):
    x, y = rows(fakes, 12, seed), rows(reals, 12, seed ^ 1, 0.5) * 2
    forth, back = (
        frechet.frechet_distance_of_features(fake=x, real=y),
        frechet.frechet_distance_of_features(fake=y, real=x),
    )
    assert forth > 0
    assert torch.allclose(forth, back, rtol=1e-6)
    turn = torch.linalg.qr(rows(12, 12, seed ^ 2)).Q
    assert torch.allclose(
        forth, frechet.frechet_distance_of_features(fake=x @ turn + 3, real=y @ turn + 3), rtol=1e-6
    )
    assert torch.allclose(
        9 * forth, frechet.frechet_distance_of_features(fake=3 * x, real=3 * y), rtol=1e-6
    )
    assert torch.allclose(
        forth,
        frechet.fid(fake=x[torch.randperm(fakes)], real_moments=frechet.moments(y)),
        rtol=1e-5,
    )


def test_frechet_distance_of_degenerate_covariances():
    point = Moments(torch.zeros(5).double(), torch.zeros(5, 5).double(), 10)
    unit = Moments(torch.ones(5).double(), torch.eye(5).double(), 10)
    assert frechet.frechet_distance(fake_moments=point, real_moments=point).item() == pytest.approx(
        0, abs=1e-12
    )
    assert frechet.frechet_distance(fake_moments=unit, real_moments=point).item() == pytest.approx(
        10, rel=1e-9
    )
    line = rows(40, 1, 1) @ torch.ones(1, 5).double()  # rank one, a large mean
    assert abs(frechet.fid(fake=line + 1e3, real_moments=frechet.moments(line + 1e3)).item()) < 1e-4


def test_a_covariance_that_is_not_quite_positive_falls_back_to_eigenvectors():
    cov = torch.diag(torch.tensor([1.0, 1.0, -1e-9])).double()
    broken, unit = (
        Moments(torch.zeros(3).double(), cov, 9),
        Moments(torch.zeros(3).double(), torch.eye(3).double(), 9),
    )
    assert frechet.frechet_distance(fake_moments=unit, real_moments=broken).item() == pytest.approx(
        1.0, abs=1e-6
    )


QUICK = [name for name, metric in METRICS.items() if metric.leave_out is not None]


# --- quick forms ---
@pytest.mark.parametrize(("count", "dimension"), [(30, 12), (20, 64)])
@pytest.mark.parametrize(
    "name", [name for name in QUICK if name not in ("fid_infinity", "mind")]
)  # see test_new_metrics.py
def test_leaving_groups_out_is_computing_without_them(name: str, count: int, dimension: int):
    fake, real, groups = (
        rows(count, dimension, 1, 0.2),
        rows(50, dimension, 2),
        groups_of(count, 6, 3),
    )
    known = {"real": real, "real_moments": frechet.moments(real)}
    inputs = {
        asked: known[asked]
        for asked in inspect.signature(METRICS[name].compute).parameters
        if asked in known
    }
    quick = METRICS[name].leave_out(fake=fake, groups=groups, **inputs)
    slow = torch.stack(
        [METRICS[name].compute(fake=fake[groups != group], **inputs) for group in range(6)]
    )
    assert torch.allclose(
        quick, slow, rtol=1e-4 if name in ("fid", "sfid", "fd_dinov2") else 1e-7, atol=1e-9
    )


@pytest.mark.parametrize("count", [13, 16, 17, 40, 49, 160])
def test_fid_without_groups_gives_the_standard_error_of_leaving_them_out(count: int):
    """Below, at and above as many images as dimensions; from 3 D on to second order."""
    mixing = torch.from_numpy(np.random.RandomState(5).randn(16, 16) * (1 + np.arange(16)) ** -1.0)
    fake, real = (
        (rows(count, 16, 1, 0.2) @ mixing).float(),
        frechet.moments(rows(500, 16, 2) @ mixing),
    )
    groups = groups_of(count, 10, 3)
    quick = frechet.fid_without(fake=fake, real_moments=real, groups=groups)
    slow = torch.stack(
        [frechet.fid(fake=fake[groups != group], real_moments=real) for group in range(10)]
    )
    assert float(quick.std()) == pytest.approx(float(slow.std()), rel=0.06 if count > 48 else 1e-4)
    assert torch.allclose(quick, slow, rtol=0.05 if count > 48 else 1e-4)
    assert bool(frechet.approximation(fake=count, dimension=16)) == (count > 48)


def test_fid_without_groups_of_collapsed_images():
    fake, real = torch.ones(40, 6), frechet.moments(rows(200, 6, 1))
    left_out = frechet.fid_without(fake=fake, real_moments=real, groups=torch.arange(40) % 5)
    assert torch.allclose(left_out, frechet.fid(fake=fake, real_moments=real).expand(5), rtol=1e-9)


def test_moments_come_in_blocks(monkeypatch: pytest.MonkeyPatch):
    x = rows(53, 7, 1, 1e3).float()
    whole = frechet.moments(x)
    monkeypatch.setattr(frechet, "_BLOCK", 10)
    assert torch.allclose(frechet.moments(x).cov, whole.cov, rtol=1e-12)


@pytest.mark.parametrize("count", [70, 130])
def test_kid_of_subsets_is_the_mean_over_subsets(count: int):
    """Shared kernel matrices and subsets one by one, against the textbook in float64."""
    fake, real = rows(count, 12, 1, 0.3).float(), rows(90, 12, 2).float()
    random, values = np.random.RandomState(2020), []
    for _ in range(3):
        x, y = (
            side[torch.from_numpy(random.choice(len(side), 50, replace=False))].double()
            for side in (fake, real)
        )
        xx, yy, xy = ((a @ b.T / 12 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        values.append(
            (xx.sum() - xx.trace()) / 2450 + (yy.sum() - yy.trace()) / 2450 - 2 * xy.mean()
        )
    found = kernel.kid(fake=fake, real=real, subsets=3, subset_size=50)
    assert float(found) == pytest.approx(float(torch.stack(values).mean()), abs=1e-7)
    shared = kernel.kid(fake=fake.double(), real=real.double(), subsets=60, subset_size=50)
    assert np.isfinite(float(shared))


def test_kid_without_groups_of_many_images_is_linear(monkeypatch: pytest.MonkeyPatch):
    """First-order values against a sample of partners: the same standard error as from all pairs,
    where the sets differ.
    """
    fake, real, groups = rows(600, 12, 1, 0.4), rows(100, 12, 2), groups_of(600, 20, 3)
    slow = kernel.kid_without(fake=fake, real=real, groups=groups)
    monkeypatch.setattr(kernel, "MOST_FOR_PAIRS", 500)
    monkeypatch.setattr(kernel, "PARTNERS", 400)
    quick = kernel.kid_without(fake=fake, real=real, groups=groups)
    assert float(quick.std()) == pytest.approx(float(slow.std()), rel=0.15)
    assert np.corrcoef(quick, slow)[0, 1] > 0.95
    assert "400 others" in kernel.approximation(fake=600)


def test_recall_without_a_group_that_holds_all_near_neighbours():
    """Copies of one prompt crowd out the 32 neighbours that are kept: the whole row is searched."""
    random = np.random.RandomState(0)
    fake = torch.from_numpy(np.concatenate([0.001 * random.randn(50, 3), random.randn(20, 3)]))
    groups = torch.tensor([0] * 50 + [1] * 10 + [2] * 10)
    fake = torch.cat([fake, fake[:3] + 1e-4])
    groups = torch.cat([groups, torch.tensor([1, 1, 2])])
    real = rows(40, 3, 1)
    quick = manifold.recall_without(fake=fake, real=real, groups=groups)
    slow = torch.stack(
        [manifold.recall(fake=fake[groups != group], real=real) for group in range(3)]
    )
    assert torch.equal(quick, slow)


def test_inception_score_without_a_group_keeps_the_splits():
    logits, groups = 3 * rows(400, 7, 1), groups_of(400, 10, 2)
    left_out = inception_score.inception_score_without(fake=logits, groups=groups)
    whole = inception_score.inception_score(fake=logits)
    assert (left_out - whole).abs().max() < 0.1
    assert inception_score.splits_for(400) == 4
    assert inception_score.describe(fake=400).startswith("4 splits of about 100 images")
    assert inception_score.describe(fake=50).startswith("1 split of about 50 images")


@pytest.mark.parametrize("elements", [1, 100, 10**6])
def test_no_result_depends_on_the_block_size(elements: int, monkeypatch: pytest.MonkeyPatch):
    fake, real, groups = rows(37, 5, 1), rows(41, 5, 2), groups_of(37, 5, 3)
    whole = _all(fake, real, groups)
    monkeypatch.setattr(numeric, "BLOCK_ELEMENTS", elements)
    for one, other in zip(whole, _all(fake, real, groups), strict=True):
        assert torch.allclose(one, other, rtol=1e-12)


def _all(fake: Tensor, real: Tensor, groups: Tensor) -> list[Tensor]:
    inputs = {"fake": fake, "real": real}
    found = [
        manifold.precision(**inputs),
        manifold.recall(**inputs),
        manifold.recall_without(**inputs, groups=groups),
    ]
    return [*found, kernel.kid_of_all(**inputs), kernel.kid_without(**inputs, groups=groups)]


# --- KID, precision, recall ---
@few
@given(seeds)
def test_kid_is_unbiased_between_equal_distributions(seed: int):
    values = [
        float(kernel.kid(fake=rows(60, 8, seed + k), real=rows(60, 8, seed + 100 + k)))
        for k in range(30)
    ]
    assert abs(np.mean(values)) < 4.5 * np.std(values) / 30**0.5


def test_kid_of_few_images_says_so():
    assert "the usual 100 subsets need 1000 images on each side" in kernel.describe(
        fake=100, real=2000
    )
    assert (
        kernel.describe(fake=5000, real=2000)
        == "mean of 100 subsets of 1000, seed 2020, 5000 against 2000"
    )


@few
@given(seeds, st.integers(1, 6))
def test_precision_and_recall_of_equal_sets_and_far_sets(seed: int, copies: int):
    x = rows(20, 6, seed).repeat_interleave(copies, dim=0)
    assert manifold.precision(fake=x, real=x).min() == 1.0
    assert manifold.recall(fake=x, real=x) == 1.0
    assert manifold.precision(fake=x + 1e4, real=x).max() == 0.0
    assert manifold.recall(fake=x + 1e4, real=x) == 0.0


@few
@given(seeds)
def test_recall_is_precision_of_the_other_side(seed: int):
    x, y = rows(30, 4, seed), rows(25, 4, seed ^ 1, 0.7)
    assert manifold.recall(fake=x, real=y) == manifold.precision(fake=y, real=x).mean()
    order = torch.randperm(30)
    assert torch.equal(
        manifold.precision(fake=x, real=y)[order], manifold.precision(fake=x[order], real=y)
    )


# --- what is refused ---
@pytest.mark.parametrize(
    ("fake", "message"),
    [
        (torch.zeros(0, 4), "shape"),
        (torch.zeros(4), "shape"),
        (torch.zeros(5, 4, dtype=torch.uint8), "type"),
        (torch.full((5, 4), float("nan")), "5 of 5 images hold NaN"),
        (torch.full((5, 4), float("inf")), "5 of 5 images hold NaN"),
        (torch.zeros(5, 3), "3 dimensions and the reference has 4"),
    ],
)
def test_bad_features_are_refused(fake: Tensor, message: str):
    real = rows(20, 4, 0)
    for call in (
        lambda: kernel.kid(fake=fake, real=real),
        lambda: manifold.recall(fake=fake, real=real),
        lambda: frechet.fid(fake=fake, real_moments=frechet.moments(real)),
    ):
        with pytest.raises(EvalkitError, match=message):
            call()


def test_too_few_images_are_refused():
    real = rows(20, 4, 0)
    with pytest.raises(EvalkitError, match="needs at least 2"):
        frechet.fid(fake=real[:1], real_moments=frechet.moments(real))
    with pytest.raises(EvalkitError, match="needs at least 2"):
        kernel.kid(fake=real[:1], real=real)
    with pytest.raises(EvalkitError, match="needs at least 4"):
        manifold.recall(fake=real[:3], real=real)
    with pytest.raises(EvalkitError, match="needs at least 10"):
        inception_score.inception_score(fake=real[:9], splits=10)
