"""Whether two models were measured under the same conditions: field by field.

A condition that only one of the two records (a run of an earlier version, a folder of ready images)
is not a difference. It is listed as not checked, and every output says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.config import did_you_mean
from evalkit.core import EvalkitError
from evalkit.gate.snapshot import Snapshot
from evalkit.report.numbers import listing

FIELDS = (
    "prompts", "seed", "per_prompt", "generation", "device", "dtype", "prompt_rewriting",
    "image_size", "encoders", "encoding_device", "encoding_dtype", "references",
    "reference_features", "metric_options", "metric_versions",
)  # fmt: skip
# By kind of encoder or by metric: only what both have is compared.
_OF_METRICS = (
    "encoders", "encoding_device", "encoding_dtype", "references", "reference_features",
    "metric_options", "metric_versions",
)  # fmt: skip
NOT_COMPARABLE = 4  # exit code
NOT_RECORDED = "not recorded"
_MOST = 3  # values of a list that are named


@dataclass(frozen=True)
class Mismatch:
    """A condition that differs, or that one of the two does not record."""

    field: str
    candidate: str
    baseline: str


def mismatches(a: Snapshot, b: Snapshot) -> list[Mismatch]:
    """All conditions that differ, in the order of FIELDS."""
    found = [_prompts(a, b)] if a.prompts != b.prompts else []
    return found + [one for one in _compared(a, b) if not _is_open(one)]


def unchecked(a: Snapshot, b: Snapshot) -> list[Mismatch]:
    """The conditions that one of the two records, and the other one does not."""
    return [one for one in _compared(a, b) if _is_open(one)]


def require_comparable(found: Sequence[Mismatch], allowed: Collection[str]) -> None:
    """Raise EvalkitError, exit code 4, for conditions that differ and are not allowed to.

    allowed: fields, or `field.key`. Raises EvalkitError, exit code 2, for an unknown field.
    """
    for name in allowed:
        if name.partition(".")[0] not in FIELDS:
            message = f"There is no condition {name!r} that may differ."
            raise EvalkitError(message, did_you_mean(name, FIELDS), code="gate-23")
    wrong = [
        one
        for one in found
        if one.field not in allowed and one.field.partition(".")[0] not in allowed
    ]
    if wrong:
        listed = "; ".join(
            f"{one.field}: {one.candidate}, baseline {one.baseline}" for one in wrong
        )
        fields = dict.fromkeys(one.field.partition(".")[0] for one in wrong)
        flags = " ".join(f"--allow-mismatch {field}" for field in fields)
        raise EvalkitError(
            f"The two models are not comparable. {listed}.",
            f"Measure both under the same conditions. To compare them anyway: `{flags}`.",
            NOT_COMPARABLE,
            code="gate-24",
        )


def _compared(a: Snapshot, b: Snapshot) -> list[Mismatch]:
    found: list[Mismatch] = []
    sides = _settled(a.conditions, b.conditions), _settled(b.conditions, a.conditions)
    for field in FIELDS[1:]:
        one, other = (side.get(field, "") for side in sides)  # "": not recorded
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            both = one.keys() & other.keys()
            for key in sorted(both if field in _OF_METRICS else one.keys() | other.keys()):
                if one.get(key) != other.get(key):
                    found.append(Mismatch(f"{field}.{key}", _said(one, key), _said(other, key)))
        elif one != other:
            found.append(Mismatch(field, _text(one, other), _text(other, one)))
    return found


def _settled(own: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions, with generation settings as used where both models record them.

    An option that is not given has the default of the model, which may be what another one gives.
    """
    used, theirs = own.get("settings") or {}, others.get("settings") or {}
    both = {name: used[name] for name in used.keys() & theirs.keys()}
    return {**own, "generation": {**own.get("generation", {}), **both}}


def _is_open(one: Mismatch) -> bool:
    return NOT_RECORDED in (one.candidate, one.baseline)


def _prompts(a: Snapshot, b: Snapshot) -> Mismatch:
    """Prompts are matched by id; their order does not matter."""
    shared = {key for key, text in a.prompts.items() if b.prompts.get(key) == text}
    other = sum(key in b.prompts and b.prompts[key] != a.prompts[key] for key in a.prompts)
    said = f"{len(a.prompts)} prompts" + f" ({other} with another text)" * bool(other)
    return Mismatch("prompts", said, f"{len(b.prompts)} prompts, {len(shared)} of them the same")


def _said(values: Mapping[str, Any], key: str) -> str:
    return _text(values[key]) if key in values else "not set"


def _text(value: Any, others: Any = ()) -> str:
    """A condition in words; of a long list, such as the sizes of photos, what `others` lack."""
    if not isinstance(value, list | tuple) or not value:
        return NOT_RECORDED if value == "" else str(value)
    if len(value) <= _MOST:
        return ", ".join(map(str, value))
    own = listing([str(one) for one in value if one not in others], _MOST)
    return f"{len(value)} values, {f'{own} only here' if own else 'all of them in the other one'}"
