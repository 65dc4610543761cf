"""The bundled text-conditional GAN, trained on the bundled world (32 x 32 pixels)."""

from __future__ import annotations

from torch import Tensor

from evalkit.core import EvalkitError, Generator
from evalkit.generators.pictures import FixedBatches, fixed_size
from evalkit.models.load import device_of, fingerprint, load_gan, weights_file
from evalkit.models.text import SubwordTokenizer


def load(*, truncation: float = 0.7, weights: str = "", device: str = "auto") -> Generator:
    """The generator `gan`.

    Args:
        truncation: scale of the noise, in [0, 1]: less is more typical and less varied (Brock et
            al. 2019). 1 is what it was trained with.
        weights: a folder with gan.safetensors of your own training, or a file such as
            gan-loose.safetensors; empty = the bundled one.
        device: auto, cpu, cuda or cuda:N.
    """
    if not 0 <= truncation <= 1:
        raise EvalkitError(
            f"gan.truncation is {truncation}, expected 0 to 1.",
            "Change it with --set or in the configuration.",
        )
    path, where = weights_file(weights, "gan"), device_of(device)
    network, config = load_gan(path)
    network, pieces = network.to(where), SubwordTokenizer(config["pieces"], config["context"])

    def draw(texts: list[list[str]], seeds: list[int]) -> Tensor:
        noise = network.noise_of(seeds).to(where)
        return network(network.encode_text(pieces.encode(texts).to(where)), truncation * noise)

    return FixedBatches(draw, pieces, fingerprint(path), fixed_size(where))
