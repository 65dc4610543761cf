"""The Transformer over image tokens: what each position sees, and sampling."""

import pytest
import torch

from evalkit.models.dalle import Dalle, sample_codes
from evalkit.models.text import TextTower

IDS = torch.tensor([[3, 4, 5, 0, 0, 0], [6, 0, 0, 0, 0, 0]])
EMPTY = torch.tensor([[1, 0, 0, 0, 0, 0]])
TOKENS = torch.randint(0, 11, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> Dalle:
    torch.manual_seed(0)
    model = Dalle(TextTower(20, 6, 32, 2, 4), codes=11, side=3, width=32, depth=2, heads=4)
    for parameter in model.parameters():  # output layers start at zero: nothing would differ
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def test_a_position_sees_only_earlier_tokens(network: Dalle) -> None:
    other = TOKENS.clone()
    other[:, 5:] = (other[:, 5:] + 1) % 11
    first, second = network(IDS, TOKENS), network(IDS, other)
    assert torch.allclose(first[:, :6], second[:, :6], atol=1e-5)
    assert not torch.allclose(first[:, 6:], second[:, 6:], atol=1e-3)


def test_logits_depend_on_the_text_and_not_on_its_padding(network: Dalle) -> None:
    logits = network(IDS, TOKENS)
    assert torch.allclose(logits, network(IDS[:, :3], TOKENS), atol=1e-5)
    assert not torch.allclose(logits, network(IDS.flip(0), TOKENS), atol=1e-3)


def test_hidden_tokens_are_not_seen(network: Dalle) -> None:
    hidden = torch.tensor([True, False])
    first, second = network(IDS, TOKENS, hidden), network(IDS, (TOKENS + 1) % 11, hidden)
    assert torch.equal(first[0], second[0])
    assert not torch.allclose(first[1], second[1], atol=1e-3)
    assert torch.allclose(first[1], network(IDS, TOKENS)[1], atol=1e-5)


@torch.no_grad()
def test_text_features_depend_on_word_order_even_without_positions(network: Dalle) -> None:
    """Each of two objects in a relation must know whether it is the first. The tower of the CLIP
    cannot tell without its position embeddings; the two blocks above it can.
    """
    network.text.position.zero_()
    one, other = torch.tensor([[3, 4, 5]]), torch.tensor([[5, 4, 3]])
    tower = [network.text(ids).tokens for ids in (one, other)]
    encoded = [network.encode_text(ids).tokens[:, :3] for ids in (one, other)]
    assert torch.allclose(tower[0], tower[1].flip(1), atol=1e-4)
    assert not torch.allclose(encoded[0], encoded[1].flip(1), atol=0.1)


@pytest.mark.parametrize("pieces", [3, 6])
def test_sampling_with_the_cache_equals_the_full_forward_pass(network: Dalle, pieces: int) -> None:
    ids, empty = IDS[:, :pieces], EMPTY[:, :pieces]
    sampled = network.sample(ids, empty, [1, 2], guidance=1.0, temperature=0.0)
    assert torch.equal(sampled, network(ids, sampled).argmax(2))


def test_guidance_extrapolates_from_the_empty_text(network: Dalle) -> None:
    sampled = network.sample(IDS, EMPTY, [1, 2], guidance=4.0, temperature=0.0)
    with_text, without = network(IDS, sampled), network(EMPTY.expand(2, -1), sampled)
    assert torch.equal(sampled, (without + 4 * (with_text - without)).argmax(2))


def test_guidance_zero_ignores_the_text(network: Dalle) -> None:
    sampled = network.sample(IDS, EMPTY, [1, 1], guidance=0.0)
    assert torch.equal(sampled[0], sampled[1])


def test_an_image_depends_on_its_own_seed_and_text_only(network: Dalle) -> None:
    together = network.sample(IDS, EMPTY, [7, 8])
    assert torch.equal(together[1:], network.sample(IDS[1:], EMPTY, [8]))
    assert not torch.equal(together[1:], network.sample(IDS[1:], EMPTY, [9]))


def test_codes_are_sampled_with_the_probabilities_of_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    uniform = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    codes = sample_codes(logits.expand(20_000, -1), uniform, 1.0, 0, 1.0)
    shares = torch.bincount(codes, minlength=4).double() / 20_000
    assert torch.allclose(shares, logits.double().softmax(0), atol=1e-3)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "kept"),
    [
        (1.0, 2, 1.0, {1, 2}),
        (1.0, 0, 0.5, {1}),  # its probability of 0.70 reaches 0.5 alone
        (0.0, 0, 1.0, {1}),
    ],
)
def test_top_k_and_top_p_keep_the_likeliest_codes(
    temperature: float, top_k: int, top_p: float, kept: set[int]
) -> None:
    logits = torch.tensor([0.0, 3.0, 2.0, -1.0]).expand(1000, -1)
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    assert set(sample_codes(logits, uniform, temperature, top_k, top_p).tolist()) == kept
