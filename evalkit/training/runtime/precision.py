"""Mixed precision: the number format of matrix products, and the scaling of gradients."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from evalkit.core import EvalkitError
from evalkit.training.runtime.processes import Processes

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class ComputePrecision(NamedTuple):
    dtype: torch.dtype
    reason: str  # a sentence for the log
    device: str

    def autocast(self) -> AbstractContextManager[object]:
        kind = self.device.split(":")[0]
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(kind, self.dtype)


def choose_precision(name: str, device: str, processes: Processes) -> ComputePrecision:
    """The precision of a name: auto, bf16, fp16 or fp32.

    auto is bf16 where the accelerator supports it or a measurement shows that the CPU is faster
    with it. It is fp16, which needs scaled gradients, only on accelerators before Ampere.

    processes: of this training. All must choose the same precision, so they share the measurement.
    """
    if name in PRECISIONS:
        return ComputePrecision(PRECISIONS[name], f"{name}: as requested", device)
    if name != "auto":
        raise EvalkitError(
            f"There is no precision {name!r}.",
            f"Expected auto, {', '.join(PRECISIONS)}.",
            code="training-41",
        )
    if device.startswith("cuda"):
        if torch.cuda.get_device_capability(device) >= (8, 0):
            reason = "bf16: the accelerator supports it, and it needs no gradient scaling"
            return ComputePrecision(torch.bfloat16, reason, device)
        reason = "fp16 with scaled gradients: the accelerator does not support bf16"
        return ComputePrecision(torch.float16, reason, device)
    gain = processes.mean(_bf16_speedup())
    if gain > 1.5:
        reason = f"bf16: matrix products are {gain:.1f} times as fast as in fp32 on this CPU"
        return ComputePrecision(torch.bfloat16, reason, device)
    reason = f"fp32: bf16 is only {gain:.2g} times as fast on this CPU"
    return ComputePrecision(torch.float32, reason, device)


def _bf16_speedup() -> float:
    """The best of ten timings of each, because other load only ever makes them longer."""
    matrices = {
        dtype: torch.ones(512, 256, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)
    }
    seconds = dict.fromkeys(matrices, float("inf"))
    for _ in range(10):
        for dtype, matrix in matrices.items():
            start = time.perf_counter()
            torch.mm(matrix, matrix.T)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - start)
    return seconds[torch.float32] / seconds[torch.bfloat16]


class Descent:
    """The optimisers of one set of parameters, with the handling of their gradients.

    Gradients are scaled against underflow in fp16 (Micikevicius et al. 2018), accumulated over
    parts of the batch, averaged over processes and clipped.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        optimisers: Mapping[str, torch.optim.Optimizer],
        precision: ComputePrecision,
        processes: Processes,
        *,
        clip: float = 0.0,
    ) -> None:
        """clip: the largest norm of all gradients together; 0 = no clipping."""
        self.parameters, self.optimisers = parameters, dict(optimisers)
        self.processes, self.clip = processes, clip
        self._peaks = [group["lr"] for group in self._groups()]
        self.scaler = torch.amp.GradScaler(
            precision.device.split(":")[0],
            enabled=precision.dtype == torch.float16,
            init_scale=2.0**12,
        )

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimiser in self.optimisers.values() for group in optimiser.param_groups]

    def backward(self, loss: Tensor, parts: int = 1) -> None:
        """Add the gradients of a loss, the mean over one of `parts` equal parts of the batch."""
        self.scaler.scale(loss / parts).backward()

    def step(self, factor: float = 1.0) -> None:
        """One step with the accumulated gradients, at this factor of each peak learning rate."""
        self.processes.average_gradients(self.parameters)
        for group, peak in zip(self._groups(), self._peaks, strict=True):
            group["lr"] = peak * factor
        for optimiser in self.optimisers.values():
            self.scaler.unscale_(optimiser)
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        for optimiser in self.optimisers.values():
            self.scaler.step(optimiser)
            optimiser.zero_grad()
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        states = {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}
        return states | {"scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[name])
        self.scaler.load_state_dict(state["scaler"])
