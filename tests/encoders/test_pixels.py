"""The encoder without a network."""

from __future__ import annotations

import torch
from PIL import Image

from evalkit.encoders.pixels import load


def test_features_are_the_mean_colours_of_the_grid():
    image = Image.new("RGB", (64, 32), (255, 0, 0))
    image.paste((0, 0, 51), (32, 0, 64, 32))  # the right half
    encoder = load()
    pool = encoder(encoder.prepare(image)[None])["pool"].view(3, 8, 8)
    assert torch.equal(pool[0, :, :4], torch.ones(8, 4))
    assert torch.equal(pool[0, :, 4:], torch.zeros(8, 4))
    assert torch.equal(pool[2, :, 4:], torch.full((8, 4), 0.2))
    assert encoder.fingerprint == "pixels-8x8-1"
