"""Scoring a run of very many images in one process: time and memory of each metric.

    python benchmarks/million.py [--images 1000000] [--shards 64] [--folder /tmp/a]

The run has one image per prompt, tiny PNGs of one random colour each, which are read and decoded.
The features of 2,048, 1,000 and 512 numbers are made up and lie in the caches of shards, as
`evalkit encode` leaves them; an encoder that is called is an error. A folder that exists is used
again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from evalkit.core import Prompt, Record
from evalkit.features import cache
from evalkit.features.cache import CachedFeatures
from evalkit.features.parts import own
from evalkit.files import append_lines
from evalkit.run_folder import Run
from evalkit.run_folder.names import image_file
from evalkit.seeds import image_seed
from evalkit.shards import Shard

GIB = 2**30
MODEL = "a"
METRICS = (
    *("fid", "kid", "inception_score", "clip_score", "precision", "recall", "density"),
    *("coverage", "vendi", "mind", "memorization", "duplicates", "fid_infinity"),
    "retrieval_precision",
)
RANK = 64  # directions in which most of the variance lies


class Made:
    """An encoder whose features are in the caches already."""

    name, fingerprint, kind, widths = "made", "made", "inception", {"pool": 2048, "logits": 1000}

    def prepare(self, image: Image) -> Tensor:
        raise AssertionError("an image is encoded")

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        raise AssertionError("an image is encoded")


class MadeWithText(Made):
    name, fingerprint, kind, widths = "made-text", "made", "clip", {"pool": 512}

    def text(self, prompts: Sequence[str]) -> Tensor:
        raise AssertionError("a prompt is encoded")


def features(random: np.random.Generator, rows: int, width: int) -> np.ndarray:
    """Features of unequal variances that share some directions, float32 [rows, width]."""
    weights = np.random.default_rng(width).standard_normal((RANK, width), np.float32)
    hidden = random.standard_normal((rows, RANK), np.float32)
    return np.abs(hidden @ weights / 8 + random.standard_normal((rows, width), np.float32) / 4)


def png(number: int) -> bytes:
    """A PNG of 8 x 8 pixels of a colour and with a comment, both from the number."""
    row = b"\0" + bytes([number % 251, number // 251 % 251, number // 63001 % 251]) * 8
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)),
        (b"tEXt", b"n\0" + str(number).encode()),
        (b"IDAT", zlib.compress(row * 8)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def make(folder: Path, images: int, shards: int) -> None:
    """The run folder, with the caches of all shards, and a reference."""
    run, random = Run(folder / "run"), np.random.default_rng(0)
    prompts = [Prompt(f"{index:07d}", f"a red cube number {index}") for index in range(images)]
    run.write_prompts(prompts)
    run.register_model(MODEL, MODEL, 0)
    run.config_path.write_text('models = ["a"]\n', encoding="utf-8")
    for shard in (Shard(index, shards) for index in range(shards)):
        records = list(_records(run, shard.of(prompts), shard, images))
        file = run.image_folder(MODEL) / f"manifest.{shard.index}.jsonl"
        append_lines(file, map(asdict, records))
        keys = {record.sha256: row for row, record in enumerate(records)}
        texts = [prompt.text.encode() for prompt in shard.of(prompts)]
        for encoder in (Made, MadeWithText):
            values = {n: features(random, len(keys), w) for n, w in encoder.widths.items()}
            _write(own(run.features_path(MODEL, encoder.name), shard), keys, values)
        hashes = {hashlib.sha256(text).hexdigest(): row for row, text in enumerate(texts)}
        values = {"pool": features(random, len(hashes), 512)}
        _write(own(run.features_path("_prompts", MadeWithText.name), shard), hashes, values)
    real = torch.from_numpy(features(random, 10_000, 2048))
    arrays = {"mu": real.double().mean(0), "sigma": real.double().T.cov(), "n": len(real)}
    meta = {"name": "made", "encoder": Made.name, "fingerprint": Made.fingerprint}
    (folder / "reference").mkdir()
    held = {name: np.asarray(value) for name, value in arrays.items()}
    file = folder / "reference" / f"{Made.name}.npz"
    np.savez(file, **held, features=real[:2000].numpy(), meta=np.array(json.dumps(meta)))


def _records(run: Run, prompts: Sequence[Prompt], shard: Shard, images: int) -> Iterator[Record]:
    for place, prompt in enumerate(prompts):
        index = shard.index + place * shard.count
        data, name = png(index), image_file(index, 0, images)
        path = run.image_folder(MODEL) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        yield Record(
            prompt.id, index, 0, image_seed(0, prompt.id, 0), "ok", name, digest,
            prompt_sha256=prompt.sha256,
        )  # fmt: skip


def _write(path: Path, keys: dict[str, int], values: dict[str, np.ndarray]) -> None:
    notes = [""] * len(keys)
    part = CachedFeatures(keys, values, notes, frozenset(values), frozenset({"cpu float32"}))
    cache.write(path, "made", part)


def made(device: str) -> Made:
    return Made()


def made_text(device: str) -> MadeWithText:
    return MadeWithText()


def timed_metrics() -> None:
    """Print what each metric takes with its interval, and the process's memory beside files."""
    from evalkit.score import score as stage

    measure = stage.measure_images

    def timed(metric: Any, *given: Any) -> Any:
        began, used = time.perf_counter(), time.process_time()
        found = measure(metric, *given)
        wall, processor = time.perf_counter() - began, time.process_time() - used
        print(f"| {metric.name} | {processor:.0f} s | {wall:.0f} s | {found.note} |", flush=True)
        return found

    stage.measure_images = timed


class Memory(threading.Thread):
    """The most memory that the process has of its own, without pages of files, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0

    def run(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            own = next(line for line in lines if line.startswith("RssAnon:"))
            self.most = max(self.most, int(own.split()[1]) * 1024)
            time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="of the run; it stays")
    parser.add_argument("--metrics", nargs="+", default=METRICS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        began = time.perf_counter()
        if not (folder / "reference").exists():
            make(folder, given.images, given.shards)
            print(f"made in {time.perf_counter() - began:.0f} s", flush=True)
        sys.path.insert(0, str(Path(__file__).parent))
        import evalkit

        timed_metrics()
        memory = Memory()
        memory.start()
        print("| metric | processor | wall | note |\n|---|---|---|---|", flush=True)
        began, used = time.perf_counter(), time.process_time()
        rows = evalkit.score(
            folder / "run",
            metrics=list(given.metrics),
            only=True,
            encoders="million:made,million:made_text",
            reference=str(folder / "reference"),
        )
        wall, processor = time.perf_counter() - began, time.process_time() - used
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(
            f"score: {processor:.0f} s of processor, {wall:.0f} s; memory {memory.most / GIB:.1f}"
            f" GiB, with pages of files {most / GIB:.1f} GiB"
        )
        for row in rows:
            print(row.metric, row.value, row.low, row.high, row.count)


if __name__ == "__main__":
    main()
