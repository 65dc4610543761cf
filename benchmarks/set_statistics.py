"""The CPU time of the statistics against other tools, on the same features in one process.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/set_statistics.py \\
        [--part frechet|kid|neighbours|interval|memory|all] [--pairs 5]

Needs torch-fidelity and, for the Frechet step, pytorch-fid (`pip install pytorch-fid`). Features
are synthetic, with the dimension of Inception's pool and a similar spectrum. A ratio above 1 is how
many times faster evalkit is: the median over interleaved pairs. Errors are relative to float64
arithmetic over all pairs, or to a Frechet distance from thin factors.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evalkit.metrics import frechet, inception_score, kernel, manifold
from evalkit.metrics.memoized import clear_memoized
from evalkit.statistics import intervals

DIMENSION = 2048


def features(count: int, seed: int, dimension: int = DIMENSION) -> Tensor:
    """float32 [count, D]: non-negative, correlated, with a decaying spectrum, drawn in blocks."""
    mixing = (
        torch.randn(256, dimension, generator=torch.Generator().manual_seed(0))
        * (1 + torch.arange(256.0)[:, None]) ** -0.5
    )
    random, made = torch.Generator().manual_seed(seed), torch.empty(count, dimension)
    for rows in made.split(4096):
        noise = torch.randn(len(rows), 256, generator=random) @ mixing * 0.3 + 0.1 * torch.randn(
            len(rows), dimension, generator=random
        )
        rows.copy_(torch.relu(noise + 0.2))
    return made


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    clear_memoized()
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def spread(values: list[float]) -> str:
    """Median (lowest to highest)."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def compare(
    name: str,
    ours: Callable[[], Any],
    peers: dict[str, Callable[[], Any]],
    pairs: int,
    error: Callable[[Any], float],
) -> None:
    """One line per peer: median CPU seconds of both, the ratio with its range, and both errors."""
    times: dict[str, list[float]] = {"evalkit": []} | {peer: [] for peer in peers}
    results: dict[str, Any] = {}
    for _ in range(pairs):
        for label, call in ({"evalkit": ours} | peers).items():
            seconds, results[label] = timed(call)
            times[label].append(seconds)
    for peer in peers:
        ratios = [theirs / mine for theirs, mine in zip(times[peer], times["evalkit"], strict=True)]
        mine, theirs = statistics.median(times["evalkit"]), statistics.median(times[peer])
        span = spread(ratios)
        errors = f"{error(results['evalkit']):.1e} | {error(results[peer]):.1e}"
        print(f"| {name} | {peer} | {mine:.2f} | {theirs:.2f} | {span} | {errors} |", flush=True)


def frechet_step(pairs: int) -> None:
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torch_fidelity.metric_fid import fid_statistics_to_metric
    from torchmetrics.image.fid import _compute_fid

    for count in (1500, 5000):
        x, y = features(count, 1), features(count, 2)
        one, two = frechet.moments(x), frechet.moments(y)
        a, b = ({"mu": m.mean.numpy(), "sigma": m.cov.numpy()} for m in (one, two))
        if count < DIMENSION:
            exact = frechet.frechet_distance_of_features(fake=x.double(), real=y.double())
        else:
            exact = frechet.frechet_distance(fake_moments=one, real_moments=two)
        truth = float(exact)
        compare(
            f"Frechet step, N = {count}",
            lambda one=one, two=two: float(
                frechet.frechet_distance(fake_moments=one, real_moments=two)
            ),
            {
                "torch-fidelity": lambda a=a, b=b: fid_statistics_to_metric(a, b, False)[
                    "frechet_inception_distance"
                ],
                "torchmetrics": lambda one=one, two=two: float(
                    _compute_fid(one.mean, one.cov, two.mean, two.cov)
                ),
                "pytorch-fid": lambda a=a, b=b: float(
                    calculate_frechet_distance(a["mu"], a["sigma"], b["mu"], b["sigma"])
                ),
            },
            pairs,
            lambda value, truth=truth: abs(value - truth) / truth,
        )


