from typing import Any

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from evalkit.models.discriminators import Discriminator, FeatureDiscriminator, late_interaction
from evalkit.models.gan import WIDTHS, Gan, LatentEncoder, Posterior
from evalkit.models.mini_inception import MiniInception
from evalkit.models.text import TextFeatures, TextTower


def _text(count: int) -> TextFeatures:
    """Texts of six words."""
    generator = torch.Generator().manual_seed(1)
    words = torch.randn(count, 6, 128, generator=generator)
    return TextFeatures(
        words, torch.ones(count, 6, dtype=torch.bool), F.normalize(words.sum(1), dim=1)
    )


def _gan(size: int = 32, **others: Any) -> Gan:
    torch.manual_seed(0)
    return Gan(TextTower(10, 6, depth=1, ordered=True), size=size, **others).eval()


def _backwards(text: TextFeatures) -> TextFeatures:
    return text.select(torch.arange(len(text.mask)).flip(0))


@torch.no_grad()
def _clear_sighted() -> Discriminator:
    """An untrained critic whose weights keep the size of what passes through, so that differences
    reach its score.
    """
    critic = Discriminator(spectral=False).eval()
    for weight in critic.parameters():
        weight.mul_(
            6**0.5 if weight.ndim > 1 else 0
        )  # from PyTorch's initial spread to that of He et al. (2015)
    return critic


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_the_fade_is_continuous_at_both_ends(size: int) -> None:
    network, text, noise = _gan(size), _text(2), torch.randn(2, 64)
    small = torch.atanh(network(text, noise, size // 2))
    enlarged = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False).tanh()
    assert torch.allclose(network(text, noise, size, 0.0), enlarged, atol=1e-4)
    assert torch.allclose(
        network(text, noise, size, 1.0), network(text, noise, size, 0.9999), atol=1e-2
    )
    assert not torch.allclose(
        network(text, noise, size, 0.0), network(text, noise, size, 1.0), atol=1e-2
    )


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_the_discriminator_fades_from_the_smaller_size(size: int) -> None:
    torch.manual_seed(0)
    critic, pictures, text = (
        Discriminator(size=size).eval(),
        torch.rand(4, 3, size, size) * 2 - 1,
        _text(4),
    )
    [half] = critic(F.avg_pool2d(pictures, 2), [text])
    assert torch.allclose(critic(pictures, [text], 0.0)[0], half, atol=1e-5)
    assert torch.allclose(
        critic(pictures, [text], 0.9999)[0], critic(pictures, [text], 1.0)[0], atol=1e-3
    )
    assert not torch.allclose(
        critic(pictures, [text], 0.0)[0], critic(pictures, [text], 1.0)[0], atol=1e-4
    )


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128])
def test_every_size_is_drawn_and_scored(size: int) -> None:
    pictures = _gan(size)(_text(2), torch.randn(2, 64))
    assert pictures.shape == (2, 3, size, size)
    for critic in (
        Discriminator(size=size),
        FeatureDiscriminator(MiniInception(5, 4, 3, 8), width=16),
    ):
        scores = critic.eval()(pictures, [_text(2), _backwards(_text(2))])
        assert [score.shape for score in scores] == [(2,), (2,)]
    assert list(WIDTHS) == [4, 8, 16, 32, 64, 128]


def test_the_feature_critic_averages_larger_pictures() -> None:
    torch.manual_seed(0)
    critic, pictures, text = (
        FeatureDiscriminator(MiniInception(5, 4, 3, 8), width=16).eval(),
        torch.rand(2, 3, 128, 128) * 2 - 1,
        _text(2),
    )
    assert torch.allclose(
        critic(pictures, [text])[0], critic(F.avg_pool2d(pictures, 4), [text])[0], atol=1e-5
    )


@pytest.mark.parametrize("size", [4, 48, 256])
def test_a_size_without_widths_is_refused(size: int) -> None:
    for network in (_gan, Discriminator):
        with pytest.raises(ValueError, match=f"No network for {size} pixels"):
            network(size=size)


def test_sizes_beyond_come_by_configuration() -> None:
    widths = {4: 8, 8: 8, 16: 8, 32: 4, 64: 4, 128: 4, 256: 4}
    pictures = _gan(256, widths=widths)(_text(2), torch.randn(2, 64))
    assert pictures.shape == (2, 3, 256, 256)
    assert Discriminator(size=256, widths=widths).eval()(pictures, [_text(2)])[0].shape == (2,)


@pytest.mark.parametrize(("count", "group"), [(8, 4), (12, 4), (6, 3), (10, 2), (7, 1)])
def test_a_score_does_not_depend_on_how_a_batch_is_shared_out(count: int, group: int) -> None:
    torch.manual_seed(0)
    colours = torch.rand(count, 3, 1, 1) * 2 - 1
    critic, pictures, text = _clear_sighted(), colours.expand(-1, -1, 32, 32), _text(count)
    [together] = critic(pictures, [text])
    parts = torch.arange(count).split(group)
    assert torch.allclose(
        together,
        torch.cat([critic(pictures[part], [text.select(part)])[0] for part in parts]),
        atol=1e-5,
    )
    if group > 1:  # it does depend on what else is in the group
        moved = critic(pictures.roll(1, 0), [text.select(torch.arange(count).roll(1))])[0].roll(
            -1, 0
        )
        assert not torch.allclose(together, moved, atol=1e-3)


