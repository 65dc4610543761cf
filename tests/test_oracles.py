"""Metrics against closed forms, published values, and peer libraries on the same features."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.spatial
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.functional.multimodal.clip_score import _clip_score_update
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from evalkit.core import Moments
from evalkit.metrics import (
    alignment,
    cmmd,
    coverage,
    diversity,
    frechet,
    inception_score,
    infinity,
    kernel,
    manifold,
    memorization,
    mind,
)


def rows(count: int, dimension: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(count, dimension) * scale + shift)


def skewed(count: int, dimension: int, seed: int, shift: float = 0.0) -> Tensor:
    """Features similar to a network's: non-negative, correlated, with a decaying spectrum."""
    random = np.random.RandomState(7)
    mixing = random.randn(dimension, dimension) * (1 + np.arange(dimension)) ** -0.6
    return torch.from_numpy(
        np.maximum(np.random.RandomState(seed).randn(count, dimension) @ mixing.T + 0.3 + shift, 0)
    ).float()


def gaussian(mean: Tensor, cov: Tensor) -> Moments:
    return Moments(mean.double(), cov.double(), 10_000)


# --- Frechet distance
def test_shifted_unit_gaussians():
    zero, one, unit = torch.zeros(2048), torch.ones(2048), torch.eye(2048)
    found = frechet.frechet_distance(
        fake_moments=gaussian(one, unit), real_moments=gaussian(zero, unit)
    )
    assert found.item() == pytest.approx(2048, rel=1e-9)


@pytest.mark.parametrize("rotation", [False, True])
def test_diagonal_covariances(rotation: bool):
    a = torch.arange(1.0, 6.0, dtype=torch.float64)
    turn = torch.linalg.qr(rows(5, 5, 3)).Q if rotation else torch.eye(5, dtype=torch.float64)
    fake = gaussian(turn @ torch.full((5,), 0.5, dtype=torch.float64), turn @ a.diag() @ turn.T)
    real = gaussian(torch.zeros(5), turn @ a.flip(0).square().diag() @ turn.T)
    assert frechet.frechet_distance(fake_moments=fake, real_moments=real).item() == pytest.approx(
        27.0718507006, rel=1e-10
    )


def test_covariances_that_do_not_commute():
    a, b = (
        torch.tensor([[2, 0.5], [0.5, 1]]).double(),
        torch.tensor([[1, -0.3], [-0.3, 3]]).double(),
    )
    found = frechet.frechet_distance(
        fake_moments=gaussian(torch.zeros(2), a), real_moments=gaussian(torch.zeros(2), b)
    ).item()
    closed = a.trace() + b.trace() - 2 * ((a @ b).trace() + 2 * (a.det() * b.det()).sqrt()).sqrt()
    assert found == pytest.approx(0.9293118549678, rel=1e-7)
    assert found == pytest.approx(closed.item(), rel=1e-10)


def test_fewer_images_than_dimensions():
    random = np.random.RandomState(1)
    fake, real = torch.from_numpy(random.randn(100, 256)), torch.from_numpy(random.randn(100, 256))
    exact = frechet.frechet_distance_of_features(fake=fake, real=real).item()
    assert exact == pytest.approx(257.53192154, rel=1e-10)
    assert frechet.fid(fake=fake, real_moments=frechet.moments(real)).item() == pytest.approx(
        exact, rel=1e-7
    )
    found = frechet.frechet_distance(
        fake_moments=frechet.moments(fake), real_moments=frechet.moments(real)
    )
    assert found.item() == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("count", [100, 1000])
def test_identical_sets_are_at_distance_zero(count: int):
    x = skewed(count, 256, 2)
    assert abs(frechet.fid(fake=x, real_moments=frechet.moments(x)).item()) < 1e-4
    assert abs(frechet.frechet_distance_of_features(fake=x, real=x).item()) < 1e-4


@pytest.mark.parametrize(("count", "expected"), [(2048, 620.2), (5000, 222.6)])
def test_small_sample_bias_of_unit_gaussians(count: int, expected: float):
    reference = gaussian(torch.zeros(2048), torch.eye(2048))
    fake = torch.randn(
        count, 2048, generator=torch.Generator().manual_seed(count), dtype=torch.float64
    )
    assert frechet.fid(fake=fake, real_moments=reference).item() == pytest.approx(
        expected, rel=0.01
    )


