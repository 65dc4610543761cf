"""The bundled text-conditional GAN, trained on the bundled data set (32 x 32 pixels)."""

from __future__ import annotations

from torch import Tensor

from evalkit.core import EvalkitError, Generator
from evalkit.generators.image_batches import FixedBatches, fixed_size
from evalkit.models.load import device_name, device_of, fingerprint, load_gan, weights_file
from evalkit.models.text import SubwordTokenizer


def load(*, truncation: float = 0.7, weights: str = "", device: str = "auto") -> Generator:
    """The generator `gan`.

    Args:
        truncation: scale of the noise, 0 to 1: less gives more typical and less varied images
            (Brock et al. 2019). It was trained with 1.
        weights: a folder with the gan.safetensors of your own training, or a file such as
            gan-loose.safetensors; empty = the bundled one.
        device: auto, cpu, cuda or cuda:N.
    """
    if not 0 <= truncation <= 1:
        raise EvalkitError(
            f"gan.truncation is {truncation}, expected 0 to 1.",
            "Change it with --set or in the configuration.",
            code="generators-19",
        )
    path, where = weights_file(weights, "gan"), device_of(device)
    network, config = load_gan(path)
    network, tokenizer = network.to(where), SubwordTokenizer(config["pieces"], config["context"])

    def draw(texts: list[list[str]], seeds: list[int]) -> Tensor:
        noise = network.noise_of(seeds).to(where)
        return network(network.encode_text(tokenizer.encode(texts).to(where)), truncation * noise)

    settings = {"device": device_name(where), "dtype": "float32"}
    return FixedBatches(draw, tokenizer, fingerprint(path), fixed_size(where), settings)