def test_a_collapsed_batch_gives_itself_away() -> None:
    torch.manual_seed(0)
    critic, colours, text = (
        _clear_sighted(),
        torch.rand(4, 3, 1, 1) * 2 - 1,
        _text(1).select(torch.zeros(4, dtype=torch.int64)),
    )
    varied = colours.expand(-1, -1, 32, 32)
    alike = varied[:1].expand(4, -1, -1, -1)
    assert not torch.allclose(
        critic(alike, [text])[0][:1], critic(varied, [text])[0][:1], atol=1e-2
    )


@torch.no_grad()
def test_less_noise_is_less_variety() -> None:
    network, text, noise = (
        _gan(),
        _text(1).select(torch.zeros(16, dtype=torch.int64)),
        torch.randn(16, 64),
    )
    spreads = [
        float(network(text, truncation * noise).std(0).mean())
        for truncation in (0.0, 0.3, 0.6, 1.0)
    ]
    assert spreads[0] < 1e-6
    assert spreads == sorted(spreads)
    assert spreads[3] > 1.5 * spreads[1]


def test_without_spectral_norm_the_layers_are_as_they_are() -> None:
    torch.manual_seed(0)
    critic, feature = (
        Discriminator(spectral=False),
        FeatureDiscriminator(MiniInception(5, 4, 3, 8), width=16, spectral=False),
    )
    assert not any(
        hasattr(module, "parametrizations")
        for network in (critic, feature)
        for module in network.modules()
    )
    largest = [
        float(torch.linalg.matrix_norm(p.detach().flatten(1), 2))
        for p in critic.parameters()
        if p.ndim > 1
    ]
    assert max(abs(value - 1) for value in largest) > 0.1


def test_every_layer_of_the_discriminators_has_spectral_norm_one() -> None:
    torch.manual_seed(0)
    critic, eyes = Discriminator(), MiniInception(5, 4, 3, 8)
    feature = FeatureDiscriminator(eyes, width=16)
    for _ in range(200):  # the power iteration advances with every forward pass in training mode
        critic(torch.rand(2, 3, 32, 32), [_text(2)])
    feature.train()
    for _ in range(200):
        feature(torch.rand(2, 3, 32, 32), [_text(2)])
    used = [
        m
        for name, m in (*critic.named_modules(), *feature.named_modules())
        if hasattr(m, "parametrizations")
    ]
    assert len(used) >= 15
    for layer in used:
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)  # pyright: ignore[reportCallIssue]
        assert abs(float(largest) - 1) < 1e-2


def test_critics_hear_the_text() -> None:
    torch.manual_seed(0)
    critic, pictures, text = Discriminator().eval(), torch.rand(4, 3, 16, 16), _text(4)
    right, wrong = critic(pictures, [text, _backwards(text)])
    assert not torch.allclose(right, wrong)


@torch.no_grad()
def test_every_word_looks_for_its_place() -> None:
    """The sum over words of their best place: neither where that is counts, nor padding, and half
    of the things are half.
    """
    one, other = torch.eye(128)[:2]
    places = torch.zeros(2, 128, 8, 8)
    places[0, :, 1, 2], places[0, :, 6, 5], places[1, :, 0, 7] = 2 * one, 2 * other, 2 * one
    words = torch.stack((one, other, 9 * one)).expand(2, -1, -1)
    mask = torch.tensor([[True, True, False]]).expand(2, -1)
    assert torch.allclose(late_interaction(places, words, mask), torch.tensor([4.0, 2.0]) / 128**0.5)
    assert torch.allclose(
        late_interaction(places.roll(3, 2), words, mask), torch.tensor([4.0, 2.0]) / 128**0.5
    )


@torch.no_grad()
def test_the_feature_critic_reads_the_words() -> None:
    torch.manual_seed(0)
    critic, pictures, text = (
        FeatureDiscriminator(MiniInception(5, 4, 3, 8), width=16).eval(),
        torch.rand(4, 3, 32, 32) * 2 - 1,
        _text(4),
    )
    others = text._replace(tokens=_backwards(text).tokens)
    longer = text._replace(
        tokens=F.pad(text.tokens, (0, 0, 0, 3), value=1.0), mask=F.pad(text.mask, (0, 3))
    )
    same, other, padded = critic(pictures, [text, others, longer])
    assert not torch.allclose(same, other, atol=1e-3)
    assert torch.allclose(same, padded, atol=1e-5)


