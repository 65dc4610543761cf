import pytest
import torch

from evalkit.models.dalle import Dalle, sample_codes
from evalkit.models.text import SubwordTokenizer, TextTower


@pytest.fixture
def network() -> Dalle:
    torch.manual_seed(0)
    model = Dalle(TextTower(20, 6, 32, 2, 4), codes=11, side=3, width=32, depth=2, heads=4)
    for (
        parameter
    ) in model.parameters():  # the output layers start at zero: stir, so that something can differ
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


NUMBERS = torch.tensor([[3, 4, 5, 0, 0, 0], [6, 0, 0, 0, 0, 0]])


def test_a_position_sees_only_earlier_tokens(network: Dalle) -> None:
    tokens = torch.randint(0, 11, (2, 9))
    other = tokens.clone()
    other[:, 5:] = (other[:, 5:] + 1) % 11
    first, second = network(NUMBERS, tokens), network(NUMBERS, other)
    assert torch.allclose(first[:, :6], second[:, :6], atol=1e-5)
    assert not torch.allclose(first[:, 6:], second[:, 6:], atol=1e-3)


def test_the_text_changes_the_picture_and_its_padding_does_not(network: Dalle) -> None:
    tokens = torch.randint(0, 11, (2, 9))
    assert torch.allclose(network(NUMBERS, tokens), network(NUMBERS[:, :3], tokens), atol=1e-5)
    assert not torch.allclose(network(NUMBERS, tokens), network(NUMBERS.flip(0), tokens), atol=1e-3)


def test_hidden_tokens_are_not_seen(network: Dalle) -> None:
    tokens = torch.randint(0, 11, (2, 9))
    other = (tokens + 1) % 11
    hidden = torch.tensor([True, False])
    first, second = network(NUMBERS, tokens, hidden), network(NUMBERS, other, hidden)
    assert torch.equal(first[0], second[0])
    assert not torch.allclose(first[1], second[1], atol=1e-3)
    assert torch.allclose(first[1], network(NUMBERS, tokens)[1], atol=1e-5)


@torch.no_grad()
def test_words_know_what_stands_before_and_behind_them_without_positions(network: Dalle) -> None:
    """Of two things in a relation each must know whether it is the first: the CLIP's tower without
    positions cannot.
    """
    network.text.position.zero_()
    one, other = torch.tensor([[3, 4, 5]]), torch.tensor([[5, 4, 3]])
    blind, seeing = (
        (lambda numbers: network.text(numbers).tokens),
        (lambda numbers: network.encode_text(numbers).tokens[:, :3]),
    )
    assert torch.allclose(blind(one), blind(other).flip(1), atol=1e-4)
    assert not torch.allclose(seeing(one), seeing(other).flip(1), atol=0.1)


@pytest.mark.parametrize("pieces", [3, 6])
def test_sampling_with_the_cache_equals_the_full_forward_pass(network: Dalle, pieces: int) -> None:
    numbers = NUMBERS[:, :pieces]
    drawn = network.sample(
        numbers,
        torch.tensor([[1, 0, 0, 0, 0, 0]])[:, :pieces],
        [1, 2],
        guidance=1.0,
        temperature=0.0,
    )
    assert torch.equal(drawn, network(numbers, drawn).argmax(2))


def test_guidance_extrapolates_from_no_text(network: Dalle) -> None:
    empty = torch.tensor([[1, 0, 0, 0, 0, 0]])
    drawn = network.sample(NUMBERS, empty, [1, 2], guidance=4.0, temperature=0.0)
    with_text, without = network(NUMBERS, drawn), network(empty.expand(2, -1), drawn)
    assert torch.equal(drawn, (without + 4 * (with_text - without)).argmax(2))


def test_a_picture_depends_on_its_own_seed_and_text_only(network: Dalle) -> None:
    empty = torch.tensor([[1, 0, 0, 0, 0, 0]])
    together = network.sample(NUMBERS, empty, [7, 8])
    assert torch.equal(together[1:], network.sample(NUMBERS[1:], empty, [8]))
    assert not torch.equal(together[1:], network.sample(NUMBERS[1:], empty, [9]))


def test_choose_draws_in_proportion_to_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    uniform = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    counts = (
        torch.bincount(sample_codes(logits.expand(20_000, -1), uniform, 1.0, 0, 1.0), minlength=4)
        / 20_000
    )
    assert torch.allclose(counts.double(), logits.double().softmax(0), atol=1e-3)


def test_choose_keeps_to_top_k_and_top_p() -> None:
    logits = torch.tensor([0.0, 3.0, 2.0, -1.0]).expand(1000, -1)
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    assert set(sample_codes(logits, uniform, 1.0, 2, 1.0).tolist()) == {1, 2}
    assert set(sample_codes(logits, uniform, 1.0, 0, 0.5).tolist()) == {
        1
    }  # its chance of 0.70 reaches 0.5 alone
    assert set(sample_codes(logits, uniform, 0.0, 0, 1.0).tolist()) == {1}


def test_words_unknown_and_over_the_context() -> None:
    words = SubwordTokenizer(["cat", "dog"], 3)
    assert words.encode([["dog", "unheard", "cat", "dog"], []]).tolist() == [[3, 1, 2], [1, 0, 0]]
