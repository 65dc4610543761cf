"""The adversarial losses: known values, gradients, symmetries, and torch's own cross-entropy."""

from math import log

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evalkit.core import EvalkitError
from evalkit.models.discriminators import Discriminator
from evalkit.models.text import TextFeatures
from evalkit.training.gan_losses import (
    Loss,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    loss_of,
)

KINDS: tuple[Loss, ...] = ("hinge", "non-saturating")


def _scores(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)


def _gradient(loss: Tensor, scores: Tensor) -> Tensor:
    return torch.autograd.grad(loss, scores, retain_graph=True)[0]


def _three() -> tuple[Tensor, Tensor, Tensor]:
    """Scores of two discriminators for five images: real, generated, mismatched."""
    generator = torch.Generator().manual_seed(0)
    real, fake, mismatched = (
        torch.randn(2, 5, generator=generator).requires_grad_(True) for _ in range(3)
    )
    return real, fake, mismatched


@pytest.mark.parametrize("mismatched", [None, 0.0])
@pytest.mark.parametrize(("kind", "each"), [("hinge", 1.0), ("non-saturating", log(2))])
def test_an_undecided_discriminator_pays_for_real_images_and_for_fakes(
    kind: Loss, each: float, mismatched: float | None
) -> None:
    """At scores of 0: the margin of 1, or the entropy of a coin, for each of the two."""
    third = None if mismatched is None else _scores(mismatched)
    loss = discriminator_loss(_scores(0), _scores(0), third, kind=kind, smoothing=0)
    assert loss.item() == pytest.approx(2 * each)


def test_the_hinge_by_hand() -> None:
    """Real images are short of the margin by 0.75 and 0, fakes by 0.5 and 0."""
    real, fake = _scores(0.25, 3), _scores(-0.5, -4)
    loss = discriminator_loss(real, fake, None, kind="hinge", smoothing=0)
    assert loss.item() == 0.375 + 0.25
    loss = discriminator_loss(
        _scores(0.25), _scores(-0.5), _scores(2), kind="hinge", smoothing=0.25
    )
    assert loss.item() == 0.5 + (0.5 + 3) / 2
    assert generator_loss(_scores(1, -4), kind="hinge").item() == 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_certain_and_correct_discriminator_pays_nothing(kind: Loss) -> None:
    loss = discriminator_loss(_scores(50), _scores(-50), _scores(-50), kind=kind, smoothing=0)
    assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_real_images_and_fakes_are_mirror_images(kind: Loss) -> None:
    real, fake, _ = _three()
    loss = discriminator_loss(real, fake, None, kind=kind, smoothing=0)
    mirrored = discriminator_loss(-fake, -real, None, kind=kind, smoothing=0)
    assert torch.allclose(loss, mirrored)


@pytest.mark.parametrize("kind", KINDS)
def test_descent_raises_real_scores_and_lowers_the_others(kind: Loss) -> None:
    real, fake, mismatched = _scores(0.5, -2), _scores(-0.5, 2), _scores(0.9, 0)
    discriminator_loss(real, fake, mismatched, kind=kind, smoothing=0).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert mismatched.grad is not None
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    assert (mismatched.grad > 0).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_the_logistic_loss_is_the_cross_entropy_with_the_smoothed_label(smoothing: float) -> None:
    real, fake, _ = _three()
    of_real = F.binary_cross_entropy_with_logits(real, torch.full_like(real, 1 - smoothing))
    of_fake = F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    loss = discriminator_loss(real, fake, None, kind="non-saturating", smoothing=smoothing)
    assert torch.allclose(loss, of_real + of_fake)


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_image_with_the_caption_of_another_is_half_of_the_fakes(kind: Loss) -> None:
    real, fake, mismatched = _three()
    without = discriminator_loss(real, fake, None, kind=kind, smoothing=0)
    matching = discriminator_loss(real, fake, mismatched, kind=kind, smoothing=0)
    same = discriminator_loss(real, fake, fake, kind=kind, smoothing=0)
    assert torch.allclose(same, without)  # the weights of the fakes sum to one
    assert torch.allclose(2 * _gradient(matching, fake), _gradient(without, fake))
    assert torch.equal(_gradient(matching, real), _gradient(without, real))
    swapped = discriminator_loss(real, mismatched, fake, kind=kind, smoothing=0)
    assert torch.allclose(swapped, matching)


def test_only_a_matching_aware_discriminator_depends_on_the_text() -> None:
    """Where generated images match their captions, only their looks tell them from real ones."""
    agreement: dict[bool, float] = {}
    for aware in (False, True):
        weights = torch.zeros(2, requires_grad=True)  # of looks and of agreement
        descent = torch.optim.SGD([weights], lr=0.1)
        for _ in range(100):
            real, fake, mismatched = (
                weights @ torch.tensor(features)
                for features in ([[1.0], [1.0]], [[-1.0], [1.0]], [[1.0], [-1.0]])
            )  # [N = 1] each
            third = mismatched if aware else None
            loss = discriminator_loss(real, fake, third, kind="non-saturating", smoothing=0)
            descent.zero_grad()
            loss.backward()
            descent.step()
        agreement[aware] = weights[1].item()
    assert abs(agreement[False]) < 1e-6
    assert agreement[True] > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_smoothing_concerns_real_images_only(kind: Loss) -> None:
    real, fake, mismatched = _scores(0.95, -2), _scores(0.95, -2), _scores(0.95, -2)
    hard, soft = (
        discriminator_loss(real, fake, mismatched, kind=kind, smoothing=smoothing)
        for smoothing in (0.0, 0.1)
    )
    for scores, same in ((real, False), (fake, True), (mismatched, True)):
        assert torch.equal(_gradient(hard, scores), _gradient(soft, scores)) == same


