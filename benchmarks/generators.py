"""The speed of the bundled generators, as `evalkit run` uses them and of their networks alone.

    python benchmarks/generators.py [DEVICE] [ROUNDS]    (default: cuda if present, else one CPU
                                                          thread; 5 rounds)

Every figure is a median of wall-clock times, after two warm-up rounds. "Prompts to images" includes
tokenizing and making PIL images on one CPU core, which limits an accelerator.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

from evalkit.generators import dalle, gan
from evalkit.models.load import BUNDLED, device_of, load_dalle, load_gan, load_image_tokenizer
from evalkit.models.text import SubwordTokenizer
from evalkit.scenes import dataset
from evalkit.training.tokens import tokenize


def measure(name: str, draw: Callable[[], object], count: int, rounds: int) -> None:
    taken: list[float] = []
    for _ in range(2 + rounds):
        start = time.perf_counter()
        draw()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    median, best = count / statistics.median(taken[2:]), count / min(taken[2:])
    print(f"{name:40} {median:10,.0f} images/s (best {best:,.0f})", flush=True)


def main(device: str, rounds: int) -> None:
    many = 2048 if device.startswith("cuda") else 64
    prompts = dataset.SceneDataset(dataset.HELD_OUT, many).prompts()
    for name, load in (("gan", gan.load), ("dalle", dalle.load)):
        generator = load(device=device)
        measure(f"{name}, prompts to images", lambda: generator(prompts, range(many)), many, rounds)
    painter, config = load_gan(BUNDLED / "gan.safetensors")
    pieces = SubwordTokenizer(config["pieces"], config["context"])
    writer, config = load_dalle(BUNDLED / "dalle.safetensors")
    words = SubwordTokenizer(config["pieces"], config["context"])
    images = load_image_tokenizer(BUNDLED / "image-tokenizer.safetensors")[0].to(device)
    painter, writer, empty = (
        painter.to(device),
        writer.to(device),
        tokenize([""], words).to(device),
    )
    for count in (32, 512, 2048) if many == 2048 else (32,):
        texts, noise = (
            tokenize(prompts[:count], pieces).to(device),
            painter.noise_of(range(count)).to(device),
        )
        numbers = tokenize(prompts[:count], words).to(device)
        with torch.inference_mode():
            measure(
                f"gan, network alone, {count} at a time",
                lambda: painter(painter.encode_text(texts), noise),
                count,
                rounds,
            )
            measure(
                f"dalle, network and decoder, {count} at a time",
                lambda: images.decode(writer.sample(numbers, empty, range(count), guidance=1.0)),
                count,
                rounds,
            )


if __name__ == "__main__":
    where = device_of(sys.argv[1] if len(sys.argv) > 1 else "auto")
    if where == "cpu":
        torch.set_num_threads(1)
    main(where, int(sys.argv[2]) if len(sys.argv) > 2 else 5)
