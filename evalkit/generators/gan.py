"""The bundled text-conditional GAN, trained on the bundled world (32 x 32 pixels)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL.Image import Image

from evalkit.core import EvalkitError, Generator, Refusal
from evalkit.generators.pictures import to_pictures
from evalkit.models.load import BUNDLED, device_of, load_clip, load_gan
from evalkit.models.text import WordTokenizer
from evalkit.words import split_words

BATCH = 32  # always this many rows at once, filled up: then a picture cannot depend on how many are asked for together


def load(*, truncation: float = 1.0, weights: str = "", device: str = "auto") -> Generator:
    """The generator `gan`.

    Args:
        truncation: scale of the noise, in [0, 1]: less is more typical and less varied (Brock et al. 2019).
        weights: a folder with gan.safetensors and mini-clip.safetensors of your own training; empty = the bundled ones.
        device: auto, cpu, cuda or cuda:N.
    """
    if not 0 <= truncation <= 1:
        raise EvalkitError(f"gan.truncation is {truncation}, expected a number from 0 to 1.", "See `evalkit list generators`.")
    folder, where = Path(weights) if weights else BUNDLED, device_of(device)
    network, reader = load_gan(folder / "gan.safetensors")[0].to(where), load_clip(folder / "mini-clip.safetensors")
    clip, config = reader[0].to(where), reader[1]
    words = WordTokenizer(config["words"], config["context"])

    @torch.no_grad()
    def generate(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image | Refusal]:
        drawn: list[Image | Refusal] = []
        for start in range(0, len(prompts), BATCH):
            part, own = [split_words(text) for text in prompts[start : start + BATCH]], list(seeds[start : start + BATCH])
            missing = BATCH - len(part)
            text = clip.texts(words.encode(part + [[]] * missing).to(where))
            noise = torch.stack([torch.randn(network.noise, generator=torch.Generator().manual_seed(seed)) for seed in own + [0] * missing])
            drawn += to_pictures(network(text, truncation * noise.to(where))[: len(part)])
        return drawn

    return generate
