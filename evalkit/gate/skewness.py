"""The interval of a mean difference that is skewed over few prompts.

Where a few prompts lose much, the mean and its spread are both small until one of them is drawn, so
percentiles of the bootstrap and Student's t end too early on the long side. Hall's transformation
(1992, "On the removal of skewness by transformation") inverts the first term of that error: it is
the correction of Johnson (1978), made monotone. The gate takes the wider of both ends.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats


class Skewed(NamedTuple):
    """A mean with the skewness of what it is the mean of."""

    mean: float
    error: float  # standard error
    skewness: float  # of one prompt, divided by the square root of the number of prompts
    degrees: int

    def interval(self, level: float) -> tuple[float, float]:
        """At level 1 - level, both tails together."""
        reach = float(stats.t.isf(level / 2, self.degrees))
        return self.mean - self._inverse(reach) * self.error, (
            self.mean - self._inverse(-reach) * self.error
        )

    def _inverse(self, reach: float) -> float:
        """The studentized mean of which the transformation is `reach`."""
        b = self.skewness
        if abs(b) < 1e-6:
            return reach
        return 3 / b * float(np.cbrt(1 + b * (reach - b / 6)) - 1)


def skewed(differences: NDArray[np.float64], clusters: NDArray[np.int64]) -> Skewed | None:
    """Of differences [N] and their prompts [N], 0 .. C - 1; None where all prompts agree."""
    sizes = np.bincount(clusters).astype(np.float64)
    mean, number = float(differences.mean()), len(sizes)
    sums = np.bincount(clusters, differences - mean) / sizes.mean()
    square = float((sums**2).mean())
    if not math.sqrt(square) > 1e-12 * float(np.abs(differences).max()):
        return None
    error = math.sqrt(square / (number - 1))
    skewness = float((sums**3).mean()) / square**1.5 / math.sqrt(number)
    return Skewed(mean, error, skewness, number - 1)
