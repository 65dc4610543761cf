"""The image tokenizer: tokens, levels and gradients."""

import pytest
import torch

from evalkit.models.image_tokenizer import ImageTokenizer


@pytest.fixture
def network() -> ImageTokenizer:
    torch.manual_seed(0)
    return ImageTokenizer((8, 5, 3)).eval()


def test_every_token_decodes_to_the_levels_that_encode_to_it(network: ImageTokenizer) -> None:
    tokens = torch.arange(network.codes)[:, None].expand(-1, 4)
    network.decoder = torch.nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    levels = network.decode(tokens)  # [codes, 3, 2, 2], -1..1
    assert levels.aminmax() == (-1, 1)
    network.encoder = torch.nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    assert torch.equal(network.encode(torch.atanh(levels * 0.9999)), tokens)


def test_quantisation_rounds_to_levels_and_passes_the_gradient(network: ImageTokenizer) -> None:
    latents = torch.randn(2, 3, 4, 4, requires_grad=True)
    levels = network.quantise(latents)
    assert len(levels[:, 2].unique()) <= 3
    levels.sum().backward()
    assert latents.grad is not None
    assert torch.allclose(latents.grad, 1 - latents.detach().tanh() ** 2, atol=1e-5)


def test_shapes(network: ImageTokenizer) -> None:
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    tokens = network.encode(images)
    assert tokens.shape == (2, 64)
    assert int(tokens.max()) < network.codes == 120
    assert torch.allclose(network.decode(tokens), network(images), atol=1e-4)
