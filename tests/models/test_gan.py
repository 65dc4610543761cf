import torch
from torch.nn import functional as F

from evalkit.models.gan import Discriminator, FeatureDiscriminator, Gan
from evalkit.models.mini_inception import MiniInception


def _text(count: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 128, generator=torch.Generator().manual_seed(1)), dim=1)


def test_the_fade_is_continuous_at_both_ends() -> None:
    torch.manual_seed(0)
    network, text, noise = Gan().eval(), _text(2), torch.randn(2, 64)
    small = torch.atanh(network(text, noise, 16))
    enlarged = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False).tanh()
    assert torch.allclose(network(text, noise, 32, 0.0), enlarged, atol=1e-4)
    assert torch.allclose(network(text, noise, 32, 1.0), network(text, noise, 32, 0.9999), atol=1e-2)
    assert not torch.allclose(network(text, noise, 32, 0.0), network(text, noise, 32, 1.0), atol=1e-2)


def test_the_discriminator_fades_from_the_smaller_size() -> None:
    torch.manual_seed(0)
    critic, pictures, text = Discriminator().eval(), torch.rand(4, 3, 32, 32) * 2 - 1, _text(4)
    [half] = critic(F.avg_pool2d(pictures, 2), [text])
    assert torch.allclose(critic(pictures, [text], 0.0)[0], half, atol=1e-5)


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
