"""The accumulator: bounded memory and exact moments."""

from __future__ import annotations

from pathlib import Path

from counting_encoder import CountingEncoder
from PIL import Image

from evalkit.reference.accumulator import Accumulator


def test_images_of_many_sizes_do_not_accumulate_in_memory(tmp_path: Path):
    encoder = CountingEncoder()
    images = [Image.new("RGB", (8 + number, 9), (number, 0, 0)) for number in range(100)]
    accumulator = Accumulator(encoder, 4)
    for number, image in enumerate(images):
        accumulator.add(bytes([number]), encoder.prepare(image))
    assert sum(encoder.batches) >= 100 - 8 * 4
    accumulator.finish()
    assert accumulator.moments["pool"].count == 100
