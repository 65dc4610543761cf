"""The text encoder learns from captions alone which of two things comes first."""

import pytest
import torch
from torch import nn

from evalkit.models.dalle import Dalle
from evalkit.models.gan import Gan
from evalkit.models.text import TextTower
from evalkit.scenes import dataset
from evalkit.scenes.compose import Item, Scene
from evalkit.training import data
from evalkit.training.reading import in_order, learn_order


def test_the_thing_on_the_left_or_above_comes_first() -> None:
    things = tuple(Item(noun, "", 0, 0, 32) for noun in ("dog", "cat"))
    dog, cat = (dataset.NOUNS.index(noun) for noun in ("dog", "cat"))
    for relation, order in (
        ("left", (dog, cat)),
        ("above", (dog, cat)),
        ("right", (cat, dog)),
        ("below", (cat, dog)),
    ):
        assert in_order(Scene("pair", things, relation, "grass", "", 0)) == order


@pytest.mark.parametrize(("model", "steps"), [("dalle", 200), ("gan", 250)])
def test_who_stands_where_is_learned(model: str, steps: int) -> None:
    """At chance both places would be right in at most half of the captions."""
    torch.manual_seed(0)
    pieces = subword_tokenizer()
    network: Dalle | Gan
    blocks: nn.Module
    if model == "dalle":
        tower = TextTower(len(pieces), pieces.context, 32, 1, 4)
        network = Dalle(tower, codes=4, side=2, width=32, depth=1, heads=4)
        blocks, below, head = network.order, tower.parameters(), network.head.weight
    else:
        tower = TextTower(len(pieces), pieces.context, 32, 2, 4, ordered=True)
        network = Gan(tower, size=8, widths={4: 8, 8: 8})
        blocks, below, head = tower.blocks, tower.word.parameters(), network.start.weight
    pairs = [scene for scene in dataset.scenes(0, 1000) if scene.kind == "pair"]
    before = head.clone()
    assert learn_order(network, blocks, below, pairs, pieces, steps=steps, seed=0) > 0.75
    assert torch.equal(head, before)  # only what reads is taught