@pytest.mark.parametrize(("fakes", "reals"), [(700, 900), (90, 600), (90, 120)])
def test_fid_agrees_with_torch_fidelity_torchmetrics_and_scipy(fakes: int, reals: int):
    fake, real = skewed(fakes, 128, 1, 0.1).double(), skewed(reals, 128, 2).double()
    ours = frechet.fid(fake=fake, real_moments=frechet.moments(real)).item()
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(fake), fid_features_to_statistics(real), False
    )
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    a, b = frechet.moments(fake), frechet.moments(real)
    assert ours == pytest.approx(_compute_fid(a.mean, a.cov, b.mean, b.cov).item(), rel=1e-6)
    root = scipy.linalg.sqrtm((a.cov @ b.cov).numpy())
    slow = (
        (a.mean - b.mean).square().sum().item()
        + a.cov.trace().item()
        + b.cov.trace().item()
        - 2 * np.trace(root).real
    )
    assert ours == pytest.approx(slow, rel=1e-5)


# --- KID
@pytest.mark.parametrize(
    ("shift", "expected"), [(0.25, 0.2028503), (0.5, 0.9710693), (1.0, 7.1420898)]
)
def test_kid_of_shifted_gaussians(shift: float, expected: float):
    d = 64
    m = d * shift**2
    exact = (
        1
        + 3 / d
        + (1 + m / d) ** 3
        + 3 * (1 + m / d) * (2 * m + d) / d**2
        + 6 * m / d**3
        - 2 * (1 + 3 * (m + d) / d**2)
    )
    assert exact == pytest.approx(expected, abs=1e-7)
    fake, real = rows(2000, d, 1), rows(2000, d, 2)
    # Mirrored, so that the means are exact.
    fake, real = torch.cat([fake, -fake]) + shift, torch.cat([real, -real])
    assert kernel.kid_of_all(fake=fake, real=real).item() == pytest.approx(exact, rel=0.01)


def test_kid_agrees_with_torch_fidelity():
    fake, real = skewed(700, 64, 1, 0.2), skewed(650, 64, 2)
    theirs = kid_features_to_metric(
        fake.double(),
        real.double(),
        kid_subsets=20,
        kid_subset_size=300,
        rng_seed=2020,
        verbose=False,
    )
    ours = kernel.kid(fake=fake, real=real, subsets=20, subset_size=300).item()
    assert ours == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)


def test_kid_of_all_images_agrees_with_torchmetrics():
    fake, real = skewed(300, 64, 1, 0.2).double(), skewed(300, 64, 2).double()
    assert kernel.kid(fake=fake, real=real).item() == pytest.approx(
        poly_mmd(fake, real).item(), rel=1e-9
    )


# --- Inception score
def test_inception_score_of_confident_predictions():
    logits = 1000.0 * torch.eye(1000)
    assert inception_score.inception_score(
        fake=logits, splits=10, shuffle=False
    ).item() == pytest.approx(100.0, rel=1e-12)
    assert inception_score.inception_score(fake=logits, splits=1).item() == pytest.approx(
        1000.0, rel=1e-12
    )
    assert inception_score.inception_score(fake=torch.zeros(1000, 1000)).item() == pytest.approx(
        1.0, rel=1e-12
    )
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
    assert scores.std(correction=0).item() == pytest.approx(
        theirs["inception_score_std"], rel=1e-10
    )


# --- precision and recall
def test_precision_and_recall_are_not_swapped():
    fake, real = rows(200, 16, 1, scale=0.1), rows(200, 16, 2, scale=3.0)
    assert manifold.precision(fake=fake, real=real).mean().item() > 0.8
    assert manifold.recall(fake=fake, real=real).item() < 0.3


