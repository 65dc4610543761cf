"""The GAN's two discriminators: sizes, normalisation, and what their scores depend on."""

import pytest
import torch
from random_texts import padded, reversed_order, texts
from torch import Tensor
from torch.nn import functional as F

from evalkit.models.discriminators import Discriminator, FeatureDiscriminator, late_interaction
from evalkit.models.mini_inception import MiniInception


def _images(count: int, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(2)) * 2 - 1


def _feature_discriminator(spectral: bool = True) -> FeatureDiscriminator:
    torch.manual_seed(0)
    return FeatureDiscriminator(MiniInception(5, 4, 3, 8), width=16, spectral=spectral).eval()


@torch.no_grad()
def _sensitive() -> Discriminator:
    """An untrained discriminator whose weights preserve the scale of activations, so that
    differences reach the score.
    """
    torch.manual_seed(0)
    network = Discriminator(spectral=False).eval()
    for weight in network.parameters():
        # from PyTorch's initial standard deviation to that of He et al. (2015); biases to zero
        weight.mul_(6**0.5 if weight.ndim > 1 else 0)
    return network


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_fading_starts_at_the_smaller_size(size: int) -> None:
    torch.manual_seed(0)
    network, images, text = Discriminator(size=size).eval(), _images(4, size), texts(4)
    [half] = network(F.avg_pool2d(images, 2), [text])
    faded = {fade: network(images, [text], fade)[0] for fade in (0.0, 0.9999, 1.0)}
    assert torch.allclose(faded[0.0], half, atol=1e-5)
    assert torch.allclose(faded[0.9999], faded[1.0], atol=1e-3)
    assert not torch.allclose(faded[0.0], faded[1.0], atol=1e-4)


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128])
def test_every_size_has_one_score_per_image_and_text(size: int) -> None:
    for network in (Discriminator(size=size).eval(), _feature_discriminator()):
        scores = network(_images(2, size), [texts(2), reversed_order(texts(2))])
        assert [score.shape for score in scores] == [(2,), (2,)]


def test_other_sizes_need_widths() -> None:
    widths = {4: 8, 8: 8, 16: 8, 32: 4, 64: 4, 128: 4, 256: 4}
    network = Discriminator(size=256, widths=widths).eval()
    assert network(_images(2, 256), [texts(2)])[0].shape == (2,)
    with pytest.raises(ValueError, match="No network for 256 pixels"):
        Discriminator(size=256)


def test_the_feature_discriminator_averages_larger_images() -> None:
    network, images, text = _feature_discriminator(), _images(2, 128), texts(2)
    [small] = network(F.avg_pool2d(images, 4), [text])
    assert torch.allclose(network(images, [text])[0], small, atol=1e-5)


@pytest.mark.parametrize(("count", "group"), [(8, 4), (12, 4), (6, 3), (10, 2), (7, 1)])
def test_scores_do_not_depend_on_how_a_batch_is_split_into_groups(count: int, group: int) -> None:
    network, text = _sensitive(), texts(count)
    images = _images(count, 1).expand(-1, -1, 32, 32)
    [together] = network(images, [text])
    parts = torch.arange(count).split(group)
    split = [network(images[part], [text.select(part)])[0] for part in parts]
    assert torch.allclose(together, torch.cat(split), atol=1e-5)
    if group > 1:  # scores do depend on the rest of the group
        order = torch.arange(count).roll(1)
        moved = network(images[order], [text.select(order)])[0].roll(-1, 0)
        assert not torch.allclose(together, moved, atol=1e-3)


def test_the_score_of_an_image_changes_if_the_others_are_identical_to_it() -> None:
    network, text = _sensitive(), texts(1).select(torch.zeros(4, dtype=torch.int64))
    varied = torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None, None, None].expand(-1, 3, 32, 32)
    identical = varied[:1].expand(4, -1, -1, -1)
    [collapsed], [diverse] = network(identical, [text]), network(varied, [text])
    assert not torch.allclose(collapsed[0], diverse[0], atol=1e-2)


def test_spectral_norm_is_one_in_every_layer() -> None:
    torch.manual_seed(0)
    networks = [Discriminator(), _feature_discriminator()]
    layers = []
    for network in networks:
        network.train()  # in training mode, every forward pass advances the power iteration
        for _ in range(200):
            network(_images(2), [texts(2)])
        layers += [layer for layer in network.modules() if hasattr(layer, "parametrizations")]
    assert len(layers) >= 15
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert float(largest) == pytest.approx(1, abs=1e-2)


def test_spectral_norm_can_be_switched_off() -> None:
    torch.manual_seed(0)
    network = Discriminator(spectral=False)
    for module in (*network.modules(), *_feature_discriminator(spectral=False).modules()):
        assert not hasattr(module, "parametrizations")
    norms = [
        float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))
        for weight in network.parameters()
        if weight.ndim > 1
    ]
    assert max(abs(norm - 1) for norm in norms) > 0.1


def test_scores_depend_on_the_text() -> None:
    torch.manual_seed(0)
    network, text = Discriminator().eval(), texts(4)
    right, wrong = network(_images(4, 16), [text, reversed_order(text)])
    assert not torch.allclose(right, wrong)


@torch.no_grad()
def test_late_interaction_sums_the_best_position_of_every_word() -> None:
    """Wherever it is; padding does not count, and one of two objects gives half."""
    one, other = torch.eye(128)[:2]
    places = torch.zeros(2, 128, 8, 8)
    places[0, :, 1, 2], places[0, :, 6, 5], places[1, :, 0, 7] = 2 * one, 2 * other, 2 * one
    words = torch.stack((one, other, 9 * one)).expand(2, -1, -1)
    mask = torch.tensor([[True, True, False]]).expand(2, -1)
    expected = torch.tensor([4.0, 2.0]) / 128**0.5
    assert torch.allclose(late_interaction(places, words, mask), expected)
    assert torch.allclose(late_interaction(places.roll(3, 2), words, mask), expected)


@torch.no_grad()
def test_the_feature_discriminator_depends_on_words_and_not_on_padding() -> None:
    network, text = _feature_discriminator(), texts(4)
    other_words = text._replace(tokens=reversed_order(text).tokens)
    same, other, longer = network(_images(4), [text, other_words, padded(text)])
    assert not torch.allclose(same, other, atol=1e-3)
    assert torch.allclose(same, longer, atol=1e-5)


def test_the_feature_network_is_frozen_and_not_saved() -> None:
    classifier = MiniInception(5, 4, 3, 8)
    network = FeatureDiscriminator(classifier, width=16)
    assert not any("trunk" in name or "stem" in name for name in network.state_dict())
    network(_images(2, 8), [texts(2)])[0].sum().backward()
    assert all(parameter.grad is None for parameter in classifier.parameters())
