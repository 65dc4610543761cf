"""Every technique of the adversarial losses against what its paper says it does."""

from math import exp, log, log1p

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evalkit.core import EvalkitError
from evalkit.models.gan_critics import Discriminator
from evalkit.models.text import TextFeatures
from evalkit.training.gan_losses import Kind, discriminator_loss, generator_loss, gradient_penalty, loss_of

KINDS: tuple[Kind, ...] = ("hinge", "non-saturating")


def _scores(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)


def _gradient(loss: Tensor, scores: Tensor) -> Tensor:
    return torch.autograd.grad(loss, scores, retain_graph=True)[0]


def _three() -> tuple[Tensor, Tensor, Tensor]:
    """Scores of two critics for five pictures: real, drawn, mismatched."""
    generator = torch.Generator().manual_seed(0)
    real, fake, mismatched = (
        torch.randn(2, 5, generator=generator).requires_grad_(True) for _ in range(3)
    )
    return real, fake, mismatched


def test_hinge_values() -> None:
    assert discriminator_loss(
        _scores(0.25, 3), _scores(-0.5, -4), None, kind="hinge", smoothing=0
    ).item() == pytest.approx(0.375 + 0.25)
    assert discriminator_loss(
        _scores(0.25), _scores(-0.5), _scores(2), kind="hinge", smoothing=0.25
    ).item() == pytest.approx(0.5 + 0.25 + 1.5)
    assert generator_loss(_scores(1, -4), kind="hinge").item() == 1.5


