"""The bundled DALL-E: an autoregressive Transformer over image tokens, trained on the bundled world
(32 x 32 pixels).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from evalkit.core import EvalkitError, Generator
from evalkit.generators.pictures import FixedBatches, fixed_size
from evalkit.models.dalle import GUIDANCE
from evalkit.models.load import (
    BUNDLED,
    codes_fingerprint,
    device_of,
    fingerprint,
    load_clip,
    load_dalle,
    load_image_tokenizer,
    weights_file,
)
from evalkit.models.mini_inception import resize_to_32
from evalkit.models.text import SubwordTokenizer
from evalkit.seeds import image_seed


def load(
    *,
    temperature: float | None = None,
    top_k: int = 48,
    top_p: float = 0.7,
    guidance: float | None = None,
    best_of: int = 1,
    weights: str = "",
    device: str = "auto",
) -> Generator:
    """The generator `dalle`.

    Args:
        temperature: of the softmax over image tokens; 0 always takes the likeliest. Without it 0.6
            with guidance and 1 without.
        top_k: draw among this many likeliest tokens; 0 = all.
        top_p: of these, among the fewest whose chances reach p, in (0, 1].
        guidance: how much the text counts (classifier-free guidance); 1 = no guidance, twice as
            fast. Without it, what the weights ask for: 1 where they learned from a guided teacher,
            as the bundled ones did, else 1.8.
        best_of: draw so many pictures and keep the one that mini-clip finds nearest to the prompt
            (Ramesh et al. 2021). With more than 1, scores by mini-clip are of its own choice:
            compare models by another measure then.
        weights: a folder with dalle.safetensors of your own training, or another dalle's file in
            it, such as dalle-guided.safetensors, and with the image-tokenizer.safetensors that it
            was trained on, if that is not the bundled one; empty = the bundled ones.
        device: auto, cpu, cuda or cuda:N.
    """
    for name, value, expected, good in (
        ("temperature", temperature, "0 or more", temperature is None or temperature >= 0),
        ("top_k", top_k, "0 or more", top_k >= 0),
        ("top_p", top_p, "more than 0 and at most 1", 0 < top_p <= 1),
        ("guidance", guidance, "0 or more", guidance is None or guidance >= 0),
        ("best_of", best_of, "1 or more", best_of >= 1),
    ):
        if not good:
            raise EvalkitError(
                f"dalle.{name} is {value}, expected {expected}.",
                "Change it with --set or in the configuration.",
            )
    path, where = weights_file(weights, "dalle"), device_of(device)
    decoder = path.with_name("image-tokenizer.safetensors")
    if not decoder.is_file():
        decoder = BUNDLED / decoder.name  # which a dalle learns from where there is no other
    (network, config), (images, image_config) = load_dalle(path), load_image_tokenizer(decoder)
    if config["codes"] != images.codes:
        written = f"{decoder} has {images.codes} codes (levels {image_config['levels']})"
        raise EvalkitError(
            f"{path} writes image tokens of {config['codes']} codes, and {written}.",
            "Take both of one training.",
        )
    if config.get("image_tokenizer", there := codes_fingerprint(images)) != there:
        message = f"{path} was trained on the image tokens of another file than {decoder}."
        raise EvalkitError(
            message, "Put the image-tokenizer.safetensors that it was trained on into its folder."
        )
    network, images = network.to(where), images.to(where)
    pieces = SubwordTokenizer(config["pieces"], config["context"])
    empty = pieces.encode([[]]).to(where)
    guided = config.get("guidance", GUIDANCE) if guidance is None else guidance
    nearness = _nearness(where) if best_of > 1 else None

    def draw_one(texts: list[list[str]], seeds: list[int]) -> Tensor:
        options = {"guidance": guided, "temperature": temperature, "top_p": top_p}
        return images.decode(
            network.sample(pieces.encode(texts).to(where), empty, seeds, top_k=top_k, **options)
        )

    def draw(texts: list[list[str]], seeds: list[int]) -> Tensor:
        best = draw_one(texts, seeds)
        if nearness is None:
            return best
        highest = nearness(best, texts)
        for candidate in range(1, best_of):
            other = draw_one(texts, [image_seed(seed, "candidate", candidate) for seed in seeds])
            scores = nearness(other, texts)
            better = scores > highest
            best, highest = (
                torch.where(better[:, None, None, None], other, best),
                torch.maximum(scores, highest),
            )
        return best

    return FixedBatches(draw, pieces, fingerprint(path, decoder), fixed_size(where, network.length))


def _nearness(device: str) -> Callable[[Tensor, list[list[str]]], Tensor]:
    """Pictures, float [N, 3, S, S] in -1..1, and texts -> the cosines of mini-clip, float [N]."""
    clip, config = load_clip(BUNDLED / "mini-clip.safetensors")
    clip, words = clip.to(device), SubwordTokenizer(config["words"], config["context"])

    def nearness(pictures: Tensor, texts: list[list[str]]) -> Tensor:
        small = resize_to_32(pictures.clamp(-1, 1))
        return (clip.image(small) * clip.texts(words.encode(texts).to(device))).sum(1)

    return nearness
