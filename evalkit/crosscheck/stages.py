"""Where a tool and evalkit part: decoding, resizing, features, or what is computed of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from evalkit.core import Encoder
from evalkit.crosscheck.tool import Trace
from evalkit.images import read_image, to_tensor

FIRST = 8  # images of each side that are compared
# Rounding of float32: pixels in [-1, 1] by another order of the operations, and features relative
# to their length by other convolutions.
PIXELS, FEATURES = 2e-6, 2e-5
Stage = Literal["decode", "resize", "features", "statistics"]


def first_difference(
    theirs: Trace, files: Sequence[Path], names: Sequence[str], encoder: Encoder
) -> tuple[Stage, str]:
    """The first stage that differs on some images, and in words how much.

    Args:
        theirs: the stages of these images in the other tool.
        files, names: of the images, and what they are called in messages.
        encoder: evalkit's, of the same convention.
    """
    images = [read_image(path) for path in files]
    for name, image, pixels in zip(names, images, theirs.pixels, strict=False):
        own = to_tensor(image)
        if own.shape != pixels.shape:
            return "decode", f"{name} is {_size(pixels)} there, {_size(own)} here"
        if not torch.equal(own, pixels):
            most = int((own.int() - pixels.int()).abs().max())
            return "decode", f"{name}: pixels differ by up to {most} of 255"
    inputs = torch.stack([encoder.prepare(image) for image in images])
    apart = (inputs - theirs.inputs).abs().flatten(1).amax(dim=1)
    at = int(apart.argmax())
    if not float(apart[at]) <= PIXELS:
        return "resize", f"{names[at]}: inputs of the network differ by up to {apart[at]:.2g} of 2"
    features = encoder(inputs)["pool"]
    apart = (features - theirs.features).norm(dim=1) / features.norm(dim=1)
    at = int(apart.argmax())
    if not float(apart[at]) <= FEATURES:
        return "features", f"{names[at]}: features differ by {apart[at]:.2g} of their length"
    return "statistics", f"the features of the first {len(names)} images agree"


def _size(pixels: torch.Tensor) -> str:
    return f"{pixels.shape[2]} x {pixels.shape[1]}"
