"""The GAN's generator and the encoder that infers its noise."""

from typing import Any

import pytest
import torch
from random_texts import padded, reversed_order, texts
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from evalkit.models.gan import WIDTHS, Gan, LatentEncoder, Posterior
from evalkit.models.text import TextFeatures, TextTower


def _gan(size: int = 32, **others: Any) -> Gan:
    torch.manual_seed(0)
    return Gan(TextTower(10, 6, depth=1, ordered=True), size=size, **others).eval()


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_fading_is_continuous_at_both_ends(size: int) -> None:
    network, text, noise = _gan(size), texts(2), torch.randn(2, 64)
    small = torch.atanh(network(text, noise, size // 2))
    enlarged = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False).tanh()
    faded = {fade: network(text, noise, size, fade) for fade in (0.0, 0.9999, 1.0)}
    assert torch.allclose(faded[0.0], enlarged, atol=1e-4)
    assert torch.allclose(faded[1.0], faded[0.9999], atol=1e-2)
    assert not torch.allclose(faded[0.0], faded[1.0], atol=1e-2)


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128])
def test_images_have_the_size_of_the_network(size: int) -> None:
    assert _gan(size)(texts(2), torch.randn(2, 64)).shape == (2, 3, size, size)


def test_other_sizes_need_widths() -> None:
    widths = {4: 8, 8: 8, 16: 8, 32: 4, 64: 4, 128: 4, 256: 4}
    assert _gan(256, widths=widths)(texts(2), torch.randn(2, 64)).shape == (2, 3, 256, 256)
    assert list(WIDTHS) == [4, 8, 16, 32, 64, 128]


@pytest.mark.parametrize("size", [4, 48, 256])
def test_a_size_without_widths_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"No network for {size} pixels"):
        _gan(size)


def test_noise_depends_on_its_own_seed_only() -> None:
    network = _gan()
    together = network.noise_of([7, 8])
    assert torch.equal(together[1:], network.noise_of([8]))
    assert not torch.equal(together[0], together[1])


@torch.no_grad()
def test_less_noise_gives_less_variety() -> None:
    network, noise = _gan(), torch.randn(16, 64)
    text = texts(1).select(torch.zeros(16, dtype=torch.int64))
    deviations = [
        float(network(text, truncation * noise).std(0).mean())
        for truncation in (0.0, 0.3, 0.6, 1.0)
    ]
    assert deviations[0] < 1e-6
    assert deviations == sorted(deviations)
    assert deviations[3] > 1.5 * deviations[1]


@torch.no_grad()
def test_images_depend_on_every_word_and_not_on_padding() -> None:
    """Even if the pooled text stays the same."""
    network, text, noise = _gan(), texts(2), torch.randn(2, 64)
    other_words = text._replace(tokens=reversed_order(text).tokens)
    image = network(text, noise)
    assert not torch.allclose(image, network(other_words, noise), atol=1e-2)
    assert torch.allclose(image, network(padded(text), noise), atol=1e-5)


@torch.no_grad()
def test_the_text_encoder_distinguishes_word_orders() -> None:
    network = _gan()
    for weight in network.text.blocks.parameters():  # new blocks are the identity
        weight.add_(0.05 * torch.randn_like(weight))
    text = network.encode_text(torch.tensor([[2, 3, 4, 0, 0, 0], [4, 3, 2, 0, 0, 0]]))
    assert not torch.allclose(text.tokens[0, :3], text.tokens[1, :3].flip(0), atol=1e-2)


@torch.no_grad()
def test_texts_end_with_an_end_token_where_the_context_has_room() -> None:
    network = _gan()
    context = network.text.position.shape[0]
    ids = torch.tensor([[2, 0, 0], [2, 3, 4]])
    text = network.encode_text(F.pad(ids, (0, context - 3)))
    assert text.mask.sum(1).tolist() == [2, 4]
    # positions of the image can distinguish the word of a one-word text from no word
    assert not torch.allclose(text.tokens[0, 0], text.tokens[0, 1], atol=1e-2)
    assert torch.allclose(text.tokens[:, :4], network.encode_text(ids).tokens, atol=1e-6)
    full = torch.arange(2, 2 + context)[None]
    assert torch.equal(network.encode_text(full).tokens, network.text(full).tokens)


@pytest.mark.parametrize("size", [8, 32, 128])
def test_the_latent_encoder_infers_noise_from_any_size(size: int) -> None:
    posterior = LatentEncoder(noise=5, size=size)(torch.rand(3, 3, size, size) * 2 - 1)
    assert posterior.mean.shape == posterior.log_variance.shape == (3, 5)


@torch.no_grad()
def test_a_posterior_is_a_normal_distribution() -> None:
    mean = torch.tensor([[0.0, 0.0], [1.0, -2.0]])
    deviation = torch.tensor([[1.0, 1.0], [1.5, 0.2]])
    posterior, peer = Posterior(mean, 2 * deviation.log()), Normal(mean, deviation)
    assert torch.allclose(posterior.kl_divergence(), kl_divergence(peer, Normal(0.0, 1.0)).sum(1))
    normal = torch.randn(20_000, 2, 2, generator=torch.Generator().manual_seed(0))
    samples = posterior.sample(normal)
    assert torch.allclose(samples.mean(0), mean, atol=0.05)
    assert torch.allclose(samples.std(0), deviation, atol=0.05)


def test_reconstruction_teaches_the_generator_to_use_its_noise() -> None:
    """Images of one text are dark or bright. Without the encoder, the mean of both minimises the
    loss; with it, the noise decides.
    """
    text = TextFeatures(
        torch.zeros(32, 1, 128), torch.ones(32, 1, dtype=torch.bool), torch.zeros(32, 128)
    )
    real = (0.8 * (2.0 * (torch.arange(32) % 2) - 1))[:, None, None, None].expand(-1, 3, 8, 8)
    deviations: list[float] = []
    for encoded in (False, True):
        network = _gan(8, noise=4, widths={4: 8, 8: 8}).train()
        encoder = LatentEncoder(noise=4, size=8, width=8)
        optimiser = torch.optim.Adam([*network.parameters(), *encoder.parameters()], lr=3e-3)
        for _ in range(60):
            posterior, normal = encoder(real), torch.randn(32, 4)
            images = network(text, posterior.sample(normal) if encoded else normal)
            penalty = 0.02 * posterior.kl_divergence().mean() if encoded else 0
            loss = 10 * (images - real).abs().mean() + penalty
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            deviations.append(float(network(text, torch.randn(32, 4)).mean((1, 2, 3)).std()))
    assert deviations[1] > 0.3
    assert deviations[0] < 0.5 * deviations[1]