@pytest.mark.parametrize("dimension", [8, 64])
def test_precision_and_recall_agree_with_torch_fidelity(dimension: int):
    fake, real = skewed(500, dimension, 1, 0.2), skewed(400, dimension, 2)
    theirs = prc_features_to_metric(
        fake, real, prc_neighborhood=3, prc_batch_size=10_000, save_cpu_ram=False, verbose=False
    )
    assert manifold.precision(fake=fake, real=real).mean().item() == pytest.approx(
        theirs["precision"], rel=1e-6
    )
    assert manifold.recall(fake=fake, real=real).item() == pytest.approx(theirs["recall"], rel=1e-6)


# --- CLIP score
def test_clip_score_is_100_times_the_cosine():
    fake = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-3.0, 0.0]])
    text = torch.tensor([[2.0, 0.0], [5.0, 0.0], [1.0, 0.0]])
    assert alignment.clip_score(fake=fake, text=text).tolist() == pytest.approx(
        [100.0, 100 / math.sqrt(2), -100.0]
    )


def test_clip_score_of_the_paper_is_clipped_at_zero_and_weighted():
    fake = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-3.0, 0.0]])
    text = torch.tensor([[2.0, 0.0], [5.0, 0.0], [1.0, 0.0]])
    assert alignment.clip_score_paper(fake=fake, text=text).tolist() == pytest.approx(
        [2.5, 2.5 / math.sqrt(2), 0.0]
    )


def test_clip_scores_agree_with_torchmetrics():
    """torchmetrics' CLIP score, with a model that returns given features."""
    fake, text = rows(40, 16, 1).float(), rows(40, 16, 2).float()
    model = SimpleNamespace(
        config=None, get_image_features=lambda pixels: fake, get_text_features=lambda *tokens: text
    )
    model.to = lambda device: model
    tokens = dict.fromkeys(("pixel_values", "input_ids", "attention_mask"), torch.zeros(40, 1))
    images, prompts = list(torch.zeros(40, 3, 2, 2)), ["a prompt"] * 40
    theirs, _ = _clip_score_update(images, prompts, model, lambda **given: tokens)
    found = alignment.clip_score(fake=fake, text=text)
    assert torch.allclose(found, theirs.double(), atol=1e-4)


def test_retrieval_precision_agrees_with_a_loop():
    fake, text = rows(12, 6, 1), rows(12, 6, 2)
    text[5], text[9] = text[3], text[3]  # one prompt, three images
    fake = fake + 2 * text
    expected = []
    for image, own in zip(fake, text, strict=True):

        def fit(prompt, image=image):
            return float(torch.nn.functional.cosine_similarity(image, prompt, dim=0))

        expected.append(
            float(all(fit(own) > fit(other) for other in text if not torch.equal(own, other)))
        )
    assert 0 < sum(expected) < 12
    assert alignment.retrieval_precision(fake=fake, text=text).tolist() == expected


def test_retrieval_precision_of_random_features():
    found = alignment.retrieval_precision(fake=rows(3000, 20, 1), text=rows(3000, 20, 2))
    assert found.mean().item() == pytest.approx(0.01, abs=0.006)


# --- FID-infinity
@pytest.mark.parametrize(("count", "tolerance"), [(640, 0.1), (2560, 0.06)])
def test_fid_infinity_of_exact_gaussians_is_near_zero(count: int, tolerance: float):
    """Unit Gaussians against their moments: FID is only bias, about D (1 + (D + 1) / 4) / N."""
    reference = gaussian(torch.zeros(128), torch.eye(128))
    fake = rows(count, 128, 5)
    plain, found = (
        frechet.fid(fake=fake, real_moments=reference).item(),
        infinity.fid_infinity(fake=fake, real_moments=reference).item(),
    )
    assert plain == pytest.approx(128 * (1 + 129 / 4) / count, rel=0.15)
    assert abs(found) < tolerance * plain


