"""How precisely torch computes products and convolutions of float32: read, written, and fixed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch

from evalkit.core import Precision

_BACKENDS = cast(Any, torch.backends)
# Where torch keeps the precision of products and convolutions, those of CUDA first.
_CUDA = (_BACKENDS.cuda.matmul, _BACKENDS.cudnn.conv)
_CPU = (_BACKENDS.mkldnn.matmul, _BACKENDS.mkldnn.conv)


class Settings(NamedTuple):
    """What the process allows; values can be compared with `==`."""

    earlier: str  # of torch's earlier interface; "" where code has used both
    places: tuple[str, ...]  # of `_CUDA`, then of `_CPU`


def read() -> Settings:
    try:
        earlier = torch.get_float32_matmul_precision()
    except RuntimeError:
        earlier = ""
    return Settings(earlier, tuple(place.fp32_precision for place in (*_CUDA, *_CPU)))


def write(settings: Settings) -> None:
    torch.set_float32_matmul_precision(settings.earlier or "highest")
    for place, precision in zip((*_CUDA, *_CPU), settings.places, strict=True):
        place.fp32_precision = "none"  # inherited from its backend
        if place.fp32_precision != precision:
            place.fp32_precision = precision


@contextlib.contextmanager
def computing(precision: Precision) -> Iterator[None]:
    """Deterministic inference in a precision, whatever the settings of the process.

    A training script may allow TF32 or bfloat16 products (`torch.set_float32_matmul_precision`), or
    run in `torch.autocast`: features would change in the third digit. Its settings are restored.

    precision: `exact` is IEEE float32. `tf32` rounds the inputs of products and convolutions of
    CUDA to 10 bits. `bf16` computes them in bfloat16, of 7 bits, by autocast: tensors inside may be
    of this type.
    """
    before, cudnn = read(), _BACKENDS.cudnn
    flags = cudnn.deterministic, cudnn.benchmark
    tf32 = precision == "tf32"
    cuda = "tf32" if tf32 else "ieee"
    try:
        write(Settings("high" if tf32 else "highest", (cuda, cuda, "ieee", "ieee")))
        cudnn.deterministic, cudnn.benchmark = True, False
        with contextlib.ExitStack() as stack:
            for device in ("cpu", _accelerator()):
                here = device == "cpu" or torch.accelerator.is_available()
                dtype = torch.bfloat16 if here and precision == "bf16" else None
                stack.enter_context(torch.autocast(device, dtype, enabled=dtype is not None))
            stack.enter_context(torch.inference_mode())
            yield
    finally:
        write(before)
        cudnn.deterministic, cudnn.benchmark = flags


def _accelerator() -> str:
    """The type of device beside the CPU that this build of torch knows; "cpu" if there is none."""
    return getattr(torch.accelerator.current_accelerator(), "type", "cpu")
