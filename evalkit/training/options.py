"""The options of every network and its training, as frozen dataclasses with defaults.

`evalkit list training` prints them.
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
    # Weights of a tokenizer of the same shape. Its encoder stays frozen, so that its tokens keep
    # their meaning; its decoder is trained further. "image-tokenizer" = the one in `out`, or the
    # bundled one; empty = start from random weights.
    weights: str = ""
    perceptual: float = 0.0  # weight of the perceptual loss (mini-coach), beside the pixel loss
    rate: float = 2.5e-3  # AdamW's peak learning rate


@dataclass(frozen=True)
class DalleOptions:
    """The Transformer and its teacher. Its width is that of the CLIP's text tower."""

    depth: int = 6  # blocks
    heads: int = 4
    # Weights of a dalle of the same shape to continue from; "dalle" = the one in `out`, or the
    # bundled one; empty = start from random weights.
    weights: str = ""
    oversample: str = "pair"  # kind of scene that occurs twice per epoch: single, count, pair
    text_pretraining: int = 200  # steps beforehand in which the text encoder learns object order
    hidden: float = 0.15  # share of images with hidden tokens, so that only the text informs
    rate: float = 0.02  # Muon's peak learning rate; AdamW's is 0.15 of it, 0.025 for the text tower
    # Weights of a dalle whose text encoder alone learns underspecified captions; "dalle" as above.
    underspecified: str = ""
    # Weights of a teacher at least as large, or of several, joined by commas (the mean of their
    # logits counts); "dalle" as above; empty = no teacher.
    teacher: str = ""
    temperature: float = 1.0  # of the teacher's and the student's softmax
    guided: float = 1.0  # guidance of the teacher, which the student learns to do without; 1 = none
    share: float = 0.5  # of the distillation loss in the whole loss


@dataclass(frozen=True)
class GanOptions:
    """The techniques of the adversarial training, each of which can be switched off."""

    # Weights of a gan to continue from: of the same shape, or of a smaller size, from which it
    # grows; "gan" = the one in `out`, or the bundled one; empty = start from random weights.
    weights: str = ""
    # Weights of a gan whose text encoder alone learns underspecified captions; "gan" as above.
    underspecified: str = ""
    # Share of the steps before the discriminators start. Until then the generator learns from
    # reconstructions only, which is faster.
    discriminator_start: float = 0.0
    # Share of the steps after that, in which the generator is frozen; the discriminators and the
    # encoder learn.
    discriminator_warmup: float = 0.0
    oversample: str = "pair"  # kind of scene that occurs twice per epoch: single, count, pair
    loss: str = "hinge"  # or non-saturating
    smoothing: float = 0.0  # one-sided label smoothing: subtracted from the target of real images
    gradient_penalty: float = 0.0  # weight of R1, every sixteenth step; 0 = none
    spectral: bool = True  # spectral normalisation of the discriminators
    matching: bool = True  # real images with captions of others are a third kind of fake
    growing: bool = True  # start at 8 pixels and fade in larger sizes
    feature_discriminator: bool = True  # a second one, on the features of a frozen classifier
    # Weight of the difference from the real image that the encoder saw; 0 = discriminators only.
    reconstruction: float = 10.0
    divergence: float = 0.02  # weight of the encoder's KL divergence, in nats
    text_pretraining: int = 200  # steps beforehand in which the text encoder learns object order
    depth: int = 2  # blocks of the text encoder
    average: float = 0.998  # decay of the moving average of the generator's weights
    noise: int = 64  # random numbers per image
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
                f"An option names {other!r}, but the model to train is {model!r}.",
                f"Write `--set {model}.OPTION=VALUE`.",
                code="training-34",
            )
    return dict(given.get(model, {}))
