"""Time and memory of what one process does for a run of many shards, with made-up rows.

    OMP_NUM_THREADS=1 python benchmarks/scale.py [--part merge|manifests|all] [--shards 64] \\
        [--rows 15000] [--images 1000000]

`merge` writes the caches of all shards and reads them as `score` does; `manifests` reads a folder
of that many rows. Each step runs in a process of its
own, so its peak of memory is its own. Everything is written to a temporary folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from evalkit.core import Prompt, Record
from evalkit.features import cache
from evalkit.features.cache import CachedFeatures
from evalkit.features.encode import rows_of
from evalkit.features.parts import beside, own
from evalkit.files import append_lines
from evalkit.run_folder import Run
from evalkit.shards import WHOLE, Shard

DIMENSION = 2048
GIB = 2**30


def key(number: int) -> str:
    return f"{number:064x}"


def write_caches(folder: Path, shards: int, rows: int) -> None:
    """One file of features for each shard, all with keys of their own."""
    random = np.random.default_rng(0)
    for index in range(shards):
        values = {"pool": random.random((rows, DIMENSION), dtype=np.float32)}
        keys = {key(index * rows + row): row for row in range(rows)}
        part = CachedFeatures(keys, values, [""] * rows, frozenset(values), frozenset({"cpu"}))
        cache.write(own(folder / "inception.npz", Shard(index, shards)), "", part)


def merge_caches(folder: Path, shards: int, rows: int) -> None:
    """All rows in the order of the images, as `score` takes them."""
    order = [key(index * rows + row) for row in range(rows) for index in range(shards)]
    paths = beside(folder / "inception.npz", WHOLE)
    found = rows_of(cache.read_all(paths, "", ["pool"], order), order, ["pool"], folder)
    assert found.values["pool"].shape == (shards * rows, DIMENSION)


def list_caches(folder: Path, shards: int, rows: int) -> None:
    """What a shard looks up of all others before it encodes."""
    paths = beside(folder / "inception.npz", WHOLE)
    keys = frozenset[str]().union(*(cache.keys(path, "", ["pool"]) for path in paths))
    assert len(keys) == shards * rows


def write_manifests(folder: Path, shards: int, rows: int) -> None:
    run = Run(folder)
    prompts = [Prompt(f"{index:07d}", f"a red cube number {index}") for index in range(rows)]
    run.write_prompts(prompts)
    run.register_model("a", "a", 0)
    for shard in (Shard(index, shards) for index in range(shards)):
        records = (
            Record(
                prompts[index].id, index, 0, 17 * index, "ok", f"{index:07d}-0.png", key(index),
                4.0312, prompt_sha256=prompts[index].sha256,
            )
            for index in shard.of(range(rows))
        )  # fmt: skip
        append_lines(run.image_folder("a") / f"manifest.{shard.index}.jsonl", map(asdict, records))


def read_manifests(folder: Path, shards: int, rows: int) -> None:
    assert len(Run(folder).records("a")) == rows


def count_bytes(folder: Path, shards: int, rows: int) -> None:
    size = sum(path.stat().st_size for path in folder.glob("images/*/manifest.*.jsonl"))
    print(f"bytes of the manifest per image: {size / rows:.0f}")
    prompts = (folder / "prompts.jsonl").stat().st_size
    print(f"bytes of prompts.jsonl per prompt: {prompts / rows:.0f}")


def measured(name: str, step: Callable[[Path, int, int], None], *given: object) -> None:
    """Run a step in a process of its own, and print what it needs."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_timed, args=(name, step, *given))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{name} failed")


def _timed(name: str, step: Callable[[Path, int, int], None], *given: object) -> None:
    began, used = time.perf_counter(), time.process_time()
    step(*given)  # type: ignore[arg-type]
    wall, processor = time.perf_counter() - began, time.process_time() - used
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    print(f"| {name} | {processor:.1f} s | {wall:.1f} s | {most:.2f} GiB |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["merge", "manifests", "all"], default="all")
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--rows", type=int, default=15_000, help="of each shard")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where files are written for the time")
    given = parser.parse_args()
    print("| step | processor | wall | peak memory |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        if given.part != "manifests":
            shape = folder / "features", given.shards, given.rows
            all_rows = f"{given.shards} x {given.rows:,} rows of {DIMENSION}"
            measured(f"write {all_rows}", write_caches, *shape)
            measured("list the keys of all", list_caches, *shape)
            measured("read, merge and sort all", merge_caches, *shape)
        if given.part != "merge":
            shape = folder / "run", given.shards, given.images
            measured(f"write {given.images:,} rows of manifests", write_manifests, *shape)
            measured("Run.records", read_manifests, *shape)
            count_bytes(*shape)


if __name__ == "__main__":
    main()
