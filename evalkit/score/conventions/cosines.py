"""The cosine of each image and its prompt, by network, crop and prefix.

Features are those of `score`, and share its caches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from evalkit import plugins
from evalkit.encoders.clip import Clip
from evalkit.encoders.select import at_hand
from evalkit.features.encode import Encoding, encode_images, text_features
from evalkit.features.image_sets import ImageSet
from evalkit.run_folder import Run
from evalkit.score.conventions.table import not_pinned
from evalkit.score.evidence import TEXTS

Before = Callable[[Image], Image] | None


class Source(NamedTuple):
    """What a cosine is computed from."""

    encoder: str  # the name of evalkit's encoder with this network and crop
    prefix: str = ""  # before every prompt
    before: Before = None  # what a tool does to an image first


class Cosines(NamedTuple):
    """By source float64 [N], or in words why there are none."""

    values: dict[Source, NDArray[np.float64] | str]
    notes: list[str]


def cosines(
    run: Run,
    images: ImageSet,
    texts: Sequence[str],
    sources: Sequence[Source],
    weights: str,
    device: str,
    batch_size: int,
) -> Cosines:
    """The cosines of images and their texts for each source; nothing is fetched.

    weights: see `conventions`. Raises EvalkitError for invalid images and damaged weights.
    """
    names = dict.fromkeys(source.encoder for source in sources)
    found = {name: _load(name, device, weights) for name in names}
    encoders = {name: one for name, one in found.items() if not isinstance(one, str)}
    values: dict[Source, NDArray[np.float64] | str] = {
        source: reason for source in sources if isinstance(reason := found[source.encoder], str)
    }
    if not encoders:
        return Cosines(values, [])
    one = next(iter(encoders.values()))
    # Features of other weights must not replace those of `score`.
    suffix = f"-{one.fingerprint[:8]}" if weights else ""
    measured = [source for source in sources if source not in values]
    pools = _image_features(run, images, encoders, measured, suffix, batch_size)
    known = _text_features(run, encoders, measured, suffix)
    for source in measured:
        text = torch.stack([known[source.encoder][source.prefix + prompt] for prompt in texts])
        pool = pools[source.encoder, source.before]
        cosine = torch.nn.functional.cosine_similarity(pool.double(), text.double(), dim=1)
        values[source] = cosine.numpy()
    return Cosines(values, _notes(texts, one, weights))


def _load(name: str, device: str, weights: str) -> Clip | str:
    """The encoder of a name, or in words why it is not at hand."""
    if not weights:
        loadable, reason = at_hand(name)
        if not loadable:
            return reason
    encoder: Clip = plugins.find("encoder", name)(device=device, path=weights, fetch=False)
    patch, expected = encoder.model.config.vision_config.patch_size, int(name.split("-")[1][1:])
    if patch != expected:
        return f"the given weights have patches of {patch} pixels, this network of {expected}"
    return encoder


class _Changed:
    """An encoder of images that a tool changes first."""

    def __init__(self, encoder: Clip, before: Callable[[Image], Image]) -> None:
        label = before.__name__.strip("_")
        self.encoder, self.before, self.device = encoder, before, encoder.device
        self.name = f"{encoder.name}-{label}"
        self.fingerprint = f"{encoder.fingerprint}/{label}-1"

    def prepare(self, image: Image) -> Tensor:
        return self.encoder.prepare(self.before(image))

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        return self.encoder(images)


def _image_features(
    run: Run,
    images: ImageSet,
    encoders: Mapping[str, Clip],
    sources: Sequence[Source],
    suffix: str,
    batch_size: int,
) -> dict[tuple[str, Before], Tensor]:
    """Features of all images, float32 [N, D], by encoder and what a tool does before."""
    keys = list(dict.fromkeys((source.encoder, source.before) for source in sources))
    asked: list[Encoding] = []
    for name, before in keys:
        encoder = encoders[name] if before is None else _Changed(encoders[name], before)
        cache = run.features_path(images.model, encoder.name + suffix)
        asked.append(Encoding(encoder, cache, ("pool",), batch_size))
    found = encode_images(images.files, asked, f"{images.model}: ")
    return {key: one.values["pool"] for key, one in zip(keys, found, strict=True)}


def _text_features(
    run: Run, encoders: Mapping[str, Clip], sources: Sequence[Source], suffix: str
) -> dict[str, dict[str, Tensor]]:
    """By encoder: prefix + prompt to its features, float32 [D], for all prompts of the run."""
    prompts = [prompt.text for prompt in run.prompts()]
    found: dict[str, dict[str, Tensor]] = {}
    for name, encoder in encoders.items():
        prefixes = dict.fromkeys(source.prefix for source in sources if source.encoder == name)
        texts = list(dict.fromkeys(prefix + prompt for prefix in prefixes for prompt in prompts))
        values = text_features(texts, encoder, run.features_path(TEXTS, name + suffix))
        found[name] = dict(zip(texts, values, strict=True))
    return found


def _notes(texts: Sequence[str], encoder: Clip, weights: str) -> list[str]:
    notes = [not_pinned(encoder.fingerprint.partition("/")[0])] if weights else []
    prompts = list(dict.fromkeys(texts))
    if long := encoder.truncated(prompts):
        notes.append(
            f"{long:,} of {len(prompts):,} prompts are longer than {encoder.context} tokens and are"
            " cut. The end token is kept, as OpenAI's code does; torchmetrics loses it, so its"
            " values are others."
        )
    return notes
