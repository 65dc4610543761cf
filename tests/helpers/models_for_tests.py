"""Generators that misbehave on purpose; resolved by `models_for_tests:NAME` like anybody's own."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy
from PIL import Image

from evalkit.core import EvalkitError, Generator, Refusal, Request


def make_image(seed: int, text: str, size: int = 8) -> Image.Image:
    """An image that depends on the seed and the text only."""
    words = [seed, *text.encode()]
    return Image.fromarray(
        numpy.random.default_rng(words).integers(0, 256, (size, size, 3), numpy.uint8)
    )


def plain(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
    return [make_image(seed, text) for text, seed in zip(prompts, seeds, strict=True)]


_calls: list[int] = []


def slow(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
    """Notes every call in $CALLS and takes 10 ms; after $HALT calls in one process it never comes
    back.
    """
    with Path(os.environ["CALLS"]).open("a") as file:
        file.write(f"{len(prompts)}\n")
    _calls.append(len(prompts))
    time.sleep(600 if len(_calls) > int(os.environ.get("HALT", "1000")) else 0.01)
    return plain(prompts, seeds)


def counted(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
    """Notes every image that it makes in $CALLS: the seed, which no other image has."""
    with Path(os.environ["CALLS"]).open("a") as file:
        file.writelines(f"{seed}\n" for seed in seeds)
    return plain(prompts, seeds)


def counted_too(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
    """A second model, with other images."""
    with Path(os.environ["CALLS"]).open("a") as file:
        file.writelines(f"too {seed}\n" for seed in seeds)
    return [make_image(seed, f"too {text}") for text, seed in zip(prompts, seeds, strict=True)]


def options(
    *,
    size: int = 8,
    scale: float = 1.0,
    dark: bool = False,
    style: str = "flat",
    limit: int | None = None,
    device: str,
) -> Generator:
    """A factory with one option of each type; the device comes from evalkit."""
    assert device == "cpu"

    def generate(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image | Refusal]:
        return [make_image(seed, text, size) for text, seed in zip(prompts, seeds, strict=True)]

    return generate


def needs(*, weights: str) -> Generator:
    raise AssertionError(weights)


def bound(*, requests: Sequence[Request]) -> Generator:
    """Refuses what is not among the requests that it was bound to."""
    known = {(request.prompt.text, request.seed) for request in requests}

    def generate(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image | Refusal]:
        pairs = zip(prompts, seeds, strict=True)
        return [
            make_image(seed, text) if (text, seed) in known else Refusal("bad_request")
            for text, seed in pairs
        ]

    return generate


def refuses(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image | Refusal]:
    """Refuses every text with "gun"; is over its quota for every text with "rare" unless $QUOTA is
    set.
    """
    results: list[Image.Image | Refusal] = []
    for text, seed in zip(prompts, seeds, strict=True):
        over = "rare" in text and "QUOTA" not in os.environ
        results.append(
            Refusal("refused_input", "policy")
            if "gun" in text
            else Refusal("quota")
            if over
            else make_image(seed, text)
        )
    return results


def fails(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
    """Fails on the batch that holds the text "bad"."""
    if "bad" in prompts:
        raise RuntimeError("CUDA out of memory")
    return plain(prompts, seeds)


def says(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
    raise EvalkitError("My own sentence.")


def few(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
    return plain(prompts, seeds)[1:]


def gray(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
    return [image.convert("L") for image in plain(prompts, seeds)]


def arrays(prompts: Sequence[str], seeds: Sequence[int]) -> list[object]:
    return [numpy.array(image) for image in plain(prompts, seeds)]


def none(prompts: Sequence[str], seeds: Sequence[int]) -> None:
    return None


def floats(prompts: Sequence[str], seeds: Sequence[int]) -> list[object]:
    return [numpy.array(image) / 255 for image in plain(prompts, seeds)]


def channels_first(prompts: Sequence[str], seeds: Sequence[int]) -> list[object]:
    return [numpy.array(image).transpose(2, 0, 1) for image in plain(prompts, seeds)]


def lazy(prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Image.Image]:
    """Fails while its images are taken."""
    yield plain(prompts, seeds)[0]
    raise KeyError("weights")


def black(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
    return [Image.new("RGB", (8, 8)) for _ in prompts]


def refuses_all(prompts: Sequence[str], seeds: Sequence[int]) -> list[Refusal]:
    return [Refusal("bad_request", "unknown parameter 'style'") for _ in prompts]


def broken(*, size: int = 8) -> Generator:
    raise OSError("weights are missing")


class Weights:
    """A generator with a fingerprint, from $WEIGHTS."""

    def __init__(self) -> None:
        self.fingerprint = os.environ["WEIGHTS"]

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        return plain(prompts, seeds)


constant = 5


def lingers(*, size: int = 8) -> Generator:
    """Notes in $CALLS that an image other than the first was started, and takes half a second for
    it.
    """

    def generate(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image | Refusal]:
        if seeds[0]:
            Path(os.environ["CALLS"]).touch()
            time.sleep(0.5)
        return [make_image(seed, text, size) for text, seed in zip(prompts, seeds, strict=True)]

    return generate
