"""The 553 prompts of GenEval (Ghosh et al. 2023, https://arxiv.org/abs/2310.11513).

The published list is drawn by a rule from the 80 classes of COCO and ten colours, with NumPy's
generator and the seed 43 (prompts/create_prompts.py of djghosh13/geneval). Nothing is stored here
but the rule, and the hash of what it gives.
"""

from __future__ import annotations

import hashlib

import numpy as np

from evalkit.core import EvalkitError, Prompt

_CLASSES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,"
    "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,"
    "backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,"
    "baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,"
    "banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,computer mouse,tv remote,computer keyboard,"
    "cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,"
    "hair drier,toothbrush"
)
CLASSES = tuple(_CLASSES.split(","))  # of COCO, with the names and the order of GenEval
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
POSITIONS = ("left of", "right of", "above", "below")
NUMBERS = ("two", "three", "four")
TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
OPENING = "a photo of "
_SEED, _DRAWS = 43, 100  # of each tag but the first
_SHA256 = "4de60dfc3c29f9d3db69ec45cf03a964627c2d82f2c224c3f75645e137f7126b"  # of the lines


def geneval_prompts() -> list[Prompt]:
    """The published prompts in their order, in groups by tag. The ids are the folders of GenEval.

    Raises EvalkitError where this version of NumPy draws other prompts (its streams may change).
    """
    unique = list(dict.fromkeys(_drawn()))
    found = hashlib.sha256("\n".join(text for _, text in unique).encode()).hexdigest()
    if found != _SHA256:
        raise EvalkitError(
            f"NumPy {np.__version__} draws other prompts than those that GenEval published: their"
            f" SHA-256 starts with {found[:16]}; expected {_SHA256[:16]}.",
            "Install an earlier NumPy, or give GenEval's file: `--prompts generation_prompts.txt`.",
            code="prompts-26",
        )
    return [Prompt(f"{place:05d}", text, tag) for place, (tag, text) in enumerate(unique)]


def with_article(words: str) -> str:
    """ "apple" -> "an apple"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(name: str) -> str:
    """ "bench" -> "benchs", as GenEval has it."""
    return f"{name}es" if name.endswith("s") else f"{name}s"


def _drawn() -> list[tuple[str, str]]:
    """Tag and text of every draw, with duplicates."""
    random = np.random.default_rng(_SEED)

    def two() -> list[str]:
        return [with_article(CLASSES[at]) for at in random.choice(len(CLASSES), 2, replace=False)]

    def counted() -> str:
        name = CLASSES[random.choice(len(CLASSES))]
        return f"{NUMBERS[random.integers(2, 4, endpoint=True) - 2]} {plural(name)}"

    def coloured() -> str:
        name = CLASSES[random.choice(len(CLASSES) - 1) + 1]  # never a person, the first class
        return with_article(f"{COLOURS[random.choice(len(COLOURS))]} {name}")

    def placed() -> str:
        first, second = two()
        return f"{first} {POSITIONS[random.choice(len(POSITIONS))]} {second}"

    def attributed() -> str:
        names = random.choice(len(CLASSES) - 1, 2, replace=False) + 1
        colours = random.choice(len(COLOURS), 2, replace=False)
        words = (
            f"{COLOURS[colour]} {CLASSES[name]}"
            for name, colour in zip(names, colours, strict=True)
        )
        return " and ".join(map(with_article, words))

    every = random.choice(len(CLASSES), len(CLASSES), replace=False)
    texts = {
        "single_object": [with_article(CLASSES[at]) for at in every],
        "two_object": [" and ".join(two()) for _ in range(_DRAWS)],
        "counting": [counted() for _ in range(_DRAWS)],
        "colors": [coloured() for _ in range(_DRAWS)],
        "position": [placed() for _ in range(_DRAWS)],
        "color_attr": [attributed() for _ in range(_DRAWS)],
    }
    return [(tag, f"{OPENING}{text}") for tag, lines in texts.items() for text in lines]
