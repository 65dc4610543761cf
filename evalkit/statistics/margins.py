"""What a metric may change without being a regression, where nobody states it."""

from __future__ import annotations

import math

RELATIVE = 0.05  # of the baseline's value
SHARE = 0.02  # of a share, from 0 to 1


def default_margin(ends: tuple[float, float], baseline: float) -> float | None:
    """The margin of a metric with this range; None without a natural zero, such as KID.

    A share of a value that may be around zero is no margin.
    """
    if not math.isfinite(ends[0]):
        return None
    return SHARE if ends == (0.0, 1.0) else RELATIVE * abs(baseline)
