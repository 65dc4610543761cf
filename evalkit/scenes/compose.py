"""Scenes of the bundled data set: their contents (`Scene`, the exact ground truth) and their images
(`render`).

The canvas is 64 units wide and every position and size is a multiple of 8 units. At 32 and 64
pixels an object therefore falls on the token grid of the image tokenizer, and the same sprite
becomes the same tokens wherever it stands. Small models can learn such a data set, yet it is not
trivial: style, size, position, background and their variants differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from random import Random
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from evalkit.scenes.tables import (
    BACKGROUNDS,
    COLOURS,
    HIDDEN_COLOURS,
    OBJECTS,
    RELATIONS,
    SHAPES,
    STYLES,
    TINTS,
)

SceneKind = Literal["single", "count", "pair"]
CANVAS = 64
# of the sprite atlases; 96 is a multiple of 48 and 32, common sprite sizes in 64-pixel scenes
CELL, COLUMNS = 96, 13
OBJECT_NAMES = tuple(thing.name for thing in OBJECTS)
STYLE_NAMES = tuple(STYLES)


@dataclass(frozen=True)
class Item:
    """An object or shape. Units: 1/64 of the canvas; x, y is the top left corner of its square."""

    noun: str  # an object's COCO category or a shape
    colour: str  # of a shape; empty for an object
    x: int
    y: int
    size: int


@dataclass(frozen=True)
class Scene:
    """The ground truth of one image."""

    kind: SceneKind
    items: tuple[Item, ...]
    relation: str  # of items[0] to items[1] in a pair: left, right, above, below; else empty
    background: str
    style: str
    variant: int  # 0..3: tint of the background (bit 0) and height of the horizon (bit 1)


def compose(seed: int) -> Scene:
    """The scene of a seed: 60% single objects, 20% two to four alike, 20% pairs in a relation."""
    random = Random(seed)
    background = random.choice(tuple(BACKGROUNDS))
    draw = random.random()
    kind = "single" if draw < 0.6 else "count" if draw < 0.8 else "pair"
    noun, colour = _noun_and_colour(random, background)
    if kind == "single":
        return _scene(random, kind, [(noun, colour)], [place_single(random)], "", background)
    if kind == "count":
        places = _group(random, random.choice((2, 3, 4)))
        return _scene(random, kind, [(noun, colour)] * len(places), places, "", background)
    other = _noun_and_colour(random, background)
    while other[0] == noun:
        other = _noun_and_colour(random, background)
    relation = random.choice(tuple(RELATIONS))
    offset = random.choice((8, 16, 24))
    sideways = relation in ("left", "right")
    places = (
        [(0, offset, 32), (32, offset, 32)] if sideways else [(offset, 0, 32), (offset, 32, 32)]
    )
    if relation in ("right", "below"):
        places.reverse()
    return _scene(random, kind, [(noun, colour), other], places, relation, background)


def _noun_and_colour(random: Random, background: str) -> tuple[str, str]:
    if random.random() < 0.8:
        return random.choice(OBJECT_NAMES), ""
    shape = random.choice(tuple(SHAPES))
    return shape, random.choice(
        [name for name in COLOURS if name not in HIDDEN_COLOURS[background]]
    )


def place_single(random: Random) -> tuple[int, int, int]:
    """x, y and size of a single object, in the lower part, where the ground is."""
    size = random.choices((48, 40, 32), (5, 4, 1))[0]
    free = CANVAS - size
    return random.randrange(0, free + 1, 8), random.randrange(8, free + 1, 8), size


def _group(random: Random, count: int) -> list[tuple[int, int, int]]:
    if count == 2:
        y = random.choice((8, 16, 24))
        return [(0, y, 32), (32, y, 32)]
    if count == 3:
        return [(16, 0, 32), (0, 32, 32), (32, 32, 32)]
    return [(0, 0, 32), (32, 0, 32), (0, 32, 32), (32, 32, 32)]


def _scene(
    random: Random,
    kind: SceneKind,
    nouns: list[tuple[str, str]],  # with the colour of a shape
    places: list[tuple[int, int, int]],
    relation: str,
    background: str,
) -> Scene:
    items = tuple(
        Item(noun, colour, x, y, size)
        for (noun, colour), (x, y, size) in zip(nouns, places, strict=True)
    )
    return Scene(kind, items, relation, background, random.choice(STYLE_NAMES), random.randrange(4))


def render(scene: Scene, size: int = 64) -> np.ndarray:
    """The image of a scene: uint8 [size, size, 3], RGB. `size` is a multiple of 16."""
    unit = size / CANVAS
    canvas = _background(scene.background, scene.variant, size).copy()
    for item in scene.items:
        side, x, y = int(item.size * unit), int(item.x * unit), int(item.y * unit)
        colour, clear = (
            _shape(item.noun, item.colour, side)
            if item.colour
            else _sprite(scene.style, item.noun, side)
        )
        patch = canvas[y : y + side, x : x + side]
        patch[:] = colour + (patch * clear + 127) // 255
    return canvas.astype(np.uint8)


@cache
def _atlas(style: str) -> Image.Image:
    with resources.files("evalkit.scenes").joinpath("sprites", f"{style}.webp").open("rb") as file:
        return Image.open(file).convert("RGBa")


@lru_cache(maxsize=4096)
def _sprite(style: str, noun: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    row, column = divmod(OBJECT_NAMES.index(noun), COLUMNS)
    cell = _atlas(style).crop((CELL * column, CELL * row, CELL * (column + 1), CELL * (row + 1)))
    return _premultiplied(cell, side)


@lru_cache(maxsize=4096)
def _shape(noun: str, colour: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    big = 4 * CELL
    mask = Image.new("L", (big, big))
    pen = ImageDraw.Draw(mask)
    outline = _outline(noun)
    if outline is None:
        pen.ellipse((12, 12, big - 12, big - 12), fill=255)
    else:
        pen.polygon([(12 + x * (big - 24), 12 + y * (big - 24)) for x, y in outline], fill=255)
    cell = Image.new("RGBA", (big, big), COLOURS[colour] + (0,))
    cell.putalpha(mask)
    return _premultiplied(cell.convert("RGBa"), side)


def _outline(noun: str) -> list[tuple[float, float]] | None:
    """Corners of a shape in the unit square; None for the circle."""
    if noun == "circle":
        return None
    if noun == "square":
        return [(0.06, 0.06), (0.94, 0.06), (0.94, 0.94), (0.06, 0.94)]
    if noun == "triangle":
        return [(0.5, 0.02), (1, 0.96), (0, 0.96)]
    if noun == "diamond":
        return [(0.5, 0), (0.88, 0.5), (0.5, 1), (0.12, 0.5)]
    if noun == "star":
        angles = np.arange(10) * np.pi / 5 - np.pi / 2
        radii = np.where(np.arange(10) % 2, 0.21, 0.53)
        return [
            (float(0.5 + r * np.cos(a)), float(0.53 + r * np.sin(a)))
            for r, a in zip(radii, angles, strict=True)
        ]
    # heart
    turn = np.linspace(0, 2 * np.pi, 90)
    across = 0.5 + 0.5 * np.sin(turn) ** 3
    down = (
        0.46
        - (13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)) / 32
    )
    return [(float(x), float(y)) for x, y in zip(across, down, strict=True)]


def _premultiplied(cell: Image.Image, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Premultiplied colour and 255 - alpha, both uint16 [side, side, C]."""
    pixels = np.asarray(cell.resize((side, side), Image.Resampling.BOX)).astype(np.uint16)
    return pixels[:, :, :3], 255 - pixels[:, :, 3:]


