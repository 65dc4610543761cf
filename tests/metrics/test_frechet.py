"""Moments, the Fréchet distance, and FID without groups of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_features import groups_of, rows

from evalkit.core import EvalkitError, Moments
from evalkit.metrics import frechet
from evalkit.metrics.memoized import clear_memoized
from evalkit.statistics.second_order import second_order_variance

seeds = st.integers(0, 2**31)
few = settings(max_examples=15, deadline=None, derandomize=True)


@few
@given(seeds, st.integers(2, 40), st.integers(2, 40), st.floats(-1e3, 1e3))
def test_merged_and_removed_moments_are_those_of_the_sets(
    seed: int, first: int, second: int, shift: float
):
    x, y = rows(first, 6, seed, shift), rows(second, 6, seed ^ 1, -shift)
    both = frechet.merge_moments(frechet.moments(x), frechet.moments(y))
    whole = frechet.moments(torch.cat([x, y]))
    scale = 1 + shift**2
    assert both.count == first + second
    assert torch.allclose(both.mean, whole.mean, rtol=1e-12, atol=1e-12 * abs(shift) + 1e-13)
    assert torch.allclose(both.cov, whole.cov, rtol=1e-10, atol=1e-13 * scale)
    assert np.allclose(whole.cov.numpy(), np.cov(torch.cat([x, y]).numpy(), rowvar=False))
    left, expected = frechet.remove_moments(both, frechet.moments(y)), frechet.moments(x)
    assert torch.allclose(left.mean, expected.mean, rtol=1e-9, atol=1e-10 * (1 + abs(shift)))
    assert torch.allclose(left.cov, expected.cov, rtol=1e-6, atol=1e-10 * scale)


def test_moments_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch):
    x = rows(53, 7, 1, 1e3).float()
    whole = frechet.moments(x)
    monkeypatch.setattr(frechet, "_BLOCK", 10)
    assert torch.allclose(frechet.moments(x).cov, whole.cov, rtol=1e-12)


@few
@given(seeds, st.integers(4, 60), st.integers(4, 60))
def test_frechet_distance_is_symmetric_invariant_to_rigid_motions_and_quadratic_in_scale(
    seed: int, fakes: int, reals: int
):
    distance = frechet.frechet_distance_of_features
    x, y = rows(fakes, 12, seed), rows(reals, 12, seed ^ 1, 0.5) * 2
    found = distance(fake=x, real=y)
    assert found > 0
    assert torch.allclose(found, distance(fake=y, real=x), rtol=1e-6)
    rotation = torch.linalg.qr(rows(12, 12, seed ^ 2)).Q
    moved = distance(fake=x @ rotation + 3, real=y @ rotation + 3)
    assert torch.allclose(found, moved, rtol=1e-6)
    assert torch.allclose(9 * found, distance(fake=3 * x, real=3 * y), rtol=1e-6)
    shuffled = frechet.fid(fake=x[torch.randperm(fakes)], real_moments=frechet.moments(y))
    assert torch.allclose(found, shuffled, rtol=1e-5)


def test_frechet_distance_of_degenerate_covariances():
    point = Moments(torch.zeros(5).double(), torch.zeros(5, 5).double(), 10)
    unit = Moments(torch.ones(5).double(), torch.eye(5).double(), 10)
    same = frechet.frechet_distance(fake_moments=point, real_moments=point)
    assert same.item() == pytest.approx(0, abs=1e-12)
    apart = frechet.frechet_distance(fake_moments=unit, real_moments=point)
    assert apart.item() == pytest.approx(10, rel=1e-9)
    line = rows(40, 1, 1) @ torch.ones(1, 5).double() + 1e3  # rank one, a large mean
    assert abs(frechet.fid(fake=line, real_moments=frechet.moments(line)).item()) < 1e-4


@pytest.mark.parametrize(
    ("dimension", "rank", "fakes", "reals"), [(256, 40, 300, 1000), (256, 256, 400, 100)]
)
def test_features_and_moments_give_the_same_without_full_rank(
    dimension: int, rank: int, fakes: int, reals: int
):
    """No jitter: dimensions without variance add no roots, however many they are."""
    base = rows(rank, dimension, 3)
    fake, real = rows(fakes, rank, 1) @ base, rows(reals, rank, 2) @ base + 0.3
    moments = frechet.moments(real)
    found = frechet.frechet_distance(fake_moments=frechet.moments(fake), real_moments=moments)
    few = fake[:20]
    exact = frechet.frechet_distance_of_features(fake=few, real=real)
    assert frechet.fid(fake=fake, real_moments=moments).item() == pytest.approx(
        found.item(), rel=1e-12
    )
    assert frechet.fid(fake=few, real_moments=moments).item() == pytest.approx(
        exact.item(), rel=1e-11
    )
    of_moments = frechet.frechet_distance(fake_moments=frechet.moments(few), real_moments=moments)
    assert of_moments.item() == pytest.approx(exact.item(), rel=1e-11)


def test_a_covariance_with_a_negative_eigenvalue_is_factored_by_eigenvectors():
    zero = torch.zeros(3).double()
    almost = Moments(zero, torch.diag(torch.tensor([1.0, 1.0, -1e-9])).double(), 9)
    unit = Moments(zero, torch.eye(3).double(), 9)
    found = frechet.frechet_distance(fake_moments=unit, real_moments=almost)
    assert found.item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("count", [13, 16, 17, 40, 49, 160])
def test_fid_without_groups_has_the_standard_error_of_computing_it_again(count: int):
    """With fewer, as many and more images than dimensions; above 3 D to second order."""
    mixing = torch.from_numpy(np.random.RandomState(5).randn(16, 16) * (1 + np.arange(16)) ** -1.0)
    fake = (rows(count, 16, 1, 0.2) @ mixing).float()
    real = frechet.moments(rows(500, 16, 2) @ mixing)
    groups = groups_of(count, 10, 3)
    quick = frechet.fid_without(fake=fake, real_moments=real, groups=groups)
    kept = [fake[groups != group] for group in range(10)]
    slow = torch.stack([frechet.fid(fake=x, real_moments=real) for x in kept])
    assert float(quick.std()) == pytest.approx(float(slow.std()), rel=0.06 if count > 48 else 1e-4)
    assert torch.allclose(quick, slow, rtol=0.05 if count > 48 else 1e-4)
    assert bool(frechet.approximation(fake=count, dimension=16)) == (count > 48)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("count", [21, 40, 49, 160])
def test_fid_without_pairs_has_the_second_order_of_computing_it_again(
    count: int, quick: bool, monkeypatch: pytest.MonkeyPatch
):
    """Some of its variance is missing, so that intervals are rather too wide than too narrow."""
    monkeypatch.setattr(frechet, "_QUICK", 2**32 if quick else 0)
    clear_memoized()
    mixing = torch.from_numpy(np.random.RandomState(5).randn(16, 16) * (1 + np.arange(16)) ** -1.0)
    fake = (rows(count, 16, 1, 0.2) @ mixing).float()
    real, groups = frechet.moments(rows(500, 16, 2) @ mixing), torch.arange(count) % 20
    found = frechet.fid_without_pairs(fake=fake, real_moments=real, groups=groups)
    kept = [fake[(groups != one) & (groups != two)] for one, two in torch.triu_indices(20, 20, 1).T]
    again = torch.stack([frechet.fid(fake=x, real_moments=real) for x in kept])
    share = second_order_variance(found, 20) / second_order_variance(again, 20)
    assert (0.85 if quick or count <= 48 else 0.6) < share < 1.05


@pytest.mark.parametrize("count", [80, 400])
def test_few_rows_stand_for_the_images_of_a_large_group(
    count: int, monkeypatch: pytest.MonkeyPatch
):
    """Also for groups with fewer images than dimensions, and with a dimension that is constant."""
    fake, real = rows(count, 16, 1, 0.2).float() * 5 + 3, frechet.moments(rows(500, 16, 2))
    fake[:, 3] = 1.5
    given = {"fake": fake, "real_moments": real, "groups": torch.arange(count) % 20}
    monkeypatch.setattr(frechet, "_QUICK", 0)
    found = []
    for many in (0, 1000):
        monkeypatch.setattr(frechet, "_MANY", many)
        clear_memoized()
        found.append([frechet.fid_without(**given), frechet.fid_without_pairs(**given)])
    for few, every in zip(*found, strict=True):
        assert torch.allclose(few, every, rtol=1e-7)
        assert float((few - every).abs().max()) < 1e-4 * float(every.std())


@pytest.mark.parametrize("scale", [1e-20, 1e-10, 1e10, 1e20])
@pytest.mark.parametrize("count", [12, 30, 90])
def test_fid_without_groups_is_quadratic_in_scale(count: int, scale: float):
    fake, real, groups = rows(count, 16, 1, 0.2), rows(100, 16, 2), groups_of(count, 5, 3)
    for without in (frechet.fid_without, frechet.fid_without_pairs):
        found, scaled = (
            without(fake=c * fake, real_moments=frechet.moments(c * real), groups=groups)
            for c in (1.0, scale)
        )
        assert torch.allclose(scaled, scale**2 * found, rtol=1e-6, atol=0)


def test_fid_without_groups_of_collapsed_images():
    fake, real = torch.ones(40, 6), frechet.moments(rows(200, 6, 1))
    left_out = frechet.fid_without(fake=fake, real_moments=real, groups=torch.arange(40) % 5)
    value = frechet.fid(fake=fake, real_moments=real)
    assert torch.allclose(left_out, value.expand(5), rtol=1e-9)
    pairs = frechet.fid_without_pairs(fake=fake, real_moments=real, groups=torch.arange(40) % 5)
    assert torch.allclose(pairs, value.expand(10), rtol=1e-9)


def test_two_images_without_a_group_are_enough():
    fake, real, groups = rows(3, 4, 1), frechet.moments(rows(20, 4, 2)), torch.arange(3)
    quick = frechet.fid_without(fake=fake, real_moments=real, groups=groups)
    kept = [fake[groups != group] for group in range(3)]
    slow = torch.stack([frechet.fid(fake=x, real_moments=real) for x in kept])
    assert torch.allclose(quick, slow, rtol=1e-4)
    with pytest.raises(EvalkitError, match="needs at least 2"):
        frechet.fid_without(fake=fake[:2], real_moments=real, groups=groups[:2])


def test_one_image_is_too_few():
    real = rows(20, 4, 0)
    with pytest.raises(EvalkitError, match="needs at least 2"):
        frechet.fid(fake=real[:1], real_moments=frechet.moments(real))
    with pytest.raises(EvalkitError, match="needs at least 2"):
        frechet.moments(real[:1])  # no covariance, rather than one of NaN
