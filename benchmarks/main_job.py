"""The main job as a user runs it: time, memory and sampling speed.

    python benchmarks/main_job.py [PROMPTS]     (at least 100; the bundled suite by default)

Prints the wall-clock seconds and peak memory of `evalkit run --models dalle,gan` on 100 prompts,
the start-up time of `evalkit --help` (median of five), and the images per CPU second of both
generators on one thread, in batches of 32, interleaved (median of five).
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EVALKIT = [sys.executable, "-c", "from evalkit.cli.app import main; main()"]


def whole_run(prompts: str) -> None:
    from evalkit.prompts import read_prompts

    with tempfile.TemporaryDirectory() as folder:
        hundred = Path(folder) / "prompts.txt"
        hundred.write_text(
            "\n".join(prompt.text for prompt in read_prompts(prompts)[:100]), encoding="utf-8"
        )
        start = time.perf_counter()
        options = f"--models dalle,gan --prompts {hundred} --out {folder}/run".split()
        command = [*EVALKIT, "run", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"100 prompts, dalle and gan, scores, report: {seconds:.1f} s, peak {peak:.2f} GiB")


def start_up() -> None:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([*EVALKIT, "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    print(f"evalkit --help: {statistics.median(seconds):.2f} s")


def sampling() -> None:
    import torch

    from evalkit.generators import dalle, gan

    torch.set_num_threads(1)
    generators = {"dalle": (dalle.load(device="cpu"), 64), "gan": (gan.load(device="cpu"), 640)}
    rates: dict[str, list[float]] = {name: [] for name in generators}
    for turn in range(6):
        for name, (generate, count) in generators.items():
            start = time.process_time()
            generate(["a dog on the grass"] * count, range(count))
            if turn:  # the first turn warms up
                rates[name].append(count / (time.process_time() - start))
    for name, values in rates.items():
        median, low, high = statistics.median(values), min(values), max(values)
        print(f"{name}: {median:.0f} images per CPU second ({low:.0f} to {high:.0f})")


if __name__ == "__main__":
    start_up()
    sampling()
    whole_run(sys.argv[1] if len(sys.argv) > 1 else "suite")
