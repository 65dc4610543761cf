"""The bundled DALL-E: an autoregressive Transformer over image tokens, trained on the bundled world (32 x 32 pixels)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL.Image import Image

from evalkit.core import EvalkitError, Generator, Refusal
from evalkit.generators.pictures import to_pictures
from evalkit.models.load import BUNDLED, device_of, load_dalle, load_image_tokenizer
from evalkit.models.text import WordTokenizer
from evalkit.words import split_words

BATCH = 32  # always this many rows at once, filled up: then a picture cannot depend on how many are asked for together


def load(
    *, temperature: float = 1.0, top_k: int = 200, top_p: float = 1.0, guidance: float = 3.0, weights: str = "", device: str = "auto"
) -> Generator:
    """The generator `dalle`.

    Args:
        temperature: of the softmax over image tokens; 0 always takes the likeliest.
        top_k: draw among this many likeliest tokens; 0 = all.
        top_p: of these, among the fewest whose chances reach p, in (0, 1].
        guidance: how much the text counts (classifier-free guidance); 1 = no guidance.
        weights: a folder with dalle.safetensors and image-tokenizer.safetensors of your own training; empty = the bundled ones.
        device: auto, cpu, cuda or cuda:N.
    """
    for name, value, good in (
        ("temperature", temperature, temperature >= 0),
        ("top_k", top_k, top_k >= 0),
        ("top_p", top_p, 0 < top_p <= 1),
        ("guidance", guidance, guidance >= 0),
    ):
        if not good:
            raise EvalkitError(f"dalle.{name} is {value}, out of its range.", "See `evalkit list generators`.")
    folder, where = Path(weights) if weights else BUNDLED, device_of(device)
    network, config = load_dalle(folder / "dalle.safetensors")
    images, _ = load_image_tokenizer(folder / "image-tokenizer.safetensors")
    network, images = network.to(where), images.to(where)
    words = WordTokenizer(config["words"], config["context"])
    empty = words.encode([[]]).to(where)

    @torch.no_grad()
    def generate(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image | Refusal]:
        drawn: list[Image | Refusal] = []
        for start in range(0, len(prompts), BATCH):
            part, own = [split_words(text) for text in prompts[start : start + BATCH]], list(seeds[start : start + BATCH])
            missing = BATCH - len(part)
            numbers = words.encode(part + [[]] * missing).to(where)
            tokens = network.sample(
                numbers, empty, own + [0] * missing, guidance=guidance, temperature=temperature, top_k=top_k, top_p=top_p
            )
            drawn += to_pictures(images.decode(tokens)[: len(part)])
        return drawn

    return generate
