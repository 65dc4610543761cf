"""Inception features of images of many sizes, against as many images of one size.

    python benchmarks/many_sizes.py [--images 300] [--rounds 3]

The JPEG files of both folders have the same number of pixels within 1%. Each measurement is a
process of its own on one thread: CPU time of the encoding alone, and the memory at its peak above
that before (Linux).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import peers
import torch

SIDE = 512


def make(root: Path, images: int) -> dict[str, Path]:
    from seeded_inception import sample_images, state_dict

    from evalkit.images import to_images

    torch.save(state_dict(), root / "weights.pth")
    for name in ("one size", "many sizes"):
        (root / name).mkdir()
        for index in range(images):
            # 300 widths, then the same with another remainder of rows
            width = SIDE if name == "one size" else SIDE // 2 + index % (SIDE + 44)
            height = SIDE if name == "one size" else SIDE * SIDE // width - index // (SIDE + 44)
            image = to_images(sample_images(1, height, width, index))[0]
            image.save(root / name / f"{index:05d}.jpg", quality=90)
    return {name: root / name for name in ("one size", "many sizes")}


def measure(folder: Path) -> None:
    """In a process of its own: seconds, and megabytes above those before the first image."""
    from evalkit.encoders import inception
    from evalkit.features.encode import image_features
    from evalkit.features.image_file import ImageFile
    from evalkit.images import file_sha256

    torch.set_num_threads(1)
    encoder = inception.load(device="cpu", path=str(folder.parent / "weights.pth"))
    files = [ImageFile(path, file_sha256(path)) for path in sorted(folder.iterdir())]
    with tempfile.TemporaryDirectory() as cache:
        Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak begins anew
        before = memory("VmRSS")
        spent = peers.cpu_seconds(lambda: image_features(files, encoder, Path(cache) / "f.npz"))
    print(json.dumps({"seconds": spent, "megabytes": memory("VmHWM") - before}))


def memory(name: str) -> float:
    """Megabytes, such as the peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure)
        return
    with tempfile.TemporaryDirectory() as place:
        folders = make(Path(place), given.images)
        ratios: dict[str, list[float]] = {"seconds": [], "megabytes": []}
        for _ in range(given.rounds):
            found = {}
            for name, folder in folders.items():
                command = [sys.executable, __file__, "--measure", str(folder)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found[name] = json.loads(done.stdout.splitlines()[-1])
                print(f"{name}: {found[name]}", flush=True)
            for key, values in ratios.items():
                values.append(found["many sizes"][key] / found["one size"][key])
    for key, values in ratios.items():
        print(f"{key}, many sizes over one size: {peers.spread(values)}")


if __name__ == "__main__":
    main()