@pytest.mark.parametrize("smoothing", [0.1, 0.25])
def test_smoothing_moves_the_optimum_of_the_logistic_loss(smoothing: float) -> None:
    """D* = (1 - smoothing) p(real) / (p(real) + p(fake)) (Salimans et al. 2016)."""

    def slope(real: Tensor, fake: Tensor) -> float:
        loss = discriminator_loss(real, fake, None, kind="non-saturating", smoothing=smoothing)
        return _gradient(loss, real).item()

    only_real = log((1 - smoothing) / smoothing)  # where there are no fakes
    assert slope(_scores(only_real), _scores(0)) == pytest.approx(0, abs=1e-6)
    assert slope(_scores(only_real + 1), _scores(0)) > 0.01  # more certain costs
    chance = (1 - smoothing) / 2  # where both are equally frequent
    both = _scores(log(chance / (1 - chance)))
    assert slope(both, both) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("distance", "slope"), [(0.01, 0), (-0.01, -1)])
def test_smoothing_moves_the_margin_of_the_hinge(distance: float, slope: float) -> None:
    real = _scores(1 - 0.25 + distance)
    loss = discriminator_loss(real, _scores(0), None, kind="hinge", smoothing=0.25)
    assert _gradient(loss, real).item() == slope


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_hinge_is_flat_beyond_the_margin(kind: Loss) -> None:
    real, fake, mismatched = _scores(1.5, 3), _scores(-1.5, -3), _scores(-2, -1.01)
    discriminator_loss(real, fake, mismatched, kind=kind, smoothing=0).backward()
    for scores in (real, fake, mismatched):
        assert scores.grad is not None
        assert ((scores.grad == 0) if kind == "hinge" else (scores.grad != 0)).all()


@pytest.mark.parametrize(
    ("kind", "score", "slope"),
    [
        ("hinge", -20, -1),
        ("hinge", 20, -1),
        ("non-saturating", -20, -1),  # log(1 - D), the saturating loss, has a slope of 0 here
        ("non-saturating", 0, -0.5),
        ("non-saturating", 20, 0),
    ],
)
def test_the_generator_learns_most_from_a_certain_discriminator(
    kind: Loss, score: float, slope: float
) -> None:
    scores = _scores(score)
    assert _gradient(generator_loss(scores, kind=kind), scores).item() == pytest.approx(
        slope, abs=1e-6
    )


def test_the_non_saturating_loss_is_the_cross_entropy_with_the_label_of_real_images() -> None:
    _, fake, _ = _three()
    expected = F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
    assert torch.allclose(generator_loss(fake, kind="non-saturating"), expected)


def test_the_penalty_of_a_linear_score_is_the_square_of_its_slope() -> None:
    slope = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    images = torch.rand(5, 3, 4, 4, requires_grad=True)
    penalty = gradient_penalty((images * slope).sum((1, 2, 3)), images)
    assert torch.allclose(penalty, slope.square().sum())
    assert torch.allclose(_gradient(penalty, slope), 2 * slope)  # it can be minimised


def test_the_penalty_is_the_mean_over_images() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 3.0]], requires_grad=True)
    penalty = gradient_penalty(images.square().sum(1), images)
    assert penalty.item() == pytest.approx((4 + 36) / 2)


def test_the_penalty_flattens_a_discriminator_around_real_images() -> None:
    slopes: list[float] = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        discriminator = nn.Sequential(nn.Linear(2, 16), nn.Softplus(), nn.Linear(16, 1))
        descent = torch.optim.Adam(discriminator.parameters(), lr=0.02)
        real, fake = (torch.randn(64, 2) * 0.1 + centre for centre in (1.0, -1.0))
        real.requires_grad_(True)
        for _ in range(100):
            of_real, of_fake = discriminator(real)[:, 0], discriminator(fake)[:, 0]
            loss = discriminator_loss(of_real, of_fake, None, kind="non-saturating", smoothing=0)
            descent.zero_grad()
            (loss + 0.5 * weight * gradient_penalty(of_real, real)).backward()
            descent.step()
        slopes.append(gradient_penalty(discriminator(real)[:, 0], real).item())
    assert slopes[1] < 0.2 * slopes[0]


@pytest.mark.parametrize("identical", [False, True])
def test_the_penalty_of_our_discriminator_is_finite(identical: bool) -> None:
    """Identical images have a spread of zero, where the square root has no derivative."""
    torch.manual_seed(0)
    discriminator = Discriminator(size=8, widths={4: 4, 8: 4})
    text = TextFeatures(
        torch.zeros(4, 1, 128), torch.ones(4, 1, dtype=torch.bool), torch.zeros(4, 128)
    )
    images = torch.rand(1, 3, 8, 8).repeat(4, 1, 1, 1) if identical else torch.rand(4, 3, 8, 8)
    images.requires_grad_(True)
    penalty = gradient_penalty(discriminator(images, [text])[0], images)
    penalty.backward()
    assert 0 < penalty.item() < float("inf")
    gradients = [p.grad for p in discriminator.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_an_unknown_loss_is_refused() -> None:
    assert loss_of("hinge") == "hinge"
    message = r"gan\.loss is 'wasserstein', expected hinge or non-saturating"
    with pytest.raises(EvalkitError, match=message):
        generator_loss(_scores(0), kind="wasserstein")  # pyright: ignore[reportArgumentType]
