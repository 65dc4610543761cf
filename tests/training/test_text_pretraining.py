"""Text pre-training: the text encoder learns object order from captions alone."""

import pytest
import torch
from torch import nn

from evalkit.models.dalle import Dalle
from evalkit.models.gan import Gan
from evalkit.models.text import TextTower
from evalkit.scenes import dataset
from evalkit.scenes.compose import Item, Scene
from evalkit.training.text_pretraining import in_order, learn_order
from evalkit.training.tokens import subword_tokenizer


@pytest.mark.parametrize(
    ("relation", "order"),
    [
        ("left", ("dog", "cat")),
        ("above", ("dog", "cat")),
        ("right", ("cat", "dog")),
        ("below", ("cat", "dog")),
    ],
)
def test_the_object_on_the_left_or_above_comes_first(relation: str, order: tuple[str, str]) -> None:
    objects = tuple(Item(noun, "", 0, 0, 32) for noun in ("dog", "cat"))
    numbers = tuple(dataset.NOUNS.index(noun) for noun in order)
    assert in_order(Scene("pair", objects, relation, "grass", "", 0)) == numbers


@pytest.mark.parametrize(("model", "steps"), [("dalle", 200), ("gan", 250)])
def test_object_order_is_learned(model: str, steps: int) -> None:
    """At chance both places would be right in at most half of the captions."""
    torch.manual_seed(0)
    tokenizer = subword_tokenizer()
    network: Dalle | Gan
    blocks: nn.Module
    if model == "dalle":
        tower = TextTower(len(tokenizer), tokenizer.context, 32, 1, 4)
        network = Dalle(tower, codes=4, side=2, width=32, depth=1, heads=4)
        blocks, inputs, head = network.order, tower.parameters(), network.head.weight
    else:
        tower = TextTower(len(tokenizer), tokenizer.context, 32, 2, 4, ordered=True)
        network = Gan(tower, size=8, widths={4: 8, 8: 8})
        blocks, inputs, head = tower.blocks, tower.word.parameters(), network.start.weight
    pairs = [scene for scene in dataset.scenes(0, 1000) if scene.kind == "pair"]
    before = head.clone()
    right = learn_order(network, blocks, inputs, pairs, tokenizer, steps=steps, seed=0)
    assert right > 0.75
    assert torch.equal(head, before)  # only the text encoder is trained
