"""The two small encoders of the bundled world: they need no download, and their numbers compare
with nothing published.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from evalkit.core import EncoderKind
from evalkit.images import to_tensor
from evalkit.models.load import BUNDLED, device_of, fingerprint, load_classifier, load_clip
from evalkit.models.mini_inception import to_unit
from evalkit.models.text import SubwordTokenizer
from evalkit.scenes.words import split_words

SIZE = 32
SPATIAL_CHANNELS = 7  # as many as the paper of sFID takes
PREPARATION = "1"  # counts up whenever `prepare` changes: it is part of the fingerprint


def prepare(image: Image.Image) -> Tensor:
    """RGB of any size -> uint8 [3, 32, 32]: squashed to the square with Pillow's antialiased box
    filter; 32 x 32 stays as it is.
    """
    small = (
        image if image.size == (SIZE, SIZE) else image.resize((SIZE, SIZE), Image.Resampling.BOX)
    )
    return to_tensor(small)


def _fingerprint(path: Path) -> str:
    return f"{fingerprint(path)}+prepare{PREPARATION}"


class MiniInceptionEncoder:
    """Features "pool" (192 dimensions), "logits" (one per noun of the world) and "spatial" of the
    small classifier.

    "spatial" holds the first 7 channels of the 8 x 8 map, by row, column and channel, as sFID takes
    them from Inception.
    """

    kind: EncoderKind = "inception"

    def __init__(self, device: str = "auto") -> None:
        path = BUNDLED / "mini-inception.safetensors"
        self.name, self.fingerprint, self.device = (
            "mini-inception",
            _fingerprint(path),
            device_of(device),
        )
        self._network = load_classifier(path).eval().requires_grad_(False).to(self.device)

    def prepare(self, image: Image.Image) -> Tensor:
        return prepare(image)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 [N, 3, 32, 32] -> {"pool": float32 [N, 192], "logits": float32 [N, nouns],
        "spatial": float32 [N, 448]}.
        """
        fine, coarse = self._network.trunk(to_unit(images.to(self.device)))
        pool = coarse.mean((2, 3))
        spatial = fine[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        return {
            "pool": pool.cpu(),
            "logits": self._network.whole(pool).cpu(),
            "spatial": spatial.cpu(),
        }


class MiniClipEncoder:
    """Feature "pool" (128 dimensions, unit length) of pictures, and of texts in the same space. It
    stands in for both CLIPs.
    """

    kind: tuple[EncoderKind, ...] = ("clip", "clip-large")

    def __init__(self, device: str = "auto") -> None:
        path = BUNDLED / "mini-clip.safetensors"
        self.name, self.fingerprint, self.device = (
            "mini-clip",
            _fingerprint(path),
            device_of(device),
        )
        self._network, config = load_clip(path)
        self._network.to(self.device)
        self._words = SubwordTokenizer(config["words"], config["context"])

    def prepare(self, image: Image.Image) -> Tensor:
        return prepare(image)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 [N, 3, 32, 32] -> {"pool": float32 [N, 128]}."""
        return {"pool": self._network.image(to_unit(images.to(self.device))).cpu()}

    @torch.no_grad()
    def text(self, prompts: Sequence[str]) -> Tensor:
        """float32 [N, 128]; unknown words are read as such, words past the 24th are not read."""
        return self._network.texts(
            self._words.encode([split_words(text) for text in prompts]).to(self.device)
        ).cpu()

    def truncated(self, prompts: Sequence[str]) -> int:
        """How many prompts have more words than are read."""
        return sum(len(split_words(text)) > self._words.context for text in prompts)


def load_inception(*, device: str = "auto") -> MiniInceptionEncoder:
    """A small classifier of the bundled world, for FID and its kin where nothing is downloaded (192
    dimensions).
    """
    return MiniInceptionEncoder(device)


def load_clip_encoder(*, device: str = "auto") -> MiniClipEncoder:
    """A small CLIP of the bundled world, for CLIP score and CMMD where nothing is downloaded (128
    dimensions).
    """
    return MiniClipEncoder(device)
