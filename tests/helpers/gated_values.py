"""Models for the decisions of the gate: one metric, `score`, with values that a test states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evalkit.core import Measure
from evalkit.gate.config import Rule
from evalkit.gate.decide import Decision, correct, decide
from evalkit.gate.snapshot import Snapshot, State


def snapshot(values: np.ndarray, better: str = "higher", samples: int = 1) -> Snapshot:
    keys = tuple((f"p{at // samples:04d}", at % samples) for at in range(len(values)))
    measure = Measure("score", better)  # pyright: ignore[reportArgumentType]
    state = State(measure, "e", "", float(values.mean()), values=tuple(values), keys=keys)
    texts = {prompt: prompt for prompt, _ in keys}
    groups = dict.fromkeys(texts, "")
    return Snapshot("run:m", "m", texts, groups, {}, {"score": state}, "0")


def of_numbers(value: float | None, low=None, high=None, better="higher", **kind) -> Snapshot:
    """A model with one number: no value per image, and none without a group of prompts."""
    measure = Measure("score", better, **kind)
    note = "not measured: no device" if value is None else ""
    state = State(measure, "human:x", "other", value, low, high, note)
    return Snapshot("run:m", "m", {"a": "a"}, {"a": ""}, {}, {"score": state}, "0")


def share(candidate: list[int], baseline: list[int], margin: float, samples: int = 1) -> Decision:
    """The decision on a share that is better low; `samples` values per prompt."""
    sides = []
    for values in (candidate, baseline):
        made = snapshot(np.array(values, dtype=float), "lower", samples)
        state = made.states["score"]
        state = replace(state, measure=replace(state.measure, range=(0.0, 1.0)))
        sides.append(replace(made, states={"score": state}))
    [made] = correct([decide(*sides, "score", Rule(margin=margin), 0.05)], 0.05)
    return made
