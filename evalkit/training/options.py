"""The options of every network and its training, each a frozen dataclass with its defaults:
`evalkit list training` shows them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from evalkit.config import parse_settings
from evalkit.core import EvalkitError


@dataclass(frozen=True)
class ClassifierOptions:
    width: int = 24  # channels of the first layer


@dataclass(frozen=True)
class ClipOptions:
    pass


@dataclass(frozen=True)
class TokenizerOptions:
    levels: str = "8,8,8,6"  # of each channel of the latent; their product is the number of codes
    width: int = 64  # channels, a multiple of 64
    doublings: int = 2  # a token stands for 2 ** doublings pixels per side
    # of a tokenizer of the same shape whose decoder goes on and whose encoder stays, so that its
    # tokens keep their
    weights: str = ""
    # meaning; "image-tokenizer" = the one in `out`, or the bundled one; empty = begin anew
    perceptual: float = (
        0.0  # weight of the difference that mini-coach sees, beside that of the pixels
    )
    rate: float = 2.5e-3  # AdamW's peak learning rate


@dataclass(frozen=True)
class DalleOptions:
    """The Transformer and its teacher. Its width is that of the CLIP's text tower."""

    depth: int = 6  # blocks
    heads: int = 4
    # of a dalle of the same shape to go on from; "dalle" = the one in `out`, or the bundled one;
    # empty = begin anew
    weights: str = ""
    often: str = (
        "pair"  # scenes of the bundled world that are drawn twice as often: single, count, pair
    )
    reading: int = (
        200  # steps before, in which it learns from captions which of two things comes first
    )
    hidden: float = (
        0.15  # share of pictures whose tokens are hidden from it, so that it asks the text
    )
    rate: float = 0.02  # Muon's peak learning rate; AdamW's is 0.15 of it, 0.025 for the text tower
    # weights of a dalle whose text encoder learns to read loose captions, and nothing else; "dalle"
    # = as above
    loose: str = ""
    # weights of a dalle as large or larger to learn from, or of several, joined by commas: then
    # from the mean of their
    teacher: str = ""
    # logits; "dalle" = the one in `out`, or the bundled one; empty = none
    temperature: float = 1.0  # of the teacher's and the student's chances
    guided: float = 1.0  # guidance of the teacher, which its student then has in itself; 1 = none
    share: float = 0.5  # of what is learned from the teacher


@dataclass(frozen=True)
class GanOptions:
    """The techniques of the adversarial training, each of which can be left out."""

    # of a gan of the same shape to go on from, or of a smaller size, with which growing then
    # begins; "gan" = the one
    weights: str = ""
    # in `out`, or the bundled one; empty = begin anew
    # weights of a gan whose text encoder learns to read loose captions, and nothing else; "gan" =
    # as above
    loose: str = ""
    # share of the steps before there are any: the generator learns from its encoder alone, and
    # faster
    critics: float = 0.0
    alone: float = (
        0.0  # share of the steps, the first with critics, in which only they and the encoder learn
    )
    often: str = (
        "pair"  # scenes of the bundled world that are drawn twice as often: single, count, pair
    )
    loss: str = "hinge"  # or non-saturating
    smoothing: float = (
        0.0  # one-sided label smoothing: how much less than 1 is asked of real pictures
    )
    gradient_penalty: float = 0.0  # weight of R1, every sixteenth step; 0 = none
    spectral: bool = True  # spectral normalisation of the critics
    matching: bool = True  # real pictures with captions of others are a third kind of fake
    growing: bool = True  # begin at 8 pixels and fade larger sizes in
    eyes: bool = True  # a second critic that looks through a frozen classifier
    # weight of the difference from the real picture that the encoder saw; 0 = only critics teach
    reconstruction: float = 10.0
    divergence: float = (
        0.02  # weight of what the encoder says about that picture beyond its text, in nats
    )
    reading: int = (
        200  # steps before, in which it learns from captions which of two things comes first
    )
    depth: int = 2  # blocks of the text encoder
    average: float = 0.998  # decay of the moving average of the generator's weights
    noise: int = 64  # random numbers of a picture
    rate: float = 8e-4  # Adam's learning rate


OPTIONS: dict[str, type[Any]] = {
    "mini-inception": ClassifierOptions,
    "mini-judge": ClassifierOptions,
    "mini-coach": ClassifierOptions,
    "mini-clip": ClipOptions,
    "image-tokenizer": TokenizerOptions,
    "dalle": DalleOptions,
    "gan": GanOptions,
}


def of_model(settings: Iterable[str], model: str) -> dict[str, Any]:
    """`gan.smoothing=0.1` flags of one model -> {"smoothing": "0.1"}."""
    given = parse_settings(settings)
    for other in given:
        if other != model:
            raise EvalkitError(
                f"--set names {other!r}, and {model!r} is trained.",
                f"Write `--set {model}.OPTION=VALUE`.",
            )
    return dict(given.get(model, {}))
