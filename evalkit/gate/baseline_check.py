"""Whether the snapshot of a baseline file is one that the gate can work with.

The hash of the file finds edits; this finds files that another program wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from evalkit.core import Better
from evalkit.gate.snapshot import Snapshot, State
from evalkit.statistics.intervals import GROUPS

_PAIRS = GROUPS * (GROUPS - 1) // 2  # fewer groups have none
LARGEST = 1e150  # squares of larger numbers are not finite
_TABLES = (
    "generation", "encoders", "references", "encoding_device", "encoding_dtype",
    "reference_features", "metric_options", "metric_versions",
)  # fmt: skip
_ALWAYS = ("seed", "per_prompt", "generation", "image_size", "encoders", "references")


def require_sound(found: Snapshot) -> None:
    """Raise ValueError, which says what is wrong, unless all parts are of their kinds and agree."""
    texts = (found.saved_from, found.model, found.version, *found.blind)
    _require(all(isinstance(one, str) for one in texts), "its names")
    for what, table in (("prompts", found.prompts), ("groups", found.groups)):
        good = isinstance(table, dict) and all(isinstance(one, str) for one in table.values())
        _require(good and table.keys() == found.prompts.keys() and bool(table), what)
    _require(_are_conditions(found.conditions), "conditions")
    for prompt, sample, sha in found.images:
        _require(prompt in found.prompts and _is_count(sample) and isinstance(sha, str), "images")
    _require(bool(found.states), "states")
    for name, state in found.states.items():
        _require(_is_state(found, state), f"the state of {name}")


def _require(good: bool, what: str) -> None:
    if not good:
        raise ValueError(what)


def _are_conditions(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and all(name in found for name in _ALWAYS)
        and all(isinstance(found.get(name, {}), dict) for name in _TABLES)
        and isinstance(found["image_size"], list | tuple)
    )


def _is_state(found: Snapshot, state: State) -> bool:
    measure = state.measure
    low, high = measure.range
    texts = (measure.name, measure.title, state.encoder, state.reference, state.note)
    known = (state.value, state.low, state.high, state.of_real)
    numbers = [one for one in known if one is not None]
    numbers += [*(state.values or ()), *(state.left_out or ()), *(state.left_out_pairs or ())]
    places = set(state.keys)
    return (
        measure.better in get_args(Better)
        and all(isinstance(one, str) for one in texts)
        and isinstance(low, int | float)
        and isinstance(high, int | float)
        and low < high
        and all(map(_is_number, numbers))
        and len(places) == len(state.keys)
        and all(prompt in found.prompts and _is_count(at) for prompt, at in places)
        and (state.values is None or len(state.values) == len(state.keys))
        and (state.left_out is None or len(state.left_out) == _groups(found.prompts, state))
        and (state.left_out_pairs is None or len(state.left_out_pairs) == _PAIRS)
    )


def _groups(prompts: Mapping[str, str], state: State) -> int:
    """How many groups of prompts a jackknife leaves out; images of equal texts stay together."""
    return min(GROUPS, len({prompts[prompt] for prompt, _ in state.keys}))


def _is_number(value: Any) -> bool:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and abs(value) <= LARGEST  # false for nan


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
