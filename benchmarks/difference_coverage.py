"""The coverage of intervals of differences of two models, for the tables in BENCHMARKS.md.

    python benchmarks/difference_coverage.py [--prompts 100] [--samples 2] [--dimension 64]
        [--trials 400] [--metrics fid kid] [--tails normal t5]

Each trial draws the features of two models on the same prompts, which half of the variance of each
image comes from. They are not Gaussian, and the noise behind them is normal, or has Student's t
with 5 degrees of freedom in each dimension (`t5`), or with one factor for all dimensions of an
image (`t5_of_images`). With t5 the cubic kernel, and so KID, has no variance. A good model has the
features of the reference images; a worse one is narrower and shifted. For each pair of models and
method: the share of trials whose 95% interval contains the true difference (0 for two equal models,
else the median over all trials), that of 99% intervals, and between them the median width, relative
to the central 95% of the differences of all trials. `plain` is the jackknife over groups of
prompts, `once` the one that counts the second order once. Then the same for single values, whose
truth is the mean over all trials: 95% intervals of `plain`, of `half` (half of the second order
taken off) and of `share` (taken off in proportion to its estimated share of the variance). Set
OMP_NUM_THREADS=1 on a machine that does other work.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import torch
from interval_coverage import REFERENCE, mixing_matrix
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from evalkit import plugins
from evalkit.metrics import frechet
from evalkit.metrics.memoized import clear_memoized
from evalkit.statistics import intervals, paired
from evalkit.statistics.intervals import GROUPS
from evalkit.statistics.second_order import second_order_variance

TAILS = ("normal", "t5", "t5_of_images")
PAIRS = {
    "as good as the reference, both": (0, 1),
    "worse, both": (2, 3),
    "good against worse": (0, 3),
}
Known = tuple[float, Tensor, Tensor | None]  # the value, without groups, without pairs of groups


def noise(random: np.random.RandomState, tails: str, *shape: int) -> NDArray[np.float64]:
    if tails == "t5":
        return random.standard_t(5, shape) * 0.6**0.5
    return random.standard_normal(shape)


def models(
    random: np.random.RandomState, tails: str, prompts: int, samples: int, dimension: int
) -> list[Tensor]:
    """Features of two good models and two worse ones, each float64 [prompts * samples, D]."""
    shared = np.repeat(noise(random, tails, prompts, dimension), samples, axis=0)
    good = []
    for _ in range(2):
        own = (shared + noise(random, tails, *shared.shape)) / 2**0.5
        if tails == "t5_of_images":
            own *= (3 / random.chisquare(5, (len(own), 1))) ** 0.5
        good.append(torch.from_numpy(np.maximum(own @ mixing_matrix(dimension) + 0.4, 0.0)))
    return [*good, *(0.9 * features + 0.05 for features in good)]


def measured(name: str, fake: Tensor, known: dict[str, object], groups: Tensor) -> Known:
    metric = plugins.metric(name)
    inputs = {"fake": fake, **known}
    assert metric.leave_out is not None
    assert metric.leave_out_pairs is not None
    without = metric.leave_out(**inputs, groups=groups)
    return float(metric.compute(**inputs)), without, metric.leave_out_pairs(**inputs, groups=groups)


def rows(name: str, tails: str, given: argparse.Namespace) -> None:
    """Print the rows of one metric and one kind of tails."""
    started, random = time.process_time(), np.random.RandomState(4)
    real = models(np.random.RandomState(2), tails, REFERENCE, 1, given.dimension)[0]
    references = {"real": real, "real_moments": frechet.moments(real)}
    known = {key: references[key] for key in plugins.metric(name).needs if key in references}
    groups = intervals.groups_of_clusters(np.repeat(np.arange(given.prompts), given.samples))
    assert groups is not None
    trials = []
    for _ in range(given.trials):
        sets = models(random, tails, given.prompts, given.samples, given.dimension)
        trials.append([measured(name, fake, known, groups) for fake in sets])
        clear_memoized()
    for pair, (one, other) in PAIRS.items():
        chosen = [(trial[one], trial[other]) for trial in trials]
        values = np.array([a[0] - b[0] for a, b in chosen])
        truth = 0.0 if pair.endswith("both") else np.median(values)
        [oracle] = np.diff(np.quantile(values, [0.025, 0.975]))
        cells = [name, tails, pair]
        for once in (False, True):
            found = [
                paired.paired_sets(
                    a[0], b[0], a[1], b[1], groups, (a[2], b[2]) if once else (None, None)
                )
                for a, b in chosen
            ]
            for alpha in (0.05, 0.01):
                ends = np.array([difference.interval(alpha) for difference in found])
                covered = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
                cells.append(f"{covered.mean():.3f}")
                if alpha == 0.05:
                    cells.append(f"{np.median(ends[:, 1] - ends[:, 0]) / oracle:.2f}")
        print(*cells, f"{time.process_time() - started:.0f} s", sep="\t", flush=True)
    for kind, place in (("as good as the reference", 0), ("worse", 2)):
        alone(name, tails, kind, [trial[place] for trial in trials])


def alone(name: str, tails: str, kind: str, known: Sequence[Known]) -> None:
    """Print the row of single values of one model."""
    values = np.array([value for value, _, _ in known])
    [oracle] = np.diff(np.quantile(values, [0.025, 0.975]))
    plain = np.array([without.var(correction=0) * (GROUPS - 1) for _, without, _ in known])
    second = np.array([second_order_variance(pairs, GROUPS) for _, _, pairs in known])
    twice = 2 * (GROUPS - 1) / (GROUPS - 2)  # what the jackknife counts of the second order
    share = np.minimum(1, twice * second / plain)
    rules = {
        "plain": plain,
        "half": np.maximum(plain - second / 2, plain / 2),
        "share": np.maximum(plain - share * (twice - 1) * second, second),
    }
    cells = [name, tails, f"{kind}, alone"]
    for variance in rules.values():
        degrees = (GROUPS - 1) * np.minimum(1, variance / plain)
        half = stats.t.ppf(0.975, degrees) * variance**0.5
        covered = np.abs(values - values.mean()) <= half
        cells += [f"{covered.mean():.3f}", f"{np.median(2 * half) / oracle:.2f}"]
    print(*cells, sep="\t", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--metrics", nargs="+", default=["fid", "kid"])
    parser.add_argument("--tails", nargs="+", choices=TAILS, default=TAILS[:2])
    given = parser.parse_args()
    print("metric, tails, models; plain: 95%, width, 99%; once: 95%, width, 99%; CPU")
    for name in given.metrics:
        for tails in given.tails:
            rows(name, tails, given)


if __name__ == "__main__":
    main()