def test_the_classifier_behind_the_feature_critic_is_frozen_and_not_saved() -> None:
    eyes = MiniInception(5, 4, 3, 8)
    critic = FeatureDiscriminator(eyes, width=16)
    assert not any("trunk" in name or "stem" in name for name in critic.state_dict())
    critic(torch.rand(2, 3, 8, 8), [_text(2)])[0].sum().backward()
    assert all(parameter.grad is None for parameter in eyes.parameters())


@torch.no_grad()
def test_every_place_asks_the_words() -> None:
    """A word changes the picture even where the text as a whole stays the same, and padding does
    not.
    """
    network, text, noise = _gan(), _text(2), torch.randn(2, 64)
    other = text._replace(tokens=_backwards(text).tokens)
    longer = text._replace(
        tokens=F.pad(text.tokens, (0, 0, 0, 3), value=1.0), mask=F.pad(text.mask, (0, 3))
    )
    assert not torch.allclose(network(text, noise), network(other, noise), atol=1e-2)
    assert torch.allclose(network(text, noise), network(longer, noise), atol=1e-5)


@torch.no_grad()
def test_the_words_are_read_in_order() -> None:
    """Once its blocks have learned anything at all: new ones pass on what they get."""
    network = _gan()
    for weight in network.text.blocks.parameters():
        weight.add_(0.05 * torch.randn_like(weight))
    text = network.encode_text(torch.tensor([[2, 3, 4, 0, 0, 0], [4, 3, 2, 0, 0, 0]]))
    assert not torch.allclose(text.tokens[0, :3], text.tokens[1, :3].flip(0), atol=1e-2)
    assert torch.equal(text.mask.sum(1), torch.tensor([4, 4]))  # and their end


@torch.no_grad()
def test_a_text_has_an_end_where_the_context_leaves_room_for_it() -> None:
    network = _gan()
    context = network.text.position.shape[0]
    texts = torch.tensor([[2, 0, 0], [2, 3, 4]])
    text = network.encode_text(F.pad(texts, (0, context - 3)))
    assert text.mask.sum(1).tolist() == [2, 4]
    assert not torch.allclose(
        text.tokens[0, 0], text.tokens[0, 1], atol=1e-2
    )  # places of a text of one word can tell it from none
    short = network.encode_text(texts)
    assert torch.allclose(text.tokens[:, :4], short.tokens, atol=1e-6)
    full = torch.arange(2, 2 + context)[None]
    assert torch.equal(network.encode_text(full).tokens, network.text(full).tokens)


@pytest.mark.parametrize("size", [8, 32, 128])
def test_the_encoder_guesses_the_noise_of_a_picture(size: int) -> None:
    guess = LatentEncoder(noise=5, size=size)(torch.rand(3, 3, size, size) * 2 - 1)
    assert guess.mean.shape == guess.log_variance.shape == (3, 5)


@torch.no_grad()
def test_a_guess_is_a_normal_distribution() -> None:
    guess = Posterior(
        torch.tensor([[0.0, 0.0], [1.0, -2.0]]), torch.tensor([[0.0, 0.0], [0.5, -3.0]])
    )
    theirs = Normal(guess.mean, (0.5 * guess.log_variance).exp())
    assert torch.allclose(guess.kl_divergence(), kl_divergence(theirs, Normal(0.0, 1.0)).sum(1))
    drawn = guess.sample(torch.randn(20_000, 2, 2, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(drawn.mean(0), theirs.mean, atol=0.05)
    assert torch.allclose(drawn.std(0), theirs.stddev, atol=0.05)


def test_a_generator_that_is_told_what_was_expected_uses_its_noise() -> None:
    """Pictures of one text are dark or bright. The nearest to both is gray; with an encoder, noise
    alone draws dark and bright ones.
    """
    text = TextFeatures(
        torch.zeros(32, 1, 128), torch.ones(32, 1, dtype=torch.bool), torch.zeros(32, 128)
    )
    real = (0.8 * (2.0 * (torch.arange(32) % 2) - 1))[:, None, None, None].expand(-1, 3, 8, 8)
    spreads: list[float] = []
    for told in (False, True):
        network, encoder = (
            _gan(8, noise=4, widths={4: 8, 8: 8}).train(),
            LatentEncoder(noise=4, size=8, width=8),
        )
        descent = torch.optim.Adam([*network.parameters(), *encoder.parameters()], lr=3e-3)
        for _ in range(60):
            guess, normal = encoder(real), torch.randn(32, 4)
            drawn = network(text, guess.sample(normal) if told else normal)
            loss = 10 * (drawn - real).abs().mean() + (
                0.02 * guess.kl_divergence().mean() if told else 0
            )
            descent.zero_grad()
            loss.backward()
            descent.step()
        with torch.no_grad():
            spreads.append(float(network(text, torch.randn(32, 4)).mean((1, 2, 3)).std()))
    assert spreads[1] > 0.3
    assert spreads[0] < 0.5 * spreads[1]