def kid(pairs: int) -> None:
    from torch_fidelity.metric_kid import kid_features_to_metric

    options = {
        "kid_subset_size": 1000,
        "kid_kernel": "poly",
        "kid_kernel_poly_degree": 3,
        "kid_kernel_poly_gamma": None,
    }
    options |= {"kid_kernel_poly_coef0": 1, "kid_subsets": 100, "rng_seed": 2020, "verbose": False}
    sizes = ((2000, 2000), (5000, 2000), (5000, 5000), (20_000, 2000), (15_000, 15_000))
    for fakes, reals in sizes:
        x, y = features(fakes, 1), features(reals, 2)
        random, values = np.random.RandomState(2020), []
        for _ in range(100):
            p, q = (
                side[torch.from_numpy(random.choice(len(side), 1000, replace=False))].double()
                for side in (x, y)
            )
            pp, qq, pq = ((u @ v.T / DIMENSION + 1) ** 3 for u, v in ((p, p), (q, q), (p, q)))
            values.append(
                float((pp.sum() - pp.trace() + qq.sum() - qq.trace()) / 999_000 - 2 * pq.mean())
            )
        truth = float(np.mean(values))
        compare(
            f"KID, {fakes} against {reals}",
            lambda x=x, y=y: float(kernel.kid(fake=x, real=y)),
            {
                "torch-fidelity": lambda x=x, y=y: kid_features_to_metric(x, y, **options)[
                    "kernel_inception_distance_mean"
                ]
            },
            pairs,
            lambda value, truth=truth: abs(value - truth),
        )


def neighbours(pairs: int) -> None:
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    for count in (1000, 2000, 3000, 8000):
        x, y = features(count, 1), features(count, 2)

        def ours(x=x, y=y):
            return (
                float(manifold.precision(fake=x, real=y).mean()),
                float(manifold.recall(fake=x, real=y)),
            )

        peer = {"torch-fidelity": lambda x=x, y=y: calculate_precision_recall_full(x, y)}
        truth = ours()

        def error(value, truth=truth):
            return max(abs(u - v) for u, v in zip(value, truth, strict=True))

        compare(
            f"precision and recall, {count} per side",
            ours,
            peer,
            pairs if count < 5000 else min(3, pairs),
            error,
        )


def interval(pairs: int) -> None:
    """The interval of FID against recomputing FID without each of 20 groups (4, times 5)."""
    real = frechet.moments(features(10_000, 5))
    for count in (1000, 2000, 3000, 5000, 10_000):
        x, groups = features(count, 1), torch.arange(count) % 20
        found: dict[str, Tensor] = {}

        def quick(
            x: Tensor = x, groups: Tensor = groups, found: dict[str, Tensor] = found
        ) -> Tensor:
            found["quick"] = frechet.fid_without(fake=x, real_moments=real, groups=groups)
            return found["quick"]

        seconds, left_out = timed(quick)
        slow, values = timed(
            lambda x=x, groups=groups: [
                float(frechet.fid(fake=x[groups != g], real_moments=real)) for g in range(4)
            ]
        )
        off = max(abs(float(v) - w) / w for v, w in zip(left_out, values, strict=False))
        how = frechet.how_without(fake=count, dimension=DIMENSION) or "exact"
        times = f"{seconds:.1f} | {5 * slow:.1f} | {5 * slow / seconds:.1f}"
        print(f"| interval of FID, N = {count} | {how} | {times} | {off:.1e} |", flush=True)


def memory(count: int = 100_000, reals: int = 5000) -> None:
    """Time and peak memory of the metrics for 100,000 images, whose features take 0.8 GB."""
    x, y, logits = features(count, 1), features(reals, 2), features(count, 3, 1008) * 3
    real, groups = frechet.moments(y), torch.arange(count) % intervals.GROUPS
    calls: dict[str, Callable[[], Any]] = {
        "fid": lambda: frechet.fid(fake=x, real_moments=real),
        "fid, interval": lambda: frechet.fid_without(fake=x, real_moments=real, groups=groups),
        "kid": lambda: kernel.kid(fake=x, real=y),
        "kid, interval": lambda: kernel.kid_without(fake=x, real=y, groups=groups),
        "inception_score": lambda: inception_score.inception_score(fake=logits),
        "precision and recall": lambda: (
            manifold.precision(fake=x[:10_000], real=y),
            manifold.recall(fake=x[:10_000], real=y),
        ),
    }
    sizes = f"features {x.nbytes / 1e9:.2f} GB, logits {logits.nbytes / 1e9:.2f} GB"
    print(f"in use before: {_peak():.2f} GB ({sizes})")
    for name, call in calls.items():
        start = time.process_time()
        call()
        seconds = time.process_time() - start
        print(f"| {name} | {seconds:.0f} s | peak so far {_peak():.2f} GB |", flush=True)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--part",
        choices=["frechet", "kid", "neighbours", "interval", "memory", "all"],
        default="all",
    )
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| what | peer | evalkit s | peer s | ratio (range) | error of evalkit | of the peer |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    parts = {
        "frechet": frechet_step,
        "kid": kid,
        "neighbours": neighbours,
        "interval": interval,
        "memory": lambda _: memory(),
    }
    for name, part in parts.items():
        if given.part in (name, "all"):
            part(given.pairs)


if __name__ == "__main__":
    main()
