"""FID in a training loop: `update` of evalkit's object and of torchmetrics', without the network.

    python benchmarks/training_loop.py [--updates 32] [--batch 32] [--rounds 5]

Both get 2048 features per image from a stand-in that costs nothing, so that the rest is measured:
checks, conversions and moments. CPU time on one thread; the tools take turns.
"""

from __future__ import annotations

import argparse
from typing import Any

import peers
import torch
from PIL.Image import Image
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from evalkit.images import to_tensor
from evalkit.torchmetrics import FID

WIDTH = 2048


def features(images: Tensor) -> Tensor:
    """The first values of each image: [N, 2048]."""
    return images.flatten(1)[:, :WIDTH].float() / 255


class Stub:
    """An encoder without a network."""

    name, fingerprint, kind = "stub", "stub", "inception"

    def prepare(self, image: Image) -> Tensor:
        return to_tensor(image)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        return {"pool": features(images)}


class Network(nn.Module):
    num_features = WIDTH

    def forward(self, images: Tensor) -> Tensor:
        return features(images)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--updates", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    shape = (given.updates, given.batch, 3, 64, 64)
    batches = torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)
    encoder: Any = Stub()
    ours, theirs = FID(encoder), FrechetInceptionDistance(Network())

    def update(metric: Any) -> None:
        metric.reset()
        for batch in batches:
            metric.update(batch, real=False)

    images = given.updates * given.batch
    variants = {
        "torchmetrics": (lambda: update(theirs), images),
        "evalkit": (lambda: update(ours), images),
    }
    peers.show("Updates of FID", peers.take_turns(variants, given.rounds), True)


if __name__ == "__main__":
    main()
