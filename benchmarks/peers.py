"""Shared by the benchmarks: CPU time, turns, ratios, and the seeded networks of the tests."""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts its threads
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))

Times = dict[str, list[float]]  # seconds per item of every round


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this process and of worker processes that have ended."""
    before = _spent()
    work()
    return _spent() - before


def _spent() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def take_turns(variants: Mapping[str, tuple[Callable[[], object], int]], rounds: int) -> Times:
    """Seconds per item of each (work, items), one after another in every round, after a warm-up."""
    times: Times = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, (work, items) in variants.items():
            spent = cpu_seconds(work) / items
            if turn:
                times[name].append(spent)
    return times


def show(title: str, times: Times, milliseconds: bool = False) -> None:
    """One line per variant: its median rate, and how many times faster it is than the first variant
    of the same round, as median (lowest to highest).
    """
    first = next(iter(times))
    print(f"\n{title}; x: times faster than {first}\n")
    print(f"| | {'ms per image' if milliseconds else 'images per CPU second'} | x |\n|---|---|---|")
    for name, values in times.items():
        ratios = [base / value for base, value in zip(times[first], values, strict=True)]
        median = statistics.median(values)
        rate = f"{1e3 * median:.2f}" if milliseconds else f"{1 / median:.2f}"
        print(f"| {name} | {rate} | {spread(ratios)} |", flush=True)


def spread(values: list[float]) -> str:
    """Median (lowest to highest)."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
