"""How much memory a process may still take, as Linux and its control groups say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def available(root: Path = Path("/")) -> int:
    """Bytes that are free or can be freed; where the system does not say, half of the memory.

    root: where the files of the system are.
    """
    return min(_stated(root), default=_half_of_all())


def _stated(root: Path) -> Iterator[int]:
    """Of the machine, and of each control group around the process: a job, a container."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        amounts = dict(line.split(":", 1) for line in lines)
        yield int(amounts["MemAvailable"].split()[0]) * 1024
        own = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, LookupError, ValueError):
        return
    groups = root / "sys/fs/cgroup"
    for place in (line.removeprefix("0::/") for line in own if line.startswith("0::")):
        for group in (groups / place, *(groups / place).parents):
            try:
                most = (group / "memory.max").read_text(encoding="ascii").strip()
                used = (group / "memory.current").read_text(encoding="ascii")
                lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
                counts = {name: int(count) for name, count in map(str.split, lines)}
                # Pages of files count as used, and are dropped where memory is short; those that
                # are shared, or files of a tmpfs, count as pages of files, and are not.
                files = counts["file"] - counts.get("shmem", 0)
            except (OSError, LookupError, ValueError):
                continue
            if most != "max":
                yield max(0, int(most) - int(used) + files)


def _half_of_all() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # Windows
        return 2**32
