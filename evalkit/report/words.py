"""What the report says about a metric, and how it writes a number."""

from __future__ import annotations

import math
from collections.abc import Sequence

DASH, MINUS = "\u2013", "\u2212"  # no value; a true minus sign

TITLES = {
    "fid": "FID",
    "fid_infinity": "FID∞",
    "sfid": "sFID",
    "kid": "KID",
    "cmmd": "CMMD",
    "mind": "MIND",
    "inception_score": "Inception score",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "clip_score": "CLIP score",
    "clip_score_paper": "CLIP score, paper form",
    "retrieval_precision": "Retrieval precision",
    "vendi": "Vendi score",
    "lpips_diversity": "LPIPS diversity",
    "memorization": "Memorization",
    "fd_dinov2": "FD-DINOv2",
    "refusal_rate": "Refusal rate",
    "images_per_second": "Images per second",
    "latency_p50": "Median latency",
    "latency_p95": "95th percentile of latency",
    "cost_per_image": "Cost per image",
    "peak_memory": "Peak memory",
    "mean_opinion": "Mean opinion",
    "win_rate": "Win rate",
    "strength": "Strength",
}

MEANINGS = {
    "fid": "Distance between the model's pictures and the reference pictures as two clouds of features.",
    "fid_infinity": "FID carried forward to endless pictures, which takes most of the small-sample bias away.",
    "kid": "Distance to the reference pictures with a kernel; unbiased, so it may fall below zero.",
    "cmmd": "Distance to the reference pictures in CLIP's features.",
    "inception_score": "Do pictures show one clear thing each, and many different things together? Needs no reference.",
    "precision": "Share of the model's pictures that lie among the reference pictures: fidelity.",
    "recall": "Share of the reference pictures that lie among the model's pictures: variety.",
    "density": "How densely the model's pictures lie among the reference pictures.",
    "coverage": "Share of the reference pictures that have a picture of the model nearby.",
    "clip_score": "How well each picture agrees with its own prompt.",
    "clip_score_paper": "The same with the prefix, the factor 2.5 and the cut at 0 of the paper.",
    "retrieval_precision": "Share of pictures that fit their own prompt better than 99 others.",
    "sfid": "As FID, with features that keep the places of things.",
    "fd_dinov2": "As FID, in the features of DINOv2.",
    "mind": "Distance to the reference pictures along many random directions.",
    "vendi": "How many different pictures the set is worth. It grows with the count.",
    "lpips_diversity": "How much the pictures of one prompt differ from each other.",
    "memorization": "Share of pictures nearer to a reference picture than its own nearest neighbour; honest pictures do not score 0.",
    "duplicates": "Share of pictures that have a near-identical sibling in the set.",
    "cost_per_image": "US dollars per picture.",
    "refusal_rate": "Share of requests that the model refused.",
    "images_per_second": "Pictures made per second.",
    "latency_p50": "Seconds per picture, the middle one.",
    "latency_p95": "Seconds per picture; 95 of 100 took less.",
    "win_rate": "Share of comparisons that people decided in the model's favour.",
    "mean_opinion": "Mean of people's ratings.",
}

ZERO_MATTERS = {
    "kid",
    "mind",
    "cmmd",
    "precision",
    "recall",
    "density",
    "coverage",
    "refusal_rate",
    "win_rate",
    "images_per_second",
}
FROM_RECORDS = {
    "refusal_rate",
    "images_per_second",
    "latency_p50",
    "latency_p95",
    "cost_per_image",
    "peak_memory",
}
SAMPLE_SIZE_BIASED = {
    "fid",
    "sfid",
    "inception_score",
    "precision",
    "recall",
    "density",
    "coverage",
    "vendi",
    "fd_dinov2",
}


def title(metric: str) -> str:
    """A metric's name as people write it."""
    return TITLES.get(metric) or metric.replace("_", " ").capitalize()


def arrow(better: str) -> str:
    """The direction of a metric: up when higher is better."""
    return "↓" if better == "lower" else "↑"


def decimals(values: Sequence[float], widths: Sequence[float]) -> int:
    """Digits after the point: two significant digits of the narrowest interval's half, but at most
    one more than the widest needs; without intervals, two of the smallest value.
    """
    halves = [width / 2 for width in widths if width > 0 and math.isfinite(width)]
    if halves:
        narrow, wide = (
            max(0, 1 - math.floor(math.log10(half))) for half in (min(halves), max(halves))
        )
        return min(6, narrow, wide + 1)
    smallest = min((abs(value) for value in values if value and math.isfinite(value)), default=0.0)
    return min(6, max(0, 1 - math.floor(math.log10(smallest)))) if smallest else 2


def number(value: float | None, digits: int) -> str:
    """A number with a true minus sign and thousands apart, or a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{value:,.{digits}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else f"{0:.{digits}f}"


def listing(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return (
        names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
    )


def plural(count: int, one: str, many: str = "") -> str:
    """1 picture, 2 pictures."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
