"""The bundled DALL-E: an autoregressive Transformer over image tokens, trained on the bundled world (32 x 32 pixels)."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from evalkit.core import EvalkitError, Generator
from evalkit.generators.pictures import FixedBatches, fingerprint
from evalkit.models.load import BUNDLED, device_of, load_dalle, load_image_tokenizer
from evalkit.models.text import WordTokenizer


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
    for name, value, expected, good in (
        ("temperature", temperature, "0 or more", temperature >= 0),
        ("top_k", top_k, "0 or more", top_k >= 0),
        ("top_p", top_p, "more than 0 and at most 1", 0 < top_p <= 1),
        ("guidance", guidance, "0 or more", guidance >= 0),
    ):
        if not good:
            raise EvalkitError(f"dalle.{name} is {value}, expected {expected}.", "Change it with --set or in the configuration.")
    folder, where = Path(weights) if weights else BUNDLED, device_of(device)
    files = folder / "dalle.safetensors", folder / "image-tokenizer.safetensors"
    (network, config), (images, _) = load_dalle(files[0]), load_image_tokenizer(files[1])
    network, images = network.to(where), images.to(where)
    words = WordTokenizer(config["words"], config["context"])
    empty = words.encode([[]]).to(where)

    def draw(numbers: Tensor, seeds: list[int]) -> Tensor:
        options = {"guidance": guidance, "temperature": temperature, "top_p": top_p}
        return images.decode(network.sample(numbers.to(where), empty, seeds, top_k=top_k, **options))

    return FixedBatches(draw, words, fingerprint(*files))
