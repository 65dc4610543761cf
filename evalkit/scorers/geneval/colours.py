"""The colour of a detected object, by CLIP (zero-shot), as GenEval has it.

CLIP ViT-L/14 of OpenAI with its own preprocessing. A colour is the mean of three texts; each text
and the mean have unit length. An object is cropped by its box, before #999 where the detector gives
a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from PIL import Image as PILImage
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F

from evalkit.encoders import clip_model, weights
from evalkit.encoders.clip import PaperClip
from evalkit.encoders.inputs import exact
from evalkit.prompts.geneval import COLOURS
from evalkit.scorers.geneval.rules import Found

NAME = "clip-l14"
_TEMPLATES = ("a photo of a {} {}", "a photo of a {}-colored {}", "a photo of a {} object")
_BACKGROUND = "#999"


class Colours:
    """The colours of objects. The network is loaded where a colour is first asked for.

    Raises EvalkitError where the weights are missing or damaged.
    """

    def __init__(self, device: str) -> None:
        [(item, self._path)] = weights.obtain(NAME, fetch_missing=False)
        self.fingerprint = f"{item.sha256[:16]}/{PaperClip.preprocessing}"
        self._device = device
        self._known: dict[str, Tensor] = {}  # class -> float32 [colours, D], of unit length

    @cached_property
    def _clip(self) -> PaperClip:
        return PaperClip(NAME, clip_model.read_state(self._path), self._device)

    def __call__(self, image: Image, objects: Sequence[Found], name: str) -> list[str]:
        """The colour of each of these objects of a class, of GenEval's ten."""
        crops = torch.stack([self._clip.prepare(crop(image, one)) for one in objects])
        with exact():
            pool = F.normalize(self._clip(crops)["pool"], dim=-1)
            best = (pool @ self._texts(name).T).argmax(1)
        return [COLOURS[place] for place in best.tolist()]

    def _texts(self, name: str) -> Tensor:
        if name not in self._known:
            texts = [form.format(colour, name) for colour in COLOURS for form in _TEMPLATES]
            found = F.normalize(self._clip.text(texts), dim=-1)
            means = found.view(len(COLOURS), len(_TEMPLATES), -1).mean(1)
            self._known[name] = F.normalize(means, dim=-1)
        return self._known[name]


def crop(image: Image, one: Found) -> Image:
    """An object: the pixels of its box, rounded as Pillow does it, and of its mask if it has one.

    What of a box is outside of the image is black, and it has one pixel at least.
    """
    if one.mask is not None:
        mask = PILImage.fromarray(one.mask.astype(np.uint8) * 255)
        image = PILImage.composite(image, PILImage.new("RGB", image.size, _BACKGROUND), mask)
    left, upper, right, lower = map(round, one.box)
    return image.crop((left, upper, max(right, left + 1), max(lower, upper + 1)))
