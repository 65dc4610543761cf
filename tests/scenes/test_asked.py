"""What prompts ask for, against the scenes that they are captions of and hand-written texts."""

import json
from collections import Counter
from collections.abc import Iterable

import pytest

from evalkit.scenes import dataset
from evalkit.scenes.asked import asked
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import Item, Scene
from evalkit.scenes.suite import FILE
from evalkit.scenes.tables import NOUN_FORMS


def _contents(items: Iterable[Item]) -> Counter[tuple[str, str]]:
    return Counter((item.noun, item.colour) for item in items)


def _open(scene: Scene) -> bool:
    """Whether the scene may have a word that is singular and plural in one: "some scissors"."""
    return any(one == many for item in scene.items for one, many in NOUN_FORMS[item.noun])


def test_a_complete_caption_asks_for_its_scene() -> None:
    for seed, scene in enumerate(dataset.scenes(dataset.HELD_OUT + 70_000, 1500)):
        found, questions, loose = asked(caption(scene, seed, complete=True))
        assert not loose
        assert _contents(found.items) == _contents(scene.items)
        assert (found.relation, found.background) == (scene.relation, scene.background)
        expected = {"noun", "count", "background"}
        expected |= {"colour"} if any(item.colour for item in scene.items) else set[str]()
        expected |= {"relation"} if scene.relation else set[str]()
        assert set(questions) == expected or (
            _open(scene) and set(questions) == expected - {"count"}
        )


def test_an_incomplete_caption_asks_for_nothing_else() -> None:
    for seed, scene in enumerate(dataset.scenes(dataset.HELD_OUT + 75_000, 1000)):
        found = asked(caption(scene, seed)).scene
        assert _contents(found.items) == _contents(scene.items)
        assert found.relation in ("", scene.relation)
        assert found.background in ("", scene.background)


def test_the_prompts_of_the_suite_ask_for_their_truth() -> None:
    lines = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    for row in (line for line in lines if line["group"] != "free"):
        found, truth = asked(row["text"]).scene, row["truth"]
        named = [{"noun": item.noun, "colour": item.colour} for item in found.items]
        assert named == truth["items"] * truth["count"], row["id"]
        assert found.relation == truth["relation"], row["id"]
        assert found.background == truth["background"], row["id"]


@pytest.mark.parametrize(
    ("text", "nouns", "questions"),
    [
        ("an orange and an orange circle", ["orange", "circle"], "noun colour count"),
        ("an orange above a red square", ["orange", "square"], "noun colour count relation"),
        ("a red car", ["car"], "noun count"),
        ("dogs", ["dog"], "noun"),
        ("three xylophones and a dog", ["dog"], "noun count"),
        ("three very old and rusty bikes", ["bicycle"], "noun"),
        ("a dog and another dog", ["dog"], "noun"),
        ("a dog, a cat and two birds", ["dog", "cat", "bird", "bird"], "noun count"),
        ("two dogs above a cat", ["dog", "dog", "cat"], "noun count"),
        ("a dog at night on the grass", ["dog"], "noun count"),
        ("at night", [], "background"),
        ("the meaning of life", [], ""),
        ("", [], ""),
    ],
)
def test_what_is_left_open_is_not_asked_for(text: str, nouns: list[str], questions: str) -> None:
    found = asked(text)
    assert [item.noun for item in found.scene.items] == nouns
    assert " ".join(found.questions) == questions
