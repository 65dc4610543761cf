"""What `evalkit doctor` reports about this machine and installation."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from evalkit import plugins
from evalkit.core import EvalkitError


class Check(NamedTuple):
    topic: str
    finding: str
    good: bool = True


def doctor() -> list[Check]:
    """Versions, processors, memory, disk, bundled weights, and which encoders can be used."""
    return [*_machine(), *_weights(), *_encoders()]


def _machine() -> list[Check]:
    import torch

    free = shutil.disk_usage(".").free / 2**30
    affinity = getattr(os, "sched_getaffinity", None)  # the cores of this process; not on macOS
    cores = len(affinity(0)) if affinity is not None else os.cpu_count()
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none (optional)"
    found = [
        Check("evalkit", version("evalkit")),
        Check("python", platform.python_version()),
        Check("torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        Check("processors", str(cores)),
        Check("accelerator", accelerator),
        Check("disk", f"{free:.1f} GiB free in {Path.cwd()}", free > 1),
    ]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        found.append(Check("memory", f"{memory:.1f} GiB", memory > 2))
    return found


def _weights() -> list[Check]:
    folder = Path(__file__).parent / "weights"
    files = sorted(folder.glob("*.safetensors"))
    found = [
        Check("weights", f"{file.name}, {file.stat().st_size / 2**20:.1f} MiB") for file in files
    ]
    return found or [Check("weights", "not installed; train them with `evalkit train`", False)]


def _encoders() -> list[Check]:
    """Which encoders can be used. All servers are asked at once, to wait for one timeout only."""
    from concurrent.futures import ThreadPoolExecutor

    from evalkit.encoders import select
    from evalkit.encoders.weight_files import NEEDS, licences

    names = plugins.names("encoder")
    with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        states = list(
            pool.map(lambda name: select.availability(name) if name in NEEDS else None, names)
        )
    found: list[Check] = []
    for name, state in zip(names, states, strict=True):
        if state is not None:
            good, reason = state
            reason = f"{reason}; licence of the weights: {licences(name)}"
        else:
            try:
                good, reason = True, f"fingerprint {plugins.encoder(name, 'cpu').fingerprint}"
            except EvalkitError as error:
                good, reason = False, error.message
        found.append(Check(f"encoder {name}", reason, good))
    return found
