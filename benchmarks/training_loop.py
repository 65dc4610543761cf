"""FID in a training loop: `update` of evalkit's object and of torchmetrics', without the network.

    python benchmarks/training_loop.py [--updates 32] [--batch 32] [--rounds 5]

Both get 2048 features per image from a stand-in that costs nothing, so that the rest is measured:
checks, conversions and moments. CPU time on one thread; the tools take turns. The peak of memory is
that of a process of its own for each tool, with updates of generated and of real images (Linux).
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
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


def _ours() -> Any:
    encoder: Any = Stub()
    return FID(encoder)


TOOLS = {"evalkit": _ours, "torchmetrics": lambda: FrechetInceptionDistance(Network())}


def peak(make: Callable[[], Any]) -> float:
    """Megabytes of an object with 20 updates of each side, above those before it was made."""
    batch = torch.randint(0, 256, (32, 3, 64, 64), dtype=torch.uint8)
    make().update(batch, real=True)  # what a first call loads
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak begins anew
    before = _megabytes("VmRSS")
    metric = make()
    for number in range(40):
        metric.update(batch.clone(), real=bool(number % 2))
    return _megabytes("VmHWM") - before


def _megabytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--updates", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-of", choices=TOOLS, help="print its peak of memory, and stop")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.memory_of:
        print(f"{peak(TOOLS[given.memory_of]):.0f} MB")
        return
    random = torch.Generator().manual_seed(0)
    shape = (given.updates, given.batch, 3, 64, 64)
    batches = torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)
    ours, theirs = TOOLS["evalkit"](), TOOLS["torchmetrics"]()

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
    for tool in TOOLS:
        command = [sys.executable, __file__, "--memory-of", tool]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"peak memory of {tool}: {done.stdout.strip()}")


if __name__ == "__main__":
    main()
