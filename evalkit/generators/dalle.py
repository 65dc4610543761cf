"""The bundled DALL-E: an autoregressive transformer over image tokens (32 x 32 pixels)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from evalkit.core import EvalkitError, Generator
from evalkit.generators.image_batches import FixedBatches, fixed_size
from evalkit.models.dalle import GUIDANCE
from evalkit.models.load import (
    BUNDLED,
    codes_fingerprint,
    device_name,
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

Similarity = Callable[[Tensor, list[list[str]]], Tensor]  # images, texts -> float [N]


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
        temperature: of the softmax over image tokens; 0 always takes the most likely token.
            Default: 0.6 with guidance and 1 without.
        top_k: sample from this many most likely tokens; 0 = all.
        top_p: of these, from the fewest whose probabilities sum to p, in (0, 1].
        guidance: scale of classifier-free guidance; 1 = no guidance, twice as fast. Default: the
            value in the weights, which is 1 for a student of a guided teacher (such as the bundled
            weights), else 1.8.
        best_of: make this many images and keep the one that is most similar to the prompt by
            mini-clip (Ramesh et al. 2021). Scores by mini-clip are then biased: compare models by
            another metric.
        weights: a folder with the dalle.safetensors of your own training, or another file in it
            such as dalle-guided.safetensors, and with the image-tokenizer.safetensors that it was
            trained with, unless that is the bundled one; empty = the bundled weights.
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
                code="generators-6",
            )
    path, where = weights_file(weights, "dalle"), device_of(device)
    decoder = path.with_name("image-tokenizer.safetensors")
    if not decoder.is_file():
        decoder = BUNDLED / decoder.name
    (network, config), (images, image_config) = load_dalle(path), load_image_tokenizer(decoder)
    if config["codes"] != images.codes:
        raise EvalkitError(
            f"{path} generates image tokens of {config['codes']} codes, and {decoder} has "
            f"{images.codes} codes (levels {image_config['levels']}).",
            "Use both files of one training.",
            code="generators-7",
        )
    if config.get("image_tokenizer", found := codes_fingerprint(images)) != found:
        raise EvalkitError(
            f"{path} was trained on the image tokens of another file than {decoder}.",
            "Put the image-tokenizer.safetensors that it was trained with into its folder.",
            code="generators-8",
        )
    network, images = network.to(where), images.to(where)
    tokenizer = SubwordTokenizer(config["pieces"], config["context"])
    empty = tokenizer.encode([[]]).to(where)
    scale = config.get("guidance", GUIDANCE) if guidance is None else guidance

    def draw(texts: list[list[str]], seeds: list[int]) -> Tensor:
        encoded = tokenizer.encode(texts).to(where)
        options = {"guidance": scale, "temperature": temperature, "top_p": top_p}
        return images.decode(network.sample(encoded, empty, seeds, top_k=top_k, **options))

    draw_best = draw if best_of == 1 else _best(draw, best_of, _clip_similarity(where))
    at_once = fixed_size(where, network.length)
    settings = {"device": device_name(where), "dtype": "float32", "guidance": scale}
    return FixedBatches(draw_best, tokenizer, fingerprint(path, decoder), at_once, settings)


def _best(
    draw: Callable[[list[list[str]], list[int]], Tensor], count: int, similarity: Similarity
) -> Callable[[list[list[str]], list[int]], Tensor]:
    """Draw `count` candidates of each image and keep the most similar one."""

    def draw_best(texts: list[list[str]], seeds: list[int]) -> Tensor:
        best = draw(texts, seeds)
        highest = similarity(best, texts)
        for candidate in range(1, count):
            other = draw(texts, [image_seed(seed, "candidate", candidate) for seed in seeds])
            scores = similarity(other, texts)
            better = scores > highest
            best = torch.where(better[:, None, None, None], other, best)
            highest = torch.maximum(scores, highest)
        return best

    return draw_best


def _clip_similarity(device: str) -> Similarity:
    """Images, float [N, 3, S, S] in -1..1, and N texts -> cosines by mini-clip, float [N]."""
    clip, config = load_clip(BUNDLED / "mini-clip.safetensors")
    clip, tokenizer = clip.to(device), SubwordTokenizer(config["words"], config["context"])

    def similarity(images: Tensor, texts: list[list[str]]) -> Tensor:
        small = resize_to_32(images.clamp(-1, 1))
        return (clip.image(small) * clip.texts(tokenizer.encode(texts).to(device))).sum(1)

    return similarity
