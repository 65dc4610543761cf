"""From a name or `package.module:attribute` to an object, which is imported when it is asked for.

`openai:gpt-image-2` is the plug-in `openai` with an argument; the name of an installed plug-in
before the colon wins over a module of that name.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from evalkit.core import EvalkitError
from evalkit.hints import did_you_mean
from evalkit.plugin_calls import plugin_call

PluginKind = Literal["generator", "encoder", "scorer", "metric", "tracker"]
ATTRIBUTE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
# The packages of modules with other names, among those that evalkit needs.
PACKAGES = {"PIL": "pillow", "cleanfid": "clean-fid", "mlflow": "mlflow-skinny"}


def names(kind: PluginKind) -> list[str]:
    """The installed plug-ins of a kind, sorted."""
    return sorted(entries(kind))


def own_names(kind: PluginKind) -> list[str]:
    """The installed plug-ins of a kind that come with evalkit."""
    return [name for name, entry in entries(kind).items() if entry.module.startswith("evalkit.")]


@functools.cache
def entries(kind: PluginKind) -> dict[str, EntryPoint]:
    """Entry points by name. Where two distributions use one name, evalkit's own wins."""
    found = sorted(
        entry_points(group=f"evalkit.{kind}s"),
        key=lambda entry: entry.module.startswith("evalkit."),
    )
    return {entry.name: entry for entry in found}


def find(kind: PluginKind, spec: str) -> Any:
    """Import the object of a name or of `package.module:attribute`."""
    known = entries(kind)
    if spec in known:
        return import_object(kind, spec, known[spec].value)
    if ATTRIBUTE.fullmatch(spec):
        return import_object(kind, spec, spec)
    hint = did_you_mean(spec.partition(":")[0], known)
    if kind != "tracker":  # the hint names all
        hint += f" See `evalkit list {kind}s`."
    raise EvalkitError(f"There is no {kind} {spec!r}.", hint, code="plugins-1")


def import_object(kind: PluginKind, spec: str, target: str) -> Any:
    module, _, attribute = target.partition(":")
    local = Path(module.partition(".")[0])
    if local.is_dir() or local.with_suffix(".py").is_file():
        _look_in_current_folder()
    value, absent, missing = None, "", ""
    with plugin_call(module, f"The {kind} {spec!r} cannot be imported"):
        try:
            value = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not error.name:
                raise
            absent = error.name
        for part in () if absent else attribute.split("."):
            if not hasattr(value, part):
                missing = part
                break
            value = getattr(value, part)
    if absent:
        hint = f"Check its spelling; {module}.py is also looked for in the current folder."
        if absent != module:
            hint = f"Install it, for example with `pip install {PACKAGES.get(absent, absent)}`."
        raise EvalkitError(
            f"The {kind} {spec!r} needs the module {absent!r}, which is not installed.",
            hint,
            code="plugins-2",
        )
    _require_current(sys.modules.get(module), module, spec)
    if missing:
        raise _without(missing, value, module, spec)
    return value


_folders: list[str] = []  # of users' modules, which evalkit has added to sys.path


def _look_in_current_folder() -> None:
    """Import from the current folder, too: last, so that its files take no module's place.

    Of several folders in one process, as in a notebook, the current one is the first.
    """
    folder = os.getcwd()
    if folder in _folders and folder in sys.path:
        sys.path.remove(folder)
    elif folder in map(os.path.abspath, sys.path):
        return
    places = [sys.path.index(known) for known in _folders if known in sys.path]
    sys.path.insert(min(places, default=len(sys.path)), folder)
    if folder not in _folders:
        _folders.append(folder)


def _require_current(value: Any, module: str, spec: str) -> None:
    """Refuse a module of another folder, imported before, where the current one has its own."""
    found = getattr(value, "__file__", None)
    place = Path(*module.split("."))
    own = [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
    if not own or not found or os.path.abspath(own[0]) == os.path.abspath(found):
        return
    root = Path(found).absolute().parents[module.count(".") + (Path(found).stem == "__init__")]
    lasting = {os.path.abspath(path) for path in sys.path if path not in _folders}
    if str(root) not in lasting:
        raise EvalkitError(
            f"{spec!r} was imported from {found} before, and this folder has another {own[0]}.",
            "Start Python again in this folder, or rename one of the files.",
            code="plugins-29",
        )


def _without(missing: str, value: Any, module: str, spec: str) -> EvalkitError:
    """The error where a module lacks what a spec names; maybe it is another module of that name."""
    own, found = Path(*module.split(".")).with_suffix(".py"), getattr(value, "__file__", None)
    if own.is_file() and not (found and os.path.exists(found) and own.samefile(found)):
        return EvalkitError(
            f"{spec!r} names the installed module {module}, not {own} of this folder, and that"
            f" module has no {missing!r}.",
            f"Rename {own}.",
            code="plugins-3",
        )
    public = [name for name in dir(value) if not name.startswith("_")]
    hint = did_you_mean(missing, public)
    return EvalkitError(
        f"{module} has no {missing!r}, which {spec!r} names.",
        hint if len(public) < 30 or hint.startswith("Did") else "",
        code="plugins-4",
    )


def split(spec: str, kind: PluginKind = "generator") -> tuple[str, str]:
    """`openai:gpt-image-2` -> ("openai", "gpt-image-2"), if `openai` is an installed plug-in."""
    name, _, argument = spec.partition(":")
    return (name, argument) if argument and name in entries(kind) else (spec, "")
