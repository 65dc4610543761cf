"""Coverage of 95% intervals of a mean of ratings, ours and the schemes that were rejected.

    python benchmarks/rating_coverage.py [STUDIES]    (default 500: a standard error of 1 point)

Ratings are normal, with standard deviations 0.6 between prompts, 1 of single ratings, and 0, 0.25
or 1 between raters. The truth is the mean over all prompts and raters. `complete`: every rater
rates every prompt. `half`: half of the raters, but at least two. `uneven`: the last rater rates a
quarter of what the first one does.
"""

from __future__ import annotations

import math
import sys

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evalkit.statistics import clustered

RATER_SD = (0.0, 0.25, 1.0)
SIZES = ((20, 3), (100, 3), (20, 5), (100, 5), (50, 10))
DRAWS = 400

Labels = NDArray[np.int64]
Values = NDArray[np.float64]


def place(random: np.random.RandomState, prompts: int, raters: int, kind: str):
    prompt, rater = np.divmod(np.arange(prompts * raters), raters)
    if kind == "half":
        order = random.rand(prompts, raters).argsort(axis=1)
        kept = (order < max(2, raters // 2)).ravel()
    else:
        share = np.linspace(1, 0.25 if kind == "uneven" else 1, raters)
        kept = (random.rand(len(prompt)) < share[rater]) | (rater == 0)
    return prompt[kept], rater[kept]


def ours(values: Values, prompt: Labels, rater: Labels, _: object) -> tuple[float, float]:
    low, high, _method = clustered.mean(values, prompt, rater).interval
    assert low is not None
    assert high is not None
    return low, high


def pigeonhole(values: Values, prompt: Labels, rater: Labels, random) -> tuple[float, float]:
    """Prompts and raters are drawn again, a rating counts the product (Owen 2007); percentiles."""
    prompts, raters = prompt.max() + 1, rater.max() + 1
    means = []
    for _ in range(DRAWS):
        times = random.multinomial(prompts, np.full(prompts, 1 / prompts))[prompt]
        times = times * random.multinomial(raters, np.full(raters, 1 / raters))[rater]
        if times.any():
            means.append(times @ values / times.sum())
    return tuple(np.quantile(means, [0.025, 0.975]))


def sums(values: Values, prompt: Labels, rater: Labels, _: object) -> tuple[float, float]:
    """Cameron, Gelbach and Miller 2011, with t of the smaller number of clusters - 1."""
    rest = values - values.mean()
    parts = []
    for labels in (prompt, rater):
        number = labels.max() + 1
        parts.append((np.bincount(labels, rest) ** 2).sum() * number / (number - 1))
    variance = max(sum(parts) - (rest**2).sum(), *parts) / len(values) ** 2
    half = stats.t.ppf(0.975, min(prompt.max(), rater.max())) * math.sqrt(variance)
    return values.mean() - half, values.mean() + half


def prompts_only(values: Values, prompt: Labels, rater: Labels, random) -> tuple[float, float]:
    total, sizes = np.bincount(prompt, values), np.bincount(prompt)
    chosen = random.randint(0, len(sizes), (DRAWS, len(sizes)))
    means = total[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
    return tuple(np.quantile(means, [0.025, 0.975]))


def main(studies: int) -> None:
    print("design    prompts raters | rater sd 0, 0.25, 1: coverage in percent")
    for kind in ("complete", "half", "uneven"):
        for prompts, raters in SIZES:
            cells = []
            for scheme in (ours, pigeonhole, sums, prompts_only):
                hits = np.zeros(len(RATER_SD))
                for seed in range(studies):
                    random = np.random.RandomState(seed)
                    prompt, rater = place(random, prompts, raters, kind)
                    noise = random.standard_normal(len(prompt))
                    noise += 0.6 * random.standard_normal(prompts)[prompt]
                    of_rater = random.standard_normal(raters)[rater]
                    for number, deviation in enumerate(RATER_SD):
                        values = noise + deviation * of_rater
                        low, high = scheme(values, prompt, rater, random)
                        hits[number] += low <= 0 <= high
                found = " ".join(f"{100 * hit / studies:5.1f}" for hit in hits)
                cells.append(f"{scheme.__name__} {found}")
            print(f"{kind:9} {prompts:7} {raters:6} | {' | '.join(cells)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
