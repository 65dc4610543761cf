"""Mixed precision: which arithmetic the matrix products of a training use, why, and how gradients
survive it.
"""

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


class Precision(NamedTuple):
    dtype: torch.dtype
    reason: str  # a sentence for the log
    device: str

    def autocast(self) -> AbstractContextManager[object]:
        kind = self.device.split(":")[0]
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(kind, self.dtype)


def choose_precision(wanted: str, device: str, own: Processes) -> Precision:
    """wanted: auto, bf16, fp16 or fp32. auto is bf16 where the accelerator has it or the processor
    is faster with it, which is measured; fp16, whose gradients must be scaled, is only taken on
    accelerators that have nothing better (before Ampere).

    own: the processes of this training, which must all choose the same, whatever each of them has
    measured.
    """
    if wanted in PRECISIONS:
        return Precision(PRECISIONS[wanted], f"{wanted}: asked for", device)
    if wanted != "auto":
        raise EvalkitError(
            f"There is no precision {wanted!r}.", f"Expected auto, {', '.join(PRECISIONS)}."
        )
    if device.startswith("cuda"):
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return Precision(
                torch.bfloat16,
                "bf16: the accelerator has it, and it needs no scaling of gradients",
                device,
            )
        return Precision(
            torch.float16, "fp16 with scaled gradients: the accelerator is older than bf16", device
        )
    gain = own.mean(_gain_of_bf16())
    if gain > 1.5:
        return Precision(
            torch.bfloat16,
            f"bf16: a matrix product is {gain:.1f} times as fast as in fp32 on this processor",
            device,
        )
    return Precision(
        torch.float32, f"fp32: bf16 is only {gain:.2g} times as fast on this processor", device
    )


def _gain_of_bf16() -> float:
    """The best of ten times each, in turn: other work on the machine only ever makes them longer."""
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
    """The optimisers of one set of parameters, and what precision and processes ask of their
    gradients: these are scaled against underflow in fp16 (Micikevicius et al. 2018), accumulated
    over parts of the batch, averaged over processes and clipped.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        optimisers: Mapping[str, torch.optim.Optimizer],
        precision: Precision,
        processes: Processes,
        *,
        clip: float = 0.0,
    ) -> None:
        """clip: the largest norm of all gradients together; 0 = none."""
        self.parameters, self.optimisers, self.processes, self.clip = (
            parameters,
            dict(optimisers),
            processes,
            clip,
        )
        self._peaks = [group["lr"] for group in self._groups()]
        self.scaler = torch.amp.GradScaler(
            precision.device.split(":")[0],
            enabled=precision.dtype == torch.float16,
            init_scale=2.0**12,
        )

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimiser in self.optimisers.values() for group in optimiser.param_groups]

    def backward(self, loss: Tensor, parts: int = 1) -> None:
        """Add the gradients of a loss that is the mean over one of `parts` equal parts of the
        batch.
        """
        self.scaler.scale(loss / parts).backward()

    def step(self, rate: float = 1.0) -> None:
        """One step with all gradients so far, at this share of each learning rate."""
        self.processes.average_gradients(self.parameters)
        for group, peak in zip(self._groups(), self._peaks, strict=True):
            group["lr"] = peak * rate
        for optimiser in self.optimisers.values():
            self.scaler.unscale_(optimiser)
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        for optimiser in self.optimisers.values():
            self.scaler.step(optimiser)
            optimiser.zero_grad()
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()} | {
            "scaler": self.scaler.state_dict()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[name])
        self.scaler.load_state_dict(state["scaler"])