def test_fid_infinity_is_the_intercept_of_a_line():
    fake, reference = skewed(900, 24, 1, 0.1), frechet.moments(skewed(4000, 24, 2))
    counts, values = infinity.fid_at_counts(fake=fake, real_moments=reference, least=300)
    assert counts.tolist() == np.linspace(300, 900, 15).astype(int).tolist()
    line = np.polynomial.Polynomial.fit(1 / counts.numpy(), values.numpy(), 1).convert()
    assert infinity.fid_infinity(
        fake=fake, real_moments=reference, least=300
    ).item() == pytest.approx(line.coef[0], rel=1e-9)
    shuffled = fake[torch.from_numpy(np.random.RandomState(infinity.SEED).permutation(900))]
    for place in (0, 5, 14):
        count = int(counts[place])
        subset = shuffled[:count] if place % 2 == 0 else shuffled[-count:]
        assert values[place].item() == pytest.approx(
            frechet.fid(fake=subset, real_moments=reference).item(), rel=1e-8
        )


# --- CMMD
def test_cmmd_of_point_masses():
    points = torch.eye(3)
    assert cmmd.cmmd(fake=points[:1], real=points[1:2]).item() == pytest.approx(
        19.90033250, abs=1e-8
    )
    assert cmmd.cmmd(fake=points[:1], real=-points[:1]).item() == pytest.approx(
        39.60265339, abs=1e-8
    )
    assert cmmd.cmmd(fake=points[:1], real=7 * points[:1]).item() == pytest.approx(0, abs=1e-9)


def test_cmmd_of_three_orthogonal_directions():
    """Kernel values are 1 on the diagonal and e = exp(-2 / 200) elsewhere: 1000 * 1.5 (1 - e)."""
    points = torch.eye(3, dtype=torch.float64)
    found = cmmd.cmmd(fake=2 * points[:2], real=5 * points[2:].repeat(7, 1)).item()
    assert found == pytest.approx(1500 * (1 - math.exp(-0.01)), rel=1e-9)


def test_cmmd_does_not_change_where_both_sets_are_repeated():
    """Means include the diagonal, as in the authors' code."""
    fake, real = rows(60, 8, 1, shift=0.3), rows(45, 8, 2)
    once = cmmd.cmmd(fake=fake, real=real).item()
    found = cmmd.cmmd(fake=fake.repeat(20, 1), real=real.repeat(20, 1)).item()
    assert found == pytest.approx(once, rel=1e-9)


# --- MIND
def mind_of_torch_fidelity(fake: Tensor, real: Tensor, projections: int) -> float:
    """The definition and the random draws that torch-fidelity documents (float32, seed 2020)."""
    generator, count = torch.Generator().manual_seed(2020), min(len(fake), len(real))
    x = fake[torch.randperm(len(fake), generator=generator)[:count]] if len(fake) > count else fake
    y = real[torch.randperm(len(real), generator=generator)[:count]] if len(real) > count else real
    directions = torch.randn(projections, x.shape[1], generator=generator)
    directions = directions / directions.norm(dim=1, keepdim=True)
    a, b = (np.sort(side.float().numpy() @ directions.T.numpy(), axis=0) for side in (x, y))
    return float(3 * x.shape[1] * ((a - b) ** 2).mean())


@pytest.mark.parametrize(("fakes", "reals"), [(300, 300), (300, 420), (420, 300)])
def test_mind_agrees_with_torch_fidelity(fakes: int, reals: int):
    fake, real = skewed(fakes, 64, 1, 0.2), skewed(reals, 64, 2)
    assert mind.mind(fake=fake, real=real).item() == pytest.approx(
        mind_of_torch_fidelity(fake, real, 1000), rel=1e-5
    )


def test_mind_of_one_dimension_is_optimal_transport():
    """In one dimension all directions are equal: the best one-to-one assignment is the oracle."""
    fake, real = rows(20, 1, 1, shift=0.4), rows(20, 1, 2)
    cost = (fake - real.T).square().numpy()
    best = cost[scipy.optimize.linear_sum_assignment(cost)].mean()
    found = mind.mind(fake=fake, real=real, projections=5).item()
    assert found == pytest.approx(3 * best, rel=1e-10)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_mind_of_a_shift(shift: float):
    found = mind.mind(fake=rows(4000, 64, 1), real=rows(4000, 64, 2, shift=shift)).item()
    assert found == pytest.approx(3 * 64 * shift**2, rel=0.1)


