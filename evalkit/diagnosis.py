"""What `evalkit doctor` says about this machine and installation."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from evalkit import plugins
from evalkit.core import EvalkitError


class Finding(NamedTuple):
    topic: str
    finding: str
    good: bool = True


def doctor() -> list[Finding]:
    """Versions, processors, memory, disk, bundled weights, and each encoder with the reason where
    it cannot be used.
    """
    return [*_machine(), *_weights(), *_encoders()]


def _machine() -> list[Finding]:
    import torch

    free = shutil.disk_usage(".").free / 2**30
    found = [
        Finding("evalkit", version("evalkit")),
        Finding("python", platform.python_version()),
        Finding("torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        Finding(
            "processors",
            f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}",
        ),
        Finding(
            "accelerator",
            torch.cuda.get_device_name()
            if torch.cuda.is_available()
            else "none (nothing needs one)",
        ),
        Finding("disk", f"{free:.1f} GiB free in {Path.cwd()}", free > 1),
    ]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        found.append(Finding("memory", f"{memory:.1f} GiB", memory > 2))
    return found


def _weights() -> list[Finding]:
    folder = Path(__file__).parent / "weights"
    files = sorted(folder.glob("*.safetensors"))
    found = [
        Finding("weights", f"{file.name}, {file.stat().st_size / 2**20:.1f} MiB") for file in files
    ]
    return found or [
        Finding("weights", "none are installed; make them with `evalkit train`", False)
    ]


def _encoders() -> list[Finding]:
    """Which encoders can be used. Servers are asked at the same time, so that this takes seconds
    even where none answers.
    """
    from concurrent.futures import ThreadPoolExecutor

    from evalkit.encoders import select
    from evalkit.encoders.weight_files import NEEDS, licences

    names = plugins.names("encoder")
    with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        states = dict(
            zip(
                names,
                pool.map(lambda name: select.availability(name) if name in NEEDS else None, names),
                strict=True,
            )
        )
    found: list[Finding] = []
    for name, state in states.items():
        if state is not None:
            good, reason = state
            found.append(
                Finding(
                    f"encoder {name}", f"{reason}; licence of the weights: {licences(name)}", good
                )
            )
            continue
        try:
            good, reason = True, f"fingerprint {plugins.encoder(name, 'cpu').fingerprint}"
        except EvalkitError as error:
            good, reason = False, error.message
        found.append(Finding(f"encoder {name}", reason, good))
    return found