def test_logistic_values() -> None:
    refused = log1p(exp(-0.5))  # of a score of -0.5: -log(1 - sigmoid)
    loss = discriminator_loss(_scores(2), _scores(-0.5), None, kind="non-saturating", smoothing=0)
    assert loss.item() == pytest.approx(log1p(exp(-2)) + refused)
    loss = discriminator_loss(_scores(2), _scores(-0.5), _scores(1), kind="non-saturating", smoothing=0)
    assert loss.item() == pytest.approx(log1p(exp(-2)) + 0.5 * refused + 0.5 * log1p(exp(1)))
    assert generator_loss(_scores(1, -4), kind="non-saturating").item() == pytest.approx(
        (log1p(exp(-1)) + log1p(exp(4))) / 2
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_the_logistic_loss_is_the_cross_entropy_with_the_smoothed_label(smoothing: float) -> None:
    real, fake, _ = _three()
    of_real = F.binary_cross_entropy_with_logits(real, torch.full_like(real, 1 - smoothing))
    of_fake = F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    assert torch.allclose(
        discriminator_loss(real, fake, None, kind="non-saturating", smoothing=smoothing), of_real + of_fake
    )


def test_the_matching_aware_hinge_is_what_the_bundled_weights_were_trained_with() -> None:
    good, bad, mismatched = _three()
    before = (
        F.relu(1 - good).mean() + 0.5 * F.relu(1 + bad).mean() + 0.5 * F.relu(1 + mismatched).mean()
    )
    assert torch.equal(discriminator_loss(good, bad, mismatched, kind="hinge", smoothing=0), before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_picture_with_the_text_of_another_is_half_of_the_fakes(kind: Kind) -> None:
    real, fake, mismatched = _three()
    alone = discriminator_loss(real, fake, None, kind=kind, smoothing=0)
    aware = discriminator_loss(real, fake, mismatched, kind=kind, smoothing=0)
    assert torch.allclose(
        discriminator_loss(real, fake, fake, kind=kind, smoothing=0), alone
    )  # the weights of the fakes sum to one
    assert torch.allclose(2 * _gradient(aware, fake), _gradient(alone, fake))
    assert torch.equal(_gradient(aware, real), _gradient(alone, real))
    assert (_gradient(aware, mismatched) >= 0).all()  # descent lowers the scores of wrong pairs


def test_only_a_matching_aware_critic_listens_to_the_text() -> None:
    """Drawn pictures that fit their texts: what sets real ones apart is their looks, so that only
    mismatched ones teach agreement.
    """
    agreement: dict[bool, float] = {}
    for aware in (False, True):
        weights = torch.zeros(2, requires_grad=True)  # of looks and of agreement
        descent = torch.optim.SGD([weights], lr=0.1)
        for _ in range(100):
            real, fake, mismatched = (
                weights @ torch.tensor(features)
                for features in ([[1.0], [1.0]], [[-1.0], [1.0]], [[1.0], [-1.0]])
            )  # [N = 1] each
            loss = discriminator_loss(
                real, fake, mismatched if aware else None, kind="non-saturating", smoothing=0
            )
            descent.zero_grad()
            loss.backward()
            descent.step()
        agreement[aware] = weights[1].item()
    assert abs(agreement[False]) < 1e-6
    assert agreement[True] > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_smoothing_asks_less_of_real_pictures_only(kind: Kind) -> None:
    real, fake, mismatched = _scores(0.95, -2), _scores(0.95, -2), _scores(0.95, -2)
    hard, soft = (
        discriminator_loss(real, fake, mismatched, kind=kind, smoothing=smoothing)
        for smoothing in (0.0, 0.1)
    )
    for scores, same in ((real, False), (fake, True), (mismatched, True)):
        assert torch.equal(_gradient(hard, scores), _gradient(soft, scores)) == same


@pytest.mark.parametrize("smoothing", [0.1, 0.25])
def test_smoothing_moves_the_optimum(smoothing: float) -> None:
    """D* = (1 - smoothing) p(real) / (p(real) + p(fake)) (Salimans et al. 2016)."""
    target = log(
        (1 - smoothing) / smoothing
    )  # where there are real pictures only: logit(1 - smoothing)
    real = _scores(target)
    loss = discriminator_loss(real, _scores(0), None, kind="non-saturating", smoothing=smoothing)
    assert _gradient(loss, real).item() == pytest.approx(0, abs=1e-6)
    surer = _scores(target + 1)
    loss = discriminator_loss(surer, _scores(0), None, kind="non-saturating", smoothing=smoothing)
    assert (
        _gradient(loss, surer).item() > 0.01
    )  # surer than that costs, which without smoothing it never does
    chance = (1 - smoothing) / 2  # where both are equally frequent
    both = _scores(log(chance / (1 - chance)))
    loss = discriminator_loss(both, both, None, kind="non-saturating", smoothing=smoothing)
    assert _gradient(loss, both).item() == pytest.approx(0, abs=1e-6)
    beyond, within = (
        _scores(1 - smoothing + 0.01),
        _scores(1 - smoothing - 0.01),
    )  # the hinge stops teaching at the smaller margin
    assert (
        _gradient(
            discriminator_loss(beyond, _scores(0), None, kind="hinge", smoothing=smoothing), beyond
        ).item()
        == 0
    )
    assert (
        _gradient(
            discriminator_loss(within, _scores(0), None, kind="hinge", smoothing=smoothing), within
        ).item()
        == -1
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_hinge_rests_beyond_the_margin_and_the_logistic_loss_does_not(kind: Kind) -> None:
    real, fake, mismatched = _scores(1.5, 3), _scores(-1.5, -3), _scores(-2, -1.01)
    discriminator_loss(real, fake, mismatched, kind=kind, smoothing=0).backward()
    for scores in (real, fake, mismatched):
        assert scores.grad is not None
        assert ((scores.grad == 0) if kind == "hinge" else (scores.grad != 0)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_learns_most_where_the_critic_is_sure(kind: Kind) -> None:
    sure = _scores(-20)
    saturating = -F.softplus(
        sure
    ).mean()  # log(1 - D), what the generator minimises in the game itself
    assert abs(_gradient(saturating, sure).item()) < 1e-8
    assert _gradient(generator_loss(sure, kind=kind), sure).item() == pytest.approx(-1)


def test_the_penalty_of_a_linear_score_is_the_square_of_its_slope() -> None:
    slope = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    pictures = torch.rand(5, 3, 4, 4, requires_grad=True)
    penalty = gradient_penalty((pictures * slope).sum((1, 2, 3)), pictures)
    assert torch.allclose(penalty, slope.square().sum())
    assert torch.allclose(_gradient(penalty, slope), 2 * slope)  # it can be descended


def test_the_penalty_is_the_mean_over_pictures() -> None:
    pictures = torch.tensor([[1.0, 0.0], [0.0, 3.0]], requires_grad=True)
    assert gradient_penalty(pictures.square().sum(1), pictures).item() == pytest.approx(
        (4 + 36) / 2
    )


def test_the_penalty_flattens_a_critic_around_real_pictures() -> None:
    slopes: list[float] = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        critic = nn.Sequential(nn.Linear(2, 16), nn.Softplus(), nn.Linear(16, 1))
        descent = torch.optim.Adam(critic.parameters(), lr=0.02)
        real, fake = (torch.randn(64, 2) * 0.1 + centre for centre in (1.0, -1.0))
        real.requires_grad_(True)
        for _ in range(100):
            of_real = critic(real)[:, 0]
            loss = discriminator_loss(
                of_real, critic(fake)[:, 0], None, kind="non-saturating", smoothing=0
            )
            descent.zero_grad()
            (loss + 0.5 * weight * gradient_penalty(of_real, real)).backward()
            descent.step()
        slopes.append(gradient_penalty(critic(real)[:, 0], real).item())
    assert slopes[1] < 0.2 * slopes[0]


@pytest.mark.parametrize("alike", [False, True])
def test_the_penalty_of_our_critic_is_finite(alike: bool) -> None:
    """Where pictures are alike, their spread is zero, and so the derivative of its root must not be
    asked for.
    """
    torch.manual_seed(0)
    critic = Discriminator(size=8, widths={4: 4, 8: 4})
    text = TextFeatures(
        torch.zeros(4, 1, 128), torch.ones(4, 1, dtype=torch.bool), torch.zeros(4, 128)
    )
    pictures = (
        torch.rand(1, 3, 8, 8).repeat(4, 1, 1, 1) if alike else torch.rand(4, 3, 8, 8)
    ).requires_grad_(True)
    penalty = gradient_penalty(critic(pictures, [text])[0], pictures)
    penalty.backward()
    assert 0 < penalty.item() < float("inf")
    assert all(
        parameter.grad.isfinite().all()
        for parameter in critic.parameters()
        if parameter.grad is not None
    )


def test_a_kind_that_does_not_exist_is_one_sentence() -> None:
    assert loss_of("hinge") == "hinge"
    with pytest.raises(
        EvalkitError, match=r"gan\.loss is 'wasserstein', expected hinge or non-saturating"
    ):
        generator_loss(_scores(0), kind="wasserstein")  # pyright: ignore[reportArgumentType]