@lru_cache(maxsize=256)
def _background(name: str, variant: int, size: int) -> np.ndarray:
    """uint16 [size, size, 3], drawn on the 64-unit canvas; hard edges on multiples of 2 units."""
    above, below = TINTS[name][variant & 1]
    horizon = 32 + 8 * (variant >> 1)
    canvas = Image.new("RGB", (CANVAS, CANVAS), above)
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, horizon, 63, 63), fill=below)
    if name == "beach":
        pen.rectangle((0, horizon - 8, 63, horizon - 1), fill=(60, 150, 200))
    elif name == "street":
        for x in range(4, 64, 16):
            pen.rectangle((x, 56, x + 7, 57), fill=(240, 220, 120))
    elif name == "night":
        for k in range(8):
            x = (k * 24 + 10 * (variant + 1)) % 62 // 2 * 2
            y = (k * 14 + 4 * variant) % 62 // 2 * 2
            pen.rectangle((x, y, x + 1, y + 1), fill=(240, 240, 200))
    elif name == "sky":
        for x, y in ((4, 8), (40, 18)) if variant & 2 else ((34, 6), (6, 24)):
            pen.ellipse((x, y, x + 18, y + 8), fill=(245, 250, 255))
    elif name == "room":
        pen.rectangle((0, horizon - 4, 63, horizon - 1), fill=(250, 248, 240))
    elif name == "water":
        for k in range(4):
            x, y = (k * 22 + 6) % 56, 46 + 4 * k
            pen.rectangle((x, y, x + 9, y + 1), fill=(95, 160, 210))
    filtering = Image.Resampling.BOX if size <= CANVAS else Image.Resampling.NEAREST
    return np.asarray(canvas.resize((size, size), filtering)).astype(np.uint16)