# --- density and coverage
@pytest.mark.parametrize("dimension", [4, 64])
def test_density_and_coverage_agree_with_brute_force(dimension: int):
    fake, real = skewed(300, dimension, 1, 0.1), skewed(250, dimension, 2)
    within, across = (
        scipy.spatial.distance.cdist(real.double(), other.double()) for other in (real, fake)
    )
    radii = np.sort(within, axis=1)[:, 5]  # the point itself is the first
    assert coverage.density(fake=fake, real=real).numpy() == pytest.approx(
        (across < radii[:, None]).sum(axis=0) / 5
    )
    assert coverage.coverage(fake=fake, real=real).item() == pytest.approx(
        (across.min(axis=1) < radii).mean()
    )


def test_balls_of_density_are_open():
    """prdc compares by <, precision by <=: they differ for an image exactly on the edge."""
    # On a line; the 5th neighbour of 0 is at 5.
    real = torch.arange(6.0)[:, None] * torch.tensor([[1.0, 0.0]])
    fake = torch.tensor([[-5.0, 0.0], [-4.99, 0.0]])
    assert coverage.density(fake=fake, real=real).tolist() == [0.0, 0.2]
    assert manifold.precision(fake=fake, real=real, k=5).tolist() == [1.0, 1.0]


def test_coverage_of_a_perfect_generator():
    assert coverage.expected_coverage(fake=10_000, real=10_000) == pytest.approx(0.968773, abs=5e-7)
    for fakes, reals in ((400, 400), (150, 600)):
        found = [
            coverage.coverage(fake=rows(fakes, 6, seed), real=rows(reals, 6, seed + 100)).item()
            for seed in range(20)
        ]
        assert np.mean(found) == pytest.approx(
            coverage.expected_coverage(fake=fakes, real=reals), abs=0.012
        )


# --- Vendi score
def vendi_of_kernel(kernel: torch.Tensor) -> float:
    """The score of features whose cosines are this kernel."""
    values, vectors = torch.linalg.eigh(kernel)
    return diversity.vendi(fake=vectors * values.clamp_min(0).sqrt()).item()


def test_vendi_scores_published_by_its_authors():
    places = torch.tensor([0, 0, 10, 10, 20, 20]).double()
    kernel_of_places = (-(places[:, None] - places).abs()).exp()
    assert vendi_of_kernel(kernel_of_places) == pytest.approx(2.9999999959, abs=1e-10)
    three = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    assert vendi_of_kernel(three) == pytest.approx(2.1573004834, abs=1e-10)


def test_vendi_from_either_gram_matrix():
    """Five directions, four times each, have the score 5; N > D and N <= D give the same score."""
    assert diversity.vendi(fake=torch.eye(5).repeat(4, 1)).item() == pytest.approx(5, rel=1e-12)
    for count in (30, 7):
        fake = skewed(count, 12, 3)
        unit = torch.nn.functional.normalize(fake.double())
        assert diversity.vendi(fake=fake).item() == pytest.approx(
            vendi_of_kernel(unit @ unit.T), rel=1e-9
        )


# --- memorization
def test_memorization_of_held_out_points_in_a_plane():
    """The probability that two points of a plane are mutual nearest neighbours is known."""
    points = rows(20_000, 2, 1)
    found = memorization.memorization(fake=points[:10_000], real=points[10_000:]).mean().item()
    assert found == pytest.approx(6 * math.pi / (8 * math.pi + 3 * math.sqrt(3)), abs=0.015)


def test_memorization_is_the_opposite_of_authenticity():
    """Alaa et al. 2022: an image is authentic if its nearest real image is further away than that
    real image's own nearest neighbour.
    """
    fake, real = rows(80, 8, 1), rows(60, 8, 2)
    across, within = (scipy.spatial.distance.cdist(x.numpy(), real.numpy()) for x in (fake, real))
    np.fill_diagonal(within, np.inf)
    authentic = across.min(axis=1) > within.min(axis=1)[across.argmin(axis=1)]
    assert 0 < authentic.mean() < 1
    assert (
        memorization.memorization(fake=fake, real=real).tolist()
        == (~authentic).astype(float).tolist()
    )
