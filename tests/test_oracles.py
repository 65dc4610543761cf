"""Values that were computed elsewhere or follow from closed forms, and the peer libraries themselves on the same features."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from evalkit.core import Moments
from evalkit.metrics import alignment, frechet, inception_score, kernel, manifold


def rows(count: int, dimension: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(count, dimension) * scale + shift)


def skewed(count: int, dimension: int, seed: int, shift: float = 0.0) -> Tensor:
    """Features like those of a network: non-negative, correlated, with a decaying spectrum."""
    random = np.random.RandomState(7)
    mixing = random.randn(dimension, dimension) * (1 + np.arange(dimension)) ** -0.6
    return torch.from_numpy(np.maximum(np.random.RandomState(seed).randn(count, dimension) @ mixing.T + 0.3 + shift, 0)).float()


def gaussian(mean: Tensor, cov: Tensor) -> Moments:
    return Moments(mean.double(), cov.double(), 10_000)


# --- Frechet distance ----------------------------------------------------------------------------------------------
def test_unit_gaussians_one_apart():
    zero, one, unit = torch.zeros(2048), torch.ones(2048), torch.eye(2048)
    found = frechet.frechet_distance(fake_moments=gaussian(one, unit), real_moments=gaussian(zero, unit))
    assert found.item() == pytest.approx(2048, rel=1e-9)


@pytest.mark.parametrize("rotation", [False, True])
def test_diagonal_covariances(rotation: bool):
    a = torch.arange(1.0, 6.0, dtype=torch.float64)
    turn = torch.linalg.qr(rows(5, 5, 3)).Q if rotation else torch.eye(5, dtype=torch.float64)
    fake = gaussian(turn @ torch.full((5,), 0.5, dtype=torch.float64), turn @ a.diag() @ turn.T)
    real = gaussian(torch.zeros(5), turn @ a.flip(0).square().diag() @ turn.T)
    assert frechet.frechet_distance(fake_moments=fake, real_moments=real).item() == pytest.approx(27.0718507006, rel=1e-10)


def test_covariances_that_do_not_commute():
    a, b = torch.tensor([[2, 0.5], [0.5, 1]]).double(), torch.tensor([[1, -0.3], [-0.3, 3]]).double()
    found = frechet.frechet_distance(fake_moments=gaussian(torch.zeros(2), a), real_moments=gaussian(torch.zeros(2), b)).item()
    closed = a.trace() + b.trace() - 2 * ((a @ b).trace() + 2 * (a.det() * b.det()).sqrt()).sqrt()
    assert found == pytest.approx(0.9293118549678, rel=1e-7)
    assert found == pytest.approx(closed.item(), rel=1e-10)


def test_fewer_images_than_dimensions():
    random = np.random.RandomState(1)
    fake, real = torch.from_numpy(random.randn(100, 256)), torch.from_numpy(random.randn(100, 256))
    exact = frechet.frechet_distance_of_features(fake=fake, real=real).item()
    assert exact == pytest.approx(257.53192154, rel=1e-10)
    assert frechet.fid(fake=fake, real_moments=frechet.moments(real)).item() == pytest.approx(exact, rel=1e-7)
    found = frechet.frechet_distance(fake_moments=frechet.moments(fake), real_moments=frechet.moments(real))
    assert found.item() == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("count", [100, 1000])
def test_identical_sets_are_at_distance_zero(count: int):
    x = skewed(count, 256, 2)
    assert abs(frechet.fid(fake=x, real_moments=frechet.moments(x)).item()) < 1e-4
    assert abs(frechet.frechet_distance_of_features(fake=x, real=x).item()) < 1e-4


@pytest.mark.parametrize(("count", "expected"), [(2048, 620.2), (5000, 222.6)])
def test_small_sample_bias_of_unit_gaussians(count: int, expected: float):
    reference = gaussian(torch.zeros(2048), torch.eye(2048))
    fake = torch.randn(count, 2048, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    assert frechet.fid(fake=fake, real_moments=reference).item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("fakes", "reals"), [(700, 900), (90, 600), (90, 120)])
def test_fid_agrees_with_torch_fidelity_torchmetrics_and_scipy(fakes: int, reals: int):
    fake, real = skewed(fakes, 128, 1, 0.1).double(), skewed(reals, 128, 2).double()
    ours = frechet.fid(fake=fake, real_moments=frechet.moments(real)).item()
    theirs = fid_statistics_to_metric(fid_features_to_statistics(fake), fid_features_to_statistics(real), False)
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    a, b = frechet.moments(fake), frechet.moments(real)
    assert ours == pytest.approx(_compute_fid(a.mean, a.cov, b.mean, b.cov).item(), rel=1e-6)
    root = scipy.linalg.sqrtm((a.cov @ b.cov).numpy())
    slow = (a.mean - b.mean).square().sum().item() + a.cov.trace().item() + b.cov.trace().item() - 2 * np.trace(root).real
    assert ours == pytest.approx(slow, rel=1e-5)


# --- KID -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("shift", "expected"), [(0.25, 0.2028503), (0.5, 0.9710693), (1.0, 7.1420898)])
def test_kid_of_shifted_gaussians(shift: float, expected: float):
    d = 64
    m = d * shift**2
    exact = 1 + 3 / d + (1 + m / d) ** 3 + 3 * (1 + m / d) * (2 * m + d) / d**2 + 6 * m / d**3 - 2 * (1 + 3 * (m + d) / d**2)
    assert exact == pytest.approx(expected, abs=1e-7)
    fake, real = rows(2000, d, 1), rows(2000, d, 2)
    fake, real = torch.cat([fake, -fake]) + shift, torch.cat([real, -real])  # mirrored, so that the means are exact
    assert kernel.kid_of_all(fake=fake, real=real).item() == pytest.approx(exact, rel=0.01)


def test_kid_agrees_with_torch_fidelity():
    fake, real = skewed(700, 64, 1, 0.2), skewed(650, 64, 2)
    theirs = kid_features_to_metric(fake.double(), real.double(), kid_subsets=20, kid_subset_size=300, rng_seed=2020, verbose=False)
    ours = kernel.kid(fake=fake, real=real, subsets=20, subset_size=300).item()
    assert ours == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)


def test_kid_of_all_images_agrees_with_torchmetrics():
    fake, real = skewed(300, 64, 1, 0.2).double(), skewed(300, 64, 2).double()
    assert kernel.kid(fake=fake, real=real).item() == pytest.approx(poly_mmd(fake, real).item(), rel=1e-9)


# --- Inception score -----------------------------------------------------------------------------------------------
def test_inception_score_of_certain_answers():
    logits = 1000.0 * torch.eye(1000)
    assert inception_score.inception_score(fake=logits, splits=10, shuffle=False).item() == pytest.approx(100.0, rel=1e-12)
    assert inception_score.inception_score(fake=logits, splits=1).item() == pytest.approx(1000.0, rel=1e-12)
    assert inception_score.inception_score(fake=torch.zeros(1000, 1000)).item() == pytest.approx(1.0, rel=1e-12)
    scores = inception_score.inception_score_splits(fake=logits.repeat_interleave(50, dim=0))
    assert scores.mean().item() == pytest.approx(910.2911430168, rel=1e-11)
    assert scores.std(correction=0).item() == pytest.approx(4.974117000, rel=1e-8)
    assert scores.std(correction=1).item() == pytest.approx(5.243179689, rel=1e-8)


@pytest.mark.parametrize("count", [1000, 1237])
def test_inception_score_agrees_with_torch_fidelity(count: int):
    logits = rows(count, 40, 5, scale=2.0).float()
    theirs = isc_features_to_metric(logits)
    scores = inception_score.inception_score_splits(fake=logits)
    assert scores.mean().item() == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    assert scores.std(correction=0).item() == pytest.approx(theirs["inception_score_std"], rel=1e-10)


# --- precision and recall ------------------------------------------------------------------------------------------
def test_precision_and_recall_are_not_swapped():
    fake, real = rows(200, 16, 1, scale=0.1), rows(200, 16, 2, scale=3.0)
    assert manifold.precision(fake=fake, real=real).mean().item() > 0.8
    assert manifold.recall(fake=fake, real=real).item() < 0.3


@pytest.mark.parametrize("dimension", [8, 64])
def test_precision_and_recall_agree_with_torch_fidelity(dimension: int):
    fake, real = skewed(500, dimension, 1, 0.2), skewed(400, dimension, 2)
    theirs = prc_features_to_metric(fake, real, prc_neighborhood=3, prc_batch_size=10_000, save_cpu_ram=False, verbose=False)
    assert manifold.precision(fake=fake, real=real).mean().item() == pytest.approx(theirs["precision"], rel=1e-6)
    assert manifold.recall(fake=fake, real=real).item() == pytest.approx(theirs["recall"], rel=1e-6)


# --- CLIP score ----------------------------------------------------------------------------------------------------
def test_clip_score_is_a_hundred_cosines():
    fake = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-3.0, 0.0]])
    text = torch.tensor([[2.0, 0.0], [5.0, 0.0], [1.0, 0.0]])
    assert alignment.clip_score(fake=fake, text=text).tolist() == pytest.approx([100.0, 100 / math.sqrt(2), -100.0])
