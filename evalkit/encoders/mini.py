"""The two small encoders that are trained on the bundled data set and ship with evalkit.

They need no download; their numbers are not comparable with published ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from evalkit.core import EncoderKind, Precision
from evalkit.encoders.inputs import exact, in_its_precision, moved
from evalkit.images import to_tensor
from evalkit.models.load import BUNDLED, device_of, fingerprint, load_classifier, load_clip
from evalkit.models.mini_inception import to_unit
from evalkit.models.text import SubwordTokenizer
from evalkit.scenes.words import split_words

SIZE = 32
SPATIAL_CHANNELS = 7  # as many as in the sFID paper
PREPARATION = "1"  # part of the fingerprint: increases whenever `prepare` changes


def prepare(image: Image.Image) -> Tensor:
    """RGB image of any size -> uint8 [3, 32, 32], without keeping the aspect ratio.

    Resized with Pillow's antialiased box filter; an image of 32 x 32 is not changed.
    """
    if image.size != (SIZE, SIZE):
        image = image.resize((SIZE, SIZE), Image.Resampling.BOX)
    return to_tensor(image)


def _fingerprint(path: Path) -> str:
    return f"{fingerprint(path)}+prepare{PREPARATION}"


class MiniInceptionEncoder:
    """Features "pool", "logits" and "spatial" (float32) of the small classifier.

    "spatial" holds the first 7 channels of the 8 x 8 feature map in the order row, column, channel,
    as sFID takes them from Inception.
    """

    name = "mini-inception"
    kind: EncoderKind = "inception"
    precision: Precision = "exact"

    def __init__(self, device: str = "auto") -> None:
        path = BUNDLED / "mini-inception.safetensors"
        self.fingerprint = _fingerprint(path)
        self.device = device_of(device)
        self._network = load_classifier(path).eval().requires_grad_(False).to(self.device)

    def prepare(self, image: Image.Image) -> Tensor:
        return prepare(image)

    @in_its_precision
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 [N, 3, 32, 32] -> "pool" [N, 192], "logits" [N, nouns], "spatial" [N, 448]."""
        maps = self._network.trunk(to_unit(moved(images, self.device)))
        fine, coarse = (part.float() for part in maps)
        pool = coarse.mean((2, 3))
        spatial = fine[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        found = {"pool": pool, "logits": self._network.whole(pool), "spatial": spatial}
        return {name: values.float() for name, values in found.items()}


class MiniClipEncoder:
    """Feature "pool" (128 dimensions, unit length) of images, and of text in the same space.

    It replaces all standard CLIP encoders.
    """

    name = "mini-clip"
    kind: tuple[EncoderKind, ...] = ("clip", "clip-paper", "clip-large")
    precision: Precision = "exact"  # of images; prompts are always exact

    def __init__(self, device: str = "auto") -> None:
        path = BUNDLED / "mini-clip.safetensors"
        self.fingerprint = _fingerprint(path)
        self.device = device_of(device)
        self._network, config = load_clip(path)
        self._network.to(self.device)
        self._tokenizer = SubwordTokenizer(config["words"], config["context"])

    def prepare(self, image: Image.Image) -> Tensor:
        return prepare(image)

    @in_its_precision
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 [N, 3, 32, 32] -> {"pool": float32 [N, 128]}."""
        return {"pool": self._network.image(to_unit(moved(images, self.device))).float()}

    @exact()
    def text(self, prompts: Sequence[str]) -> Tensor:
        """Prompts -> float32 [N, 128]; unknown words share one token, words after the 24th are cut
        off.
        """
        tokens = self._tokenizer.encode([split_words(text) for text in prompts])
        return self._network.texts(tokens.to(self.device)).cpu()

    def truncated(self, prompts: Sequence[str]) -> int:
        """The number of prompts that are cut off."""
        return sum(len(split_words(text)) > self._tokenizer.context for text in prompts)


def load_inception(*, device: str = "auto") -> MiniInceptionEncoder:
    """A small bundled classifier, for FID and its variants without downloads (192 dimensions)."""
    return MiniInceptionEncoder(device)


def load_clip_encoder(*, device: str = "auto") -> MiniClipEncoder:
    """A small bundled CLIP, for CLIP score and CMMD without downloads (128 dimensions)."""
    return MiniClipEncoder(device)
