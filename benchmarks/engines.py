"""What engines cost, and what a second worker gains, as ratios of one run.

    python benchmarks/engines.py overhead [--shards 200] [--seconds 1] [--rounds 3]
    python benchmarks/engines.py throughput [--images 3000] [--rounds 3]

`overhead`: shards whose work is to sleep as long as 1,000 images of 1 ms would take, by two workers
of each engine: the time beyond half of all sleep is that of the engine. Workers are started before,
in the seconds that are printed first. `throughput`: 4 shards of a run with a CPU-bound model, by
the engine `local` with one and with two workers in turn. Images per second from the first image to
the last, by the times of their files. Wall-clock time depends on other programs, so the load of the
machine is printed too, and what CPU time alone allows: twice the images per CPU second of two
workers over those of one, their starts included.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import peers

import evalkit
from evalkit.engines import Engine, load
from evalkit.engines.task import Task

WORKERS = 2
MODEL = """
import numpy
from PIL import Image
def draw(prompts, seeds):
    images = []
    for seed in seeds:
        noise = numpy.random.default_rng(seed)
        pixels = sum(noise.standard_normal((64, 64, 3)) for _ in range(40))
        images.append(Image.fromarray((128 + 8 * pixels).clip(0, 255).astype("uint8")))
    return images
"""
SLEEPING = """
import sys, time
if {"evalkit.worker"} & set(sys.orig_argv) or any("default_worker" in a for a in sys.orig_argv):
    from evalkit import api
    api.generate = lambda out, shard, device, seconds: time.sleep(seconds)
"""


def perform_all(engine: Engine, tasks: list[Task]) -> float:
    """Wall-clock seconds until all tasks have ended."""
    started, waiting = time.perf_counter(), len(tasks)
    engine.start(tasks)
    while waiting:
        for end in engine.ended():
            if end.failure:
                raise SystemExit(end.failure)
            waiting -= 1
    return time.perf_counter() - started


def overhead(folder: Path, shards: int, seconds: float, rounds: int) -> None:
    # Workers read this at their start, and sleep instead of making images.
    (folder / "sitecustomize.py").write_text(SLEEPING)
    (folder / "prompts.jsonl").touch()
    os.environ["PYTHONPATH"] = str(folder)
    os.environ["RAY_AUTH_MODE"] = "disabled"
    options = {"local": {"workers": WORKERS}, "ray": {"address": "local", "gpus": 0}}
    if os.cpu_count() != WORKERS:
        options["ray"]["cpus"] = (os.cpu_count() or 1) / WORKERS
    engines = {name: load(name, given) for name, given in options.items()}
    found: dict[str, list[float]] = {name: [] for name in engines}

    def tasks(count: int) -> list[Task]:
        sleep = {"seconds": seconds, "device": "cpu"}
        return [Task("generate", str(folder), at, count, str(folder), sleep) for at in range(count)]

    try:
        for name, engine in engines.items():
            begun = perform_all(engine, tasks(WORKERS)) - seconds
            print(f"{name}: workers started in {begun:.1f} s {load_now()}", flush=True)
        for _ in range(rounds):
            for name, engine in engines.items():
                ideal = shards * seconds / WORKERS
                found[name].append(perform_all(engine, tasks(shards)) / ideal - 1)
                print(f"{name}: {found[name][-1]:.2%} beyond {ideal:g} s {load_now()}", flush=True)
    finally:
        for engine in engines.values():
            engine.stop()
    for name, values in found.items():
        shown = peers.spread([100 * value for value in values])
        print(f"overhead of {name} in percent, {shards} shards of {seconds:g} s: {shown}")


def throughput(folder: Path, images: int, rounds: int) -> None:
    (folder / "cpu_model.py").write_text(MODEL)
    os.chdir(folder)
    prompts = [f"prompt {at}" for at in range(images)]
    ratios, allowed = [], []
    for turn in range(rounds):
        rates: dict[int, float] = {}
        spent: dict[int, float] = {}
        for workers in (1, 2):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            run = evalkit.generate(
                "cpu_model:draw", prompts, out=f"run-{turn}-{workers}", device="cpu",
                engine="local", shards=4, options={"local": {"workers": workers}},
            )  # fmt: skip
            times = [path.stat().st_mtime for path in run.path.glob("images/**/*.png")]
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent[workers] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            rates[workers] = (images - 1) / (max(times) - min(times))
            print(f"{workers} workers: {rates[workers]:.1f} images/s {load_now()}", flush=True)
        ratios.append(rates[2] / rates[1])
        allowed.append(2 * spent[1] / spent[2])
    print(f"throughput of two workers over one, 4 shards: {peers.spread(ratios)}")
    print(f"as CPU time alone allows: {peers.spread(allowed)}")


def load_now() -> str:
    return f"(load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores)"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["overhead", "throughput"])
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if given.part == "overhead":
            overhead(Path(place), given.shards, given.seconds, given.rounds)
        else:
            throughput(Path(place), given.images, given.rounds)


if __name__ == "__main__":
    sys.exit(main())
