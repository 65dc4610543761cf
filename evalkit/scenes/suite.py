"""The bundled prompt suite: prompts with their ground truth, in groups that each ask for one
ability.

    python -m evalkit.scenes.suite        writes suite.jsonl again, byte for byte

All groups but `free` are captions of scenes that were never trained on, so that the suite needs no
judgement of ours. The sentences of `free` are our own, in the manner of photo captions, with words
that the bundled models do not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.scenes.captions import LARGE, NOUNS, SMALL, caption
from evalkit.scenes.compose import Item, Scene, compose
from evalkit.scenes.vocabulary import mentions
from evalkit.scenes.words import split_words
from evalkit.scenes.world import COLOURS, RELATIONS, SHAPES

GROUPS = ("object", "colour", "count", "position", "two objects", "free")
FIRST_SEED = 3_000_000_000  # training takes seeds below 1,000,000,000
PER_COUNT, PER_RELATION, TWO_OBJECTS = (
    20,
    15,
    50,
)  # prompts for each count, for each relation, and in "two objects"
_UNASKED = frozenset(
    word.strip() for word in (*LARGE, *SMALL, *["single", "lone", "colorful", "walking", "parked"])
)  # ask for more than the truth holds


class _Sentence(NamedTuple):
    text: str
    nouns: str  # what it names of the world, in its order, joined by commas
    background: str = ""
    number: int = 1  # of the first noun
    relation: str = ""  # of the first noun to the second


SENTENCES = (
    _Sentence(
        "A man rides his bicycle down the street on a sunny morning.", "person, bicycle", "street"
    ),
    _Sentence("A young woman waits under a striped umbrella while it pours.", "person, umbrella"),
    _Sentence(
        "Somebody left a slice of pizza on a table next to an open laptop.",
        "pizza, laptop",
        "table",
    ),
    _Sentence("A very sleepy cat has curled up on the couch.", "cat, couch"),
    _Sentence(
        "A dog leaps high into the air to catch a frisbee in the park.", "dog, frisbee", "grass"
    ),
    _Sentence("An elephant sprays itself with dust on a hot afternoon.", "elephant"),
    _Sentence("A giraffe stretches its long neck toward the leaves.", "giraffe"),
    _Sentence("Two zebras graze quietly in a grassy field.", "zebra", "grass", 2),
    _Sentence("A surfer is about to fall from a breaking wave in the ocean.", "surfboard", "water"),
    _Sentence("A skier rushes between the trees in deep snow.", "skis", "snow"),
    _Sentence("A snowboarder has stopped to enjoy the view on a snowy hill.", "snowboard", "snow"),
    _Sentence("A passenger plane climbs steeply against a blue sky.", "airplane", "sky"),
    _Sentence("A colourful kite dances far above the dunes at the beach.", "kite", "beach"),
    _Sentence("A red double decker bus turns the corner on a city street.", "bus", "street"),
    _Sentence("A freight train rolls slowly past an abandoned station.", "train"),
    _Sentence("A delivery truck blocks half of the narrow lane.", "truck"),
    _Sentence("A small sailboat drifts on a lake at dawn.", "boat", "water"),
    _Sentence("The traffic light has just turned green for everybody.", "traffic light"),
    _Sentence("Someone has stuck a funny sticker to this stop sign.", "stop sign"),
    _Sentence("A lone sparrow shelters from the rain behind a window.", "bird"),
    _Sentence("A brown horse looks over the fence in a pasture.", "horse", "grass"),
    _Sentence("Three sheep stare straight into the camera in a meadow.", "sheep", "grass", 3),
    _Sentence("A cow with a bell rests on the grass high in the mountains.", "cow", "grass"),
    _Sentence("A grizzly bear fishes for salmon in the water.", "bear", "water"),
    _Sentence("A hiker packed his backpack with far too many things.", "backpack"),
    _Sentence("A leather handbag lies forgotten on a park bench.", "handbag"),
    _Sentence("The groom straightens his tie in front of the mirror.", "tie"),
    _Sentence(
        "An old suitcase covered with faded stickers stands on the floor.", "suitcase", "room"
    ),
    _Sentence("A girl kicks a soccer ball across a wet lawn.", "person, sports ball"),
    _Sentence("A teenager jumps down a flight of stairs on his skateboard.", "skateboard"),
    _Sentence("She grips the tennis racket with both hands before the serve.", "tennis racket"),
    _Sentence("A dusty wine bottle is kept in the dark for decades.", "bottle", "night"),
    _Sentence("A waiter balances one wine glass on a silver tray.", "wine glass"),
    _Sentence("Steam rises from a cup of coffee on a wooden desk.", "cup", "table"),
    _Sentence("A silver fork rests on a folded napkin.", "fork"),
    _Sentence("A chef sharpens a large knife in the kitchen.", "knife", "room"),
    _Sentence("Baby food drips slowly from a plastic spoon.", "spoon"),
    _Sentence("A steaming bowl of soup was served on the kitchen table.", "bowl", "table"),
    _Sentence("A monkey peels a ripe banana with great care.", "banana"),
    _Sentence("A shiny apple is ready to be packed for lunch.", "apple"),
    _Sentence("Half of a ham sandwich waits on a paper plate.", "sandwich"),
    _Sentence("A freshly peeled tangerine fills the whole room with its smell.", "orange"),
    _Sentence("My children refuse to taste the broccoli again.", "person, broccoli"),
    _Sentence("A rabbit nibbles on the tip of a carrot.", "carrot"),
    _Sentence("A hot dog drowned in mustard and fried onions.", "hot dog"),
    _Sentence("A glazed donut with rainbow sprinkles on top.", "donut"),
    _Sentence("A piece of cake with one candle was saved for later.", "cake"),
    _Sentence("An empty chair faces the fireplace in the living room.", "chair", "room"),
    _Sentence("A potted plant slowly dries out in the office window.", "potted plant"),
    _Sentence("A neatly made bed with four white pillows in a bedroom.", "bed", "room"),
    _Sentence("The toilet has been cleaned until it sparkles.", "toilet"),
    _Sentence("An enormous tv hangs above the bed of the hotel room.", "tv, bed", "", 1, "above"),
    _Sentence("Crumbs have fallen between the keys of a computer keyboard.", "keyboard"),
    _Sentence("A cell phone rings right in the middle of the concert.", "cell phone"),
    _Sentence("A boy reads a thick book by torch light at night.", "person, book", "night"),
    _Sentence("A clock with roman numerals shows a quarter past ten.", "clock"),
    _Sentence("A pair of scissors lies among scraps of coloured paper.", "scissors"),
    _Sentence(
        "A teddy bear with one missing eye sits to the left of a cat.",
        "teddy bear, cat",
        "",
        1,
        "left",
    ),
    _Sentence("A toothbrush and a glass share the shelf in the bathroom.", "toothbrush", "room"),
    _Sentence(
        "A vintage car and a motorcycle are parked on the street.", "car, motorcycle", "street"
    ),
    _Sentence("A puppy chews on the cord of a lamp under a chair.", "dog, chair"),
    _Sentence("Two boats rock gently next to each other in the sea.", "boat", "water", 2),
    _Sentence("Four birds sit in a row high up in the clouds of a painting.", "bird", "sky", 4),
    _Sentence(
        "A kitten hides below a rocking horse that nobody uses.", "cat, horse", "", 1, "below"
    ),
)


def prompts() -> Iterator[dict[str, Any]]:
    """The whole suite in the order of GROUPS: {id, text, group, truth}.

    truth: `items`, the things named, each with the colour of a shape (empty for an object);
    `count`, how many there are of the first; `relation` of the first to the second, empty where
    none is asked for; `background`, empty where any will do.
    """
    found: dict[str, list[tuple[str, Scene]]] = {group: [] for group in GROUPS}
    left = {("object", noun) for noun in NOUNS} | {
        ("colour", shape, colour) for shape in SHAPES for colour in COLOURS
    }
    slots: dict[tuple[object, ...], int] = dict.fromkeys(left, 1)
    slots |= {("count", count): PER_COUNT for count in (2, 3, 4)}
    slots |= {("position", relation): PER_RELATION for relation in RELATIONS}
    slots |= {("two objects",): TWO_OBJECTS}
    seed = FIRST_SEED
    while slots:
        scene, seed = compose(seed), seed + 1
        for slot in _slots(scene):
            text = caption(scene, seed, complete=slot[0] in ("object", "position"))
            if (
                slot in slots
                and _fits(slot, text, scene)
                and not any(text == other for other, _ in found[str(slot[0])])
            ):
                found[str(slot[0])].append((text, scene))
                slots = {
                    key: count - (key == slot)
                    for key, count in slots.items()
                    if count > (key == slot)
                }
                break
    for group, pairs in found.items():
        for number, (text, scene) in enumerate(
            sorted(pairs, key=lambda pair: _order(group, pair[1]))
        ):
            yield _row(group, number, text, _truth(text, scene))
    for number, sentence in enumerate(SENTENCES):
        items = [{"noun": noun, "colour": ""} for noun in sentence.nouns.split(", ")]
        truth = {
            "items": items,
            "count": sentence.number,
            "relation": sentence.relation,
            "background": sentence.background,
        }
        yield _row("free", number, sentence.text, truth)


def _slots(scene: Scene) -> list[tuple[object, ...]]:
    """What a scene could serve for, the scarcer first."""
    first = scene.items[0]
    if scene.kind == "single":
        return [("colour", first.noun, first.colour), ("object", first.noun)]
    return (
        [("count", len(scene.items))]
        if scene.kind == "count"
        else [("position", scene.relation), ("two objects",)]
    )


def _fits(slot: tuple[object, ...], text: str, scene: Scene) -> bool:
    """One question per group: no sizes, the usual word for an object, no relation in "two objects"."""
    words = f" {' '.join(split_words(text))} "
    if not _UNASKED.isdisjoint(words.split()):
        return False
    if slot[0] == "object":
        return (
            any(f" {form} " in words for form in NOUNS[scene.items[0].noun][0])
            and scene.items[0].colour != "orange"
        )
    return slot[0] != "two objects" or not _stated(text, scene.relation)


def _order(group: str, scene: Scene) -> tuple[int, ...]:
    """The order of the tables within a group, so that the file reads well."""
    nouns, colours = list(NOUNS), [*COLOURS, ""]
    first = (nouns.index(scene.items[0].noun), colours.index(scene.items[0].colour))
    if group == "count":
        return (len(scene.items), *first)
    if group == "position":
        return (list(RELATIONS).index(scene.relation), *first)
    return first


def _truth(text: str, scene: Scene) -> dict[str, Any]:
    pair = scene.kind == "pair"
    things: tuple[Item, ...] = scene.items if pair else scene.items[:1]
    items = [{"noun": item.noun, "colour": item.colour} for item in things]
    named = scene.background in mentions(text).backgrounds
    stands = scene.relation if pair and _stated(text, scene.relation) else ""
    return {
        "items": items,
        "count": 1 if pair else len(scene.items),
        "relation": stands,
        "background": scene.background if named else "",
    }


def _stated(text: str, relation: str) -> bool:
    return any(f" {phrase} " in f" {text} " for phrase in RELATIONS[relation])


def _row(group: str, number: int, text: str, truth: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{group.replace(' ', '-')}-{number:03d}",
        "text": text,
        "group": group,
        "truth": truth,
    }


def lines() -> str:
    """The text of suite.jsonl."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in prompts())


if __name__ == "__main__":
    Path(__file__).with_name("suite.jsonl").write_text(lines(), encoding="utf-8")
