"""Every built-in metric on fixed features, against the values that other libraries give.

On the CPU only, where `evalkit score` computes metrics on every machine; `networks` checks the
other devices.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

import numpy as np
import torch

from evalkit import plugins
from evalkit.core import EvalkitError, Metric
from evalkit.doctor import fixed
from evalkit.doctor.check import Check, reason
from evalkit.metrics.frechet import moments

ADVICE = (
    "Numbers of this installation are wrong: install evalkit, torch and numpy again, in a new"
    " virtual environment."
)
COUNTS = (1200, 1100, 24)  # generated images, reference images, dimensions


def oracles() -> dict[str, Any]:
    """The stored values, with their sources and tolerances."""
    return tomllib.loads((files("evalkit.doctor") / "oracles.toml").read_text("utf-8"))


def checks() -> list[Check]:
    known = oracles()["metrics"]
    return [
        _known(name, known[name]) if name in known else _plug_in(name)
        for name in plugins.names("metric")
    ]


def _known(name: str, oracle: dict[str, Any]) -> Check:
    topic = f"metric {name}"
    try:
        value = compute(plugins.metric(name), *oracle.get("counts", COUNTS))
    except Exception as error:  # a damaged library raises anything
        return Check(topic, "bad", reason(error), ADVICE)
    expected, tolerance = oracle["value"], oracle["tolerance"]
    if not abs(value - expected) <= tolerance * abs(expected):  # also NaN
        finding = f"{value:.9g}, where {oracle['source']} has {expected:.9g}"
        return Check(topic, "bad", finding, ADVICE)
    return Check(topic, "ok", f"{value:.6g}, as {oracle['source']} (to {tolerance:g})")


def _plug_in(name: str) -> Check:
    """A metric of another package: there is no value to compare with."""
    try:
        plugins.metric(name)
    except EvalkitError as error:
        return Check(f"metric {name}", "bad", error.message, error.hint or "Remove this plug-in.")
    return Check(f"metric {name}", "ok", "a plug-in; it can be loaded")


def compute(metric: Metric, fake: int, real: int, dimension: int) -> float:
    """The value, or the mean of the values per image, on fixed inputs of these counts."""
    given = fixed.inputs(fake, real, dimension)
    if metric.feature == "diversity":  # one distance per image
        given["fake"] = np.abs(given["fake"][:, :1])
    tensors: dict[str, Any] = {name: torch.from_numpy(rows) for name, rows in given.items()}
    for side in ("fake", "real"):
        tensors[f"{side}_moments"] = moments(tensors[side])
    return float(metric.compute(**{name: tensors[name] for name in metric.needs}).mean())
