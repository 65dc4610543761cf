import pytest
import torch
from torch.nn import functional as F

from evalkit.models.gan import WIDTHS, Discriminator, FeatureDiscriminator, Gan
from evalkit.models.mini_inception import MiniInception


def _text(count: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 128, generator=torch.Generator().manual_seed(1)), dim=1)


@torch.no_grad()
def _clear_sighted() -> Discriminator:
    """An untrained critic whose weights keep the size of what passes through, so that differences reach its score."""
    critic = Discriminator(spectral=False).eval()
    for weight in critic.parameters():
        weight.mul_(6**0.5 if weight.ndim > 1 else 0)  # from PyTorch's initial spread to that of He et al. (2015)
    return critic


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_the_fade_is_continuous_at_both_ends(size: int) -> None:
    torch.manual_seed(0)
    network, text, noise = Gan(size=size).eval(), _text(2), torch.randn(2, 64)
    small = torch.atanh(network(text, noise, size // 2))
    enlarged = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False).tanh()
    assert torch.allclose(network(text, noise, size, 0.0), enlarged, atol=1e-4)
    assert torch.allclose(network(text, noise, size, 1.0), network(text, noise, size, 0.9999), atol=1e-2)
    assert not torch.allclose(network(text, noise, size, 0.0), network(text, noise, size, 1.0), atol=1e-2)


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_the_discriminator_fades_from_the_smaller_size(size: int) -> None:
    torch.manual_seed(0)
    critic, pictures, text = Discriminator(size=size).eval(), torch.rand(4, 3, size, size) * 2 - 1, _text(4)
    [half] = critic(F.avg_pool2d(pictures, 2), [text])
    assert torch.allclose(critic(pictures, [text], 0.0)[0], half, atol=1e-5)
    assert torch.allclose(critic(pictures, [text], 0.9999)[0], critic(pictures, [text], 1.0)[0], atol=1e-3)
    assert not torch.allclose(critic(pictures, [text], 0.0)[0], critic(pictures, [text], 1.0)[0], atol=1e-4)


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128])
def test_every_size_is_drawn_and_scored(size: int) -> None:
    torch.manual_seed(0)
    pictures = Gan(size=size).eval()(_text(2), torch.randn(2, 64))
    assert pictures.shape == (2, 3, size, size)
    for critic in (Discriminator(size=size), FeatureDiscriminator(MiniInception(5, 4, 3, 8), width=16)):
        scores = critic.eval()(pictures, [_text(2), _text(2).flip(0)])
        assert [score.shape for score in scores] == [(2,), (2,)]
    assert list(WIDTHS) == [4, 8, 16, 32, 64, 128]


def test_the_feature_critic_averages_larger_pictures() -> None:
    torch.manual_seed(0)
    critic, pictures, text = FeatureDiscriminator(MiniInception(5, 4, 3, 8), width=16).eval(), torch.rand(2, 3, 128, 128) * 2 - 1, _text(2)
    assert torch.allclose(critic(pictures, [text])[0], critic(F.avg_pool2d(pictures, 4), [text])[0], atol=1e-5)


@pytest.mark.parametrize("size", [4, 48, 256])
def test_a_size_without_widths_is_refused(size: int) -> None:
    for network in (Gan, Discriminator):
        with pytest.raises(ValueError, match=f"No network for {size} pixels"):
            network(size=size)


def test_sizes_beyond_come_by_configuration() -> None:
    widths = {4: 8, 8: 8, 16: 8, 32: 4, 64: 4, 128: 4, 256: 4}
    pictures = Gan(size=256, widths=widths).eval()(_text(2), torch.randn(2, 64))
    assert pictures.shape == (2, 3, 256, 256)
    assert Discriminator(size=256, widths=widths).eval()(pictures, [_text(2)])[0].shape == (2,)


@pytest.mark.parametrize(("count", "group"), [(8, 4), (12, 4), (6, 3), (10, 2), (7, 1)])
def test_a_score_does_not_depend_on_how_a_batch_is_shared_out(count: int, group: int) -> None:
    torch.manual_seed(0)
    colours = torch.rand(count, 3, 1, 1) * 2 - 1
    critic, pictures, text = _clear_sighted(), colours.expand(-1, -1, 32, 32), _text(count)
    [together] = critic(pictures, [text])
    parts = zip(pictures.split(group), text.split(group), strict=True)
    assert torch.allclose(together, torch.cat([critic(some, [words])[0] for some, words in parts]), atol=1e-5)
    if group > 1:  # it does depend on what else is in the group
        moved = critic(pictures.roll(1, 0), [text.roll(1, 0)])[0].roll(-1, 0)
        assert not torch.allclose(together, moved, atol=1e-3)


def test_a_collapsed_batch_gives_itself_away() -> None:
    torch.manual_seed(0)
    critic, colours, text = _clear_sighted(), torch.rand(4, 3, 1, 1) * 2 - 1, _text(1).expand(4, -1)
    varied = colours.expand(-1, -1, 32, 32)
    alike = varied[:1].expand(4, -1, -1, -1)
    assert not torch.allclose(critic(alike, [text])[0][:1], critic(varied, [text])[0][:1], atol=1e-2)


@torch.no_grad()
def test_less_noise_is_less_variety() -> None:
    torch.manual_seed(0)
    network, text, noise = Gan().eval(), _text(1).expand(16, -1), torch.randn(16, 64)
    spreads = [float(network(text, truncation * noise).std(0).mean()) for truncation in (0.0, 0.3, 0.6, 1.0)]
    assert spreads[0] < 1e-6
    assert spreads == sorted(spreads)
    assert spreads[3] > 1.5 * spreads[1]


def test_without_spectral_norm_the_layers_are_as_they_are() -> None:
    torch.manual_seed(0)
    critic, feature = Discriminator(spectral=False), FeatureDiscriminator(MiniInception(5, 4, 3, 8), width=16, spectral=False)
    assert not any(hasattr(module, "parametrizations") for network in (critic, feature) for module in network.modules())
    largest = [float(torch.linalg.matrix_norm(p.detach().flatten(1), 2)) for p in critic.parameters() if p.ndim > 1]
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
    used = [m for name, m in (*critic.named_modules(), *feature.named_modules()) if hasattr(m, "parametrizations")]
    assert len(used) >= 15
    for layer in used:
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)  # pyright: ignore[reportCallIssue]
        assert abs(float(largest) - 1) < 1e-2


def test_critics_hear_the_text() -> None:
    torch.manual_seed(0)
    critic, pictures, text = Discriminator().eval(), torch.rand(4, 3, 16, 16), _text(4)
    right, wrong = critic(pictures, [text, text.roll(1, 0)])
    assert not torch.allclose(right, wrong)


def test_the_classifier_behind_the_feature_critic_is_frozen_and_not_saved() -> None:
    eyes = MiniInception(5, 4, 3, 8)
    critic = FeatureDiscriminator(eyes, width=16)
    assert not any("trunk" in name or "stem" in name for name in critic.state_dict())
    critic(torch.rand(2, 3, 8, 8), [_text(2)])[0].sum().backward()
    assert all(parameter.grad is None for parameter in eyes.parameters())
