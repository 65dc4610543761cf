"""All checks of this machine and installation."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor

from evalkit.doctor.check import Check, reason

# Files of this folder in the order of their lines; each has a function `checks`. They are imported
# one by one, so that a library that cannot be imported is a line and not the end.
PARTS = ("machine", "packages", "folders", "devices", "metrics", "networks", "encoders")


def doctor() -> list[Check]:
    """Check this machine and installation, in about ten seconds, without a network.

    Every built-in metric, the bundled networks and the resizing are computed on fixed inputs and
    compared with stored values of other libraries; then packages, folders, devices, clock, limits
    and weights. A line is `ok`, `bad`, or a `note` where something optional is not there. Raises
    nothing: a check that fails is a line.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:  # for the part that waits for a process
        waiting = {part: pool.submit(_checks, part) for part in PARTS if part == "packages"}
        found = {part: _checks(part) for part in PARTS if part not in waiting}
        found |= {part: future.result() for part, future in waiting.items()}
    return [line for part in PARTS for line in found[part]]


def _checks(part: str) -> list[Check]:
    try:
        return importlib.import_module(f"evalkit.doctor.{part}").checks()
    except Exception as error:  # a damaged installation raises anything
        advice = "Install evalkit and its packages again in a new virtual environment."
        return [Check(part, "bad", f"could not be checked: {reason(error)}", advice)]
