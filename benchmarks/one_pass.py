"""Features under several encoders in one pass over the images, against a pass for each encoder.

    python benchmarks/one_pass.py [--images 100] [--rounds 5] [--folder path/to/images]

The images are seeded JPEG and PNG files of 512 x 512 pixels, or those of the folder. CPU time, the
two ways in turn; every round checks that the features are equal bit by bit.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peers
import torch

from evalkit.encoders import efficientnet, mini, pixels
from evalkit.features.encode import Encoding, Features, encode_images
from evalkit.features.image_file import ImageFile
from evalkit.images import file_sha256, to_images

SIDE = 512


def make(root: Path, images: int) -> dict[str, list[Path]]:
    from seeded_inception import sample_images

    found: dict[str, list[Path]] = {"JPEG": [], "PNG": []}
    for index in range(images):
        [image] = to_images(sample_images(1, SIDE, SIDE, index))
        for kind, paths in found.items():
            paths.append(root / f"{index:05d}.{kind.lower()}")
            image.save(paths[-1], quality=90)
    return found


def encode(files: Sequence[ImageFile], together: bool, encoders: Sequence[Any]) -> list[Features]:
    with tempfile.TemporaryDirectory() as folder:
        asked = [Encoding(one, Path(folder) / f"{one.name}.npz") for one in encoders]
        if together:
            return encode_images(files, asked)
        return [encode_images(files, [one])[0] for one in asked]


def compare(title: str, files: Sequence[ImageFile], encoders: Sequence[Any], rounds: int) -> None:
    found: dict[bool, list[Features]] = {}

    def work(together: bool) -> None:
        found[together] = encode(files, together, encoders)

    ways = {"a pass for each": False, "one pass": True}
    times = peers.take_turns(
        {name: (lambda way=way: work(way), len(files)) for name, way in ways.items()}, rounds
    )
    peers.show(f"{title}: {', '.join(one.name for one in encoders)}", times, milliseconds=True)
    for one, other in zip(found[False], found[True], strict=True):
        assert all(torch.equal(one.values[name], other.values[name]) for name in one.values)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    small = [mini.load_inception(device="cpu"), mini.load_clip_encoder(device="cpu"), pixels.load()]
    photos = efficientnet.load(device="cpu")
    with tempfile.TemporaryDirectory() as place:
        if given.folder:
            sets = {given.folder.name: sorted(given.folder.iterdir())[: given.images]}
        else:
            sets = make(Path(place), given.images)
        for name, paths in sets.items():
            files = [ImageFile(path, file_sha256(path)) for path in paths]
            for encoders in (small, [photos, *small]):
                compare(f"{len(files)} images, {name}", files, encoders, given.rounds)


if __name__ == "__main__":
    main()
