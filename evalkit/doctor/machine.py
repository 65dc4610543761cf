"""Versions, processors, memory, limits of the process, text encoding, fonts and the clock."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from evalkit.core import DISTRIBUTION
from evalkit.doctor.check import Check

RELEASED = 1_767_225_600  # 2026-01-01 in UTC: no installation is older
_DAY = 86_400
_OFF = 60  # seconds by which the times of a file system may differ from the clock
_GIB = 2**30


def checks() -> list[Check]:
    import torch

    processors, threads = _processors(), torch.get_num_threads()
    found = [
        Check("evalkit", "ok", version(DISTRIBUTION)),
        Check("torch", "ok", f"{torch.__version__}, {threads} threads"),
        Check("processors", "ok", str(processors)),
    ]
    if threads > processors:
        found[-1] = Check(
            "processors", "note", f"{processors}, fewer than the {threads} threads of torch",
            f"Set OMP_NUM_THREADS={processors}; more threads than processors are slow.",
        )  # fmt: skip
    with tempfile.NamedTemporaryFile() as file:
        written = os.stat(file.name).st_mtime
    return [*found, *_memory(), *_limits(), text_encoding(), _fonts(), clock(time.time(), written)]


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # the cores of this process; not on macOS
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _memory() -> list[Check]:
    if sys.platform == "win32" or "SC_PHYS_PAGES" not in os.sysconf_names:
        return []
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return [_enough("memory", size, 2, "Use a machine with at least 4 GiB of memory.")]


def _enough(topic: str, size: int, least: int, advice: str) -> Check:
    finding = f"{size / _GIB:.1f} GiB"
    if size >= least * _GIB:
        return Check(topic, "ok", finding)
    return Check(topic, "bad", f"{finding}; at least {least} GiB are needed", advice)


def _limits() -> list[Check]:
    """What `ulimit` allows: address space and open files."""
    if sys.platform == "win32":
        return []
    import resource

    space, files = (
        resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE)
    )
    found = [Check("address space", "ok", "no limit")]
    if space != resource.RLIM_INFINITY:
        # torch with CUDA reserves more address space than it uses
        found = [_enough("address space", space, 8, "Raise it with `ulimit -v unlimited`.")]
    if files != resource.RLIM_INFINITY and files < 512:
        advice = "Raise the limit with `ulimit -n 4096`; archives and loader threads need files."
        return [*found, Check("open files", "note", f"at most {files}", advice)]
    return [*found, Check("open files", "ok", f"{files} at most" if files > 0 else "no limit")]


def text_encoding() -> Check:
    """Whether any prompt and file name can be printed and used."""
    names, output = sys.getfilesystemencoding(), getattr(sys.stdout, "encoding", None) or "utf-8"
    finding = f"file names {names}, output {output}"
    if {text.lower().replace("-", "") for text in (names, output)} == {"utf8"}:
        return Check("text encoding", "ok", finding)
    advice = "Set PYTHONUTF8=1 (or LANG=C.UTF-8); else some prompts cannot be printed or stored."
    return Check("text encoding", "note", finding, advice)


def _fonts() -> Check:
    from matplotlib import font_manager

    try:
        path = font_manager.findfont("DejaVu Sans", fallback_to_default=False)
    except ValueError:
        advice = "Remove matplotlib with `pip uninstall matplotlib`, and install it again."
        return Check("fonts", "bad", "DejaVu Sans, the font of all figures, is missing", advice)
    return Check("fonts", "ok", f"DejaVu Sans, {path}")


def clock(now: float, written: float) -> Check:
    """The clock in seconds since 1970 (without a time zone), and the time of a file just written.

    A clock that is far off gives wrong dates in reports, and servers refuse its connections.
    """
    installed = (Path(__file__).parent.parent / "__init__.py").stat().st_mtime
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    if now < max(RELEASED, installed - _DAY):
        advice = "Set the clock of this machine, for example with NTP."
        return Check("clock", "bad", f"{shown}, before evalkit was installed", advice)
    if abs(written - now) > _OFF:
        advice = "Set the clocks of this machine and of its file server, for example with NTP."
        finding = f"{shown}; files are written with a time {written - now:+,.0f} s away"
        return Check("clock", "bad", finding, advice)
    return Check("clock", "ok", shown)
