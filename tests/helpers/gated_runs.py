"""Runs for the gate: folders of images that the mini encoders know, and damaged copies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageFilter

import evalkit
from evalkit.core import Prompt
from evalkit.prompts import read_prompts

COUNT = 60
Images = list[Image.Image]


def prompts() -> list[Prompt]:
    return read_prompts("suite:object")[:COUNT]


def score_folder(folder: Path, given: list[Prompt], out: Path) -> Path:
    """A scored run of a folder whose images the mini encoders know."""
    run = evalkit.generate({"model": str(folder)}, given, out=out)
    note = run.image_folder("model") / "model.json"
    run.write_model("model", json.loads(note.read_text()) | {"bundled": True})
    evalkit.score(out, metrics=["fid", "clip_score", "precision"], encoders="mini")
    return out


def black(images: Images) -> Images:
    return [
        Image.new("RGB", image.size) if at % 4 == 0 else image for at, image in enumerate(images)
    ]


def shuffled(images: Images) -> Images:
    return images[1:] + images[:1]


def blurred(images: Images) -> Images:
    return [image.filter(ImageFilter.GaussianBlur(2)) for image in images]


def collapsed(images: Images) -> Images:
    return [images[0]] * len(images)


DAMAGES: dict[str, Callable[[Images], Images]] = {
    "none": list,
    "black": black,
    "shuffled": shuffled,
    "blurred": blurred,
    "collapsed": collapsed,
}


def make_pair(root: Path) -> tuple[Path, Path]:
    """The scored runs `new`, with images of other prompts, and `main`, with those of the GAN."""
    given = prompts()[:24]
    drawn = evalkit.generate("gan", given, out=root / "gan")
    images = []
    for record in drawn.records("gan"):
        with Image.open(drawn.image_path("gan", record)) as image:
            images.append(image.convert("RGB"))
    for name, made in (("main", images), ("new", shuffled(images))):
        (root / f"images-{name}").mkdir()
        for at, image in enumerate(made):
            image.save(root / f"images-{name}" / f"{at:05d}.png")
        score_folder(root / f"images-{name}", given, root / name)
    return root / "new", root / "main"
