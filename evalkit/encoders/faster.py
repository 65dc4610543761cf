"""Encoders in a faster arithmetic, under names of their own: `inception-bf16`, `clip-b32-tf32`.

Their features differ from those of the exact encoder, so name, fingerprint and number format do
too: no value of one is compared with a value of the other. Networks are shared in memory.
"""

from __future__ import annotations

import copy
from typing import Any, get_args

from evalkit.core import Encoder, EvalkitError, Precision
from evalkit.plugin_calls import is_own

_DTYPES = {"tf32": "tf32", "bf16": "bfloat16"}  # as the gate compares them


def faster(encoder: Encoder, precision: Precision) -> Encoder:
    """The encoder in a precision; itself for `exact`, or if it is in this precision already.

    Raises EvalkitError where the encoder has no faster mode, or its device cannot compute in it.
    """
    known = getattr(encoder, "precision", "exact")
    if precision in ("exact", known):
        return encoder
    if known != "exact" or not has_modes(encoder):
        raise EvalkitError(
            f"The encoder {encoder.name} cannot compute in {precision}.",
            "Use `--precision exact`, or another encoder: the arithmetic of this one is fixed.",
            code="encoders-8",
        )
    _require_hardware(str(getattr(encoder, "device", "cpu")), precision)
    made: Any = copy.copy(encoder)
    made.stands_for, made.precision, made.dtype = encoder, precision, _DTYPES[precision]
    made.name = f"{encoder.name}-{precision}"
    made.fingerprint = f"{encoder.fingerprint}/{precision}"
    return made


def has_modes(encoder: Encoder) -> bool:
    """Whether evalkit knows how to compute this encoder faster."""
    return is_own(encoder) and hasattr(encoder, "precision")


def exact_of(encoder: Encoder) -> Encoder:
    """The encoder that a faster one stands for; any other one itself."""
    return getattr(encoder, "stands_for", encoder)


def parted(name: str) -> tuple[str, Precision]:
    """`inception-bf16` -> ("inception", "bf16"); a name without a mode is exact."""
    for precision in get_args(Precision):
        if name.endswith(f"-{precision}") and precision != "exact":
            return name.removesuffix(f"-{precision}"), precision
    return name, "exact"


def _require_hardware(device: str, precision: Precision) -> None:
    """Raise EvalkitError where a device has no such arithmetic.

    bfloat16 works on every CPU, where it may be slow.
    """
    import torch

    cuda, found = device.partition(":")[0] == "cuda", device
    if cuda:
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return
        found = torch.cuda.get_device_name(device)
    elif precision == "bf16":
        return
    raise EvalkitError(
        f"{found} does not compute in {precision}, which needs an NVIDIA GPU of the generation of"
        " the A100 or newer.",
        "Use `--precision exact`" + ("." if cuda else ", or `--precision bf16`."),
        code="encoders-9",
    )
