"""The devices that can compute, and whether their arithmetic is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from evalkit.doctor.check import Check, reason
from evalkit.doctor.fixed import integers

_DRIVER = Path("/proc/driver/nvidia/version")  # Linux only; elsewhere there is no such check
_ADVICE = (
    "Install the build of PyTorch for the driver of this machine, or update the driver; until then"
    " use `--device cpu`."
)


def available() -> list[str]:
    """The devices of this machine, as `--device` names them."""
    found = ["cpu", *(f"cuda:{place}" for place in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    if torch.xpu.is_available():
        found.append("xpu")
    return found


def checks() -> list[Check]:
    found = [device(name) for name in available()]
    built = torch.version.cuda
    if len(found) > 1:
        return found
    if _DRIVER.is_file():
        build = f"is built for CUDA {built}" if built else "is built without CUDA"
        finding = f"a driver of NVIDIA is loaded, but PyTorch ({build}) cannot use a GPU"
        return [*found, Check("accelerator", "bad" if built else "note", finding, _ADVICE)]
    return [
        *found,
        Check("accelerator", "note", "none", "None is needed; large encoders are slow."),
    ]


def device(name: str) -> Check:
    """Products of integers, which every precision down to TF32 computes exactly."""
    topic = f"device {name}"
    try:
        right = _product_is_exact(name)
        described = _described(name)
    except Exception as error:  # drivers raise errors of several types
        return Check(topic, "bad", reason(error), _ADVICE)
    if not right:
        return Check(topic, "bad", f"{described}: a product of integers is wrong", _ADVICE)
    return Check(topic, "ok", described)


def _product_is_exact(name: str) -> bool:
    x, y = (integers(64 * 64, seed).reshape(64, 64) for seed in (1, 2))
    tensors = (torch.from_numpy(side.astype(np.float32)).to(name) for side in (x, y))
    left, right = tensors
    return np.array_equal((left @ right).cpu().numpy(), (x @ y).astype(np.float32))


def _described(name: str) -> str:
    if not name.startswith("cuda"):
        return "computes correctly"
    free, total = (size / 2**30 for size in torch.cuda.mem_get_info(name))
    title = torch.cuda.get_device_name(name)
    return f"{title}, {free:.1f} of {total:.1f} GiB free, CUDA {torch.version.cuda}"
