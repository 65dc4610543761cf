"""The bundled prompt suite: prompts with their ground truth, in groups that test one ability each.

    python -m evalkit.scenes.suite        writes suite.jsonl again, byte for byte

All groups but `free` are captions of scenes that no model was trained on, so their truth needs no
annotation. The prompts of `free` are written by hand in suite.jsonl, in the style of photo
captions, with words that the bundled models do not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.scenes.captions import LARGE, SMALL, caption
from evalkit.scenes.compose import Scene, compose
from evalkit.scenes.tables import COLOURS, COUNT_WORDS, NOUN_FORMS, RELATIONS, SHAPES
from evalkit.scenes.vocabulary import mentions
from evalkit.scenes.words import split_words

FILE = Path(__file__).with_name("suite.jsonl")
GROUPS = ("object", "colour", "count", "position", "two objects", "free")
FIRST_SEED = 3_000_000_000  # training takes seeds below 1,000,000,000
PER_COUNT, PER_RELATION = 20, 15  # prompts for each count, and for each relation
TWO_OBJECTS = 50  # prompts in "two objects"
# words that ask for more than the truth states
_UNASKED = {word.strip() for word in (*LARGE, *SMALL)} | {
    "single", "lone", "colorful", "walking", "parked",
}  # fmt: skip


def prompts() -> Iterator[dict[str, Any]]:
    """The prompts of all groups but `free`, in the order of GROUPS: {id, text, group, truth}.

    truth: `items`, the objects mentioned, each with the colour of a shape (empty for an object);
    `count` of the first; `relation` of the first to the second, empty if none is asked for;
    `background`, empty if none is asked for.
    """
    found: dict[str, dict[str, Scene]] = {group: {} for group in GROUPS}
    slots: dict[tuple[object, ...], int] = {("object", noun): 1 for noun in NOUN_FORMS}
    slots |= {("colour", shape, colour): 1 for shape in SHAPES for colour in COLOURS}
    slots |= {("count", count): PER_COUNT for count in COUNT_WORDS}
    slots |= {("position", relation): PER_RELATION for relation in RELATIONS}
    slots |= {("two objects",): TWO_OBJECTS}
    seed = FIRST_SEED
    while slots:
        scene, seed = compose(seed), seed + 1
        for slot in _slots(scene):
            group = str(slot[0])
            text = caption(scene, seed, complete=group in ("object", "position"))
            if slot in slots and _fits(group, text, scene) and text not in found[group]:
                found[group][text] = scene
                slots[slot] -= 1
                if not slots[slot]:
                    del slots[slot]
                break
    for group, scenes in found.items():
        ordered = sorted(scenes.items(), key=lambda pair: _order(group, pair[1]))
        for number, (text, scene) in enumerate(ordered):
            name = f"{group.replace(' ', '-')}-{number:03d}"
            yield {"id": name, "text": text, "group": group, "truth": _truth(text, scene)}


def _slots(scene: Scene) -> list[tuple[object, ...]]:
    """The slots that a scene can fill, the rarer first."""
    first = scene.items[0]
    if scene.kind == "single":
        return [("colour", first.noun, first.colour), ("object", first.noun)]
    if scene.kind == "count":
        return [("count", len(scene.items))]
    return [("position", scene.relation), ("two objects",)]


def _fits(group: str, text: str, scene: Scene) -> bool:
    """Whether a caption asks for the ability of its group only: no sizes, the usual word for an
    object, no relation in "two objects".
    """
    words = f" {' '.join(split_words(text))} "
    if not _UNASKED.isdisjoint(words.split()):
        return False
    if group == "object":
        first = scene.items[0]
        usual = any(f" {form} " in words for form in NOUN_FORMS[first.noun][0])
        return usual and first.colour != "orange"  # the colour is also an object
    return group != "two objects" or not _stated(text, scene.relation)


def _order(group: str, scene: Scene) -> tuple[int, ...]:
    """Within a group, the order of the tables."""
    nouns, colours = list(NOUN_FORMS), [*COLOURS, ""]
    first = (nouns.index(scene.items[0].noun), colours.index(scene.items[0].colour))
    if group == "count":
        return (len(scene.items), *first)
    if group == "position":
        return (list(RELATIONS).index(scene.relation), *first)
    return first


def _truth(text: str, scene: Scene) -> dict[str, Any]:
    pair = scene.kind == "pair"
    items = scene.items if pair else scene.items[:1]
    return {
        "items": [{"noun": item.noun, "colour": item.colour} for item in items],
        "count": 1 if pair else len(scene.items),
        "relation": scene.relation if pair and _stated(text, scene.relation) else "",
        "background": scene.background if scene.background in mentions(text).backgrounds else "",
    }


def _stated(text: str, relation: str) -> bool:
    return any(f" {phrase} " in f" {text} " for phrase in RELATIONS[relation])


def lines() -> str:
    """The text of suite.jsonl: the prompts from scenes, then those of `free`, unchanged."""
    free = [
        line
        for line in FILE.read_text(encoding="utf-8").splitlines(keepends=True)
        if json.loads(line)["group"] == "free"
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in prompts()) + "".join(free)


if __name__ == "__main__":
    FILE.write_text(lines(), encoding="utf-8")
