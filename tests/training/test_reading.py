"""The text encoder learns from captions alone which of two things comes first."""

import torch

from evalkit.models.dalle import Dalle
from evalkit.models.text import TextTower
from evalkit.scenes.compose import Item, Scene
from evalkit.training import data
from evalkit.training.reading import in_order, teach_order


def test_the_thing_on_the_left_or_above_comes_first() -> None:
    things = tuple(Item(noun, "", 0, 0, 32) for noun in ("dog", "cat"))
    dog, cat = (data.NOUNS.index(noun) for noun in ("dog", "cat"))
    for relation, order in (("left", (dog, cat)), ("above", (dog, cat)), ("right", (cat, dog)), ("below", (cat, dog))):
        assert in_order(Scene("pair", things, relation, "grass", "", 0)) == order


def test_who_stands_where_is_learned() -> None:
    """At chance both places would be right in at most half of the captions."""
    torch.manual_seed(0)
    pieces = data.subword_tokenizer()
    tower = TextTower(len(pieces), pieces.context, 32, 1, 4)
    network = Dalle(tower, codes=4, side=2, width=32, depth=1, heads=4)
    pairs = [scene for scene in data.scenes(0, 1000) if scene.kind == "pair"]
    before = network.head.weight.clone()
    assert teach_order(network, pairs, pieces, steps=150, seed=0) > 0.75
    assert torch.equal(network.head.weight, before)  # only what reads is taught
