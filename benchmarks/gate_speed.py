"""The time of a gate on features that are cached, for both models together.

    python benchmarks/gate_speed.py [IMAGES [DIMENSIONS]]       (default: 5,000 and 2,048)

Two folders of small images, an encoder that draws features from the pixels of each image, and a
reference of as many images. Timed are the gate with the values that `score` keeps, the gate that
has to compute them from cached features, and the size of a baseline file. Each gate is a process of
its own.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import evalkit
from evalkit.core import Prompt
from evalkit.images import to_tensor

METRICS = ["fid", "precision", "recall"]
DIMENSIONS = int(os.environ.get("GATE_SPEED_DIMENSIONS", "2048"))


class Drawn:
    """Correlated features that are never negative, drawn from a hash of the pixels."""

    name = "drawn"
    fingerprint = f"drawn-{DIMENSIONS}-1"
    kind = "inception"

    def __init__(self) -> None:
        self.mixing = np.random.RandomState(0).randn(256, DIMENSIONS).astype(np.float32) / 16

    def prepare(self, image: Image.Image) -> Tensor:
        return to_tensor(image)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        rows = []
        for image in images:
            digest = hashlib.sha256(image.numpy().tobytes()).digest()
            random = np.random.RandomState(int.from_bytes(digest[:4], "big"))
            shared = random.randn(256).astype(np.float32) @ self.mixing
            rows.append(np.maximum(shared + random.randn(DIMENSIONS).astype(np.float32) / 4, 0))
        return {"pool": torch.from_numpy(np.stack(rows))}


def load() -> Drawn:
    return Drawn()


def folder_of_images(path: Path, count: int, seed: int) -> Path:
    path.mkdir()
    random = np.random.RandomState(seed)
    for at in range(count):
        pixels = random.randint(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((33, 33)).save(path / f"{at:05d}.png")
    return path


def timed_gate(candidate: Path, baseline: Path, *, environment: dict[str, str]) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "evalkit", "gate", str(candidate), "--baseline", str(baseline)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - started


def main(count: int) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    encoder = "gate_speed:load"
    prompts = [Prompt(f"{at:05d}", f"prompt {at}") for at in range(count)]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        real = folder_of_images(root / "real", count, 0)
        reference = evalkit.reference_build(
            real, name="drawn", out=root / "reference", encoders=encoder, keep_all=True
        )
        runs = []
        for seed in (1, 2):
            images = folder_of_images(root / f"images-{seed}", count, seed)
            run = evalkit.generate({"model": str(images)}, prompts, out=root / f"run-{seed}")
            started = time.perf_counter()
            evalkit.score(
                run, metrics=METRICS, only=True, encoders=encoder, reference=str(reference)
            )
            print(f"score {seed}\t{time.perf_counter() - started:.1f} s", flush=True)
            runs.append(run.path)
        gate_json = runs[0] / "gate.json"
        print(f"gate, values kept\t{timed_gate(*runs, environment=environment):.1f} s", flush=True)
        first = gate_json.read_bytes()
        for path in root.glob("run-*/features/*/measured/*"):
            path.unlink()
        seconds = timed_gate(*runs, environment=environment)
        same = "the same" if gate_json.read_bytes() == first else "ANOTHER"
        print(f"gate, from features\t{seconds:.1f} s\t{same} gate.json", flush=True)
        file = evalkit.baseline_save(runs[1], out=root / "baseline.json", reason="benchmark")
        print(f"baseline file\t{file.stat().st_size / 1e6:.2f} MB")
        print(f"gate, baseline file\t{timed_gate(runs[0], file, environment=environment):.1f} s")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        os.environ["GATE_SPEED_DIMENSIONS"] = sys.argv[2]
        os.execv(sys.executable, [sys.executable, __file__, sys.argv[1]])
    sys.path.insert(0, str(Path(__file__).parent))
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
