"""`evalkit init`: commented starter files for `evalkit run` and `evalkit gate`.

The files beside this one are written as they are; only models and prompts are filled in.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import tomli_w

from evalkit import plugins
from evalkit.config import Config
from evalkit.core import EvalkitError
from evalkit.files import path_of, write_atomically
from evalkit.prompts import is_bundled
from evalkit.run_folder import Run
from evalkit.specs import (
    default_label,
    expanded,
    is_path,
    model_texts,
    seen_from,
    spelled_as_path,
    split_label,
    with_path,
)

NAMES = ("evalkit.toml", "gate.toml")


def init(
    folder: str | Path = ".",
    *,
    models: str | Path | Sequence[str | Path] | None = None,
    prompts: str | Path | None = None,
) -> list[Path]:
    """Write a commented evalkit.toml and gate.toml; returns their paths.

    `evalkit run --config evalkit.toml` and `evalkit gate RUN --config gate.toml` take them as they
    are. Every key is in them with its meaning; those that are not used are commented out.

    Args:
        folder: where the files go; made if it does not exist.
        models: the models of evalkit.toml (default: a bundled one).
        prompts: its prompts (default: the bundled suite).

    Raises:
        EvalkitError: one of the files exists: nothing is overwritten.
    """
    place = path_of(folder, "folder")
    for path in (place / name for name in NAMES):
        if os.path.lexists(path):
            raise EvalkitError(
                f"{path} exists; nothing was written.",
                "Remove it, or choose another folder.",
                code="init-1",
            )
    if Run(place).is_run:
        raise EvalkitError(
            f"{place} is a run folder; expected a folder for several runs.",
            "Choose the folder above, or another one.",
            code="init-3",
        )
    if place.exists() and not place.is_dir():
        raise EvalkitError(
            f"{place} is a file; expected a folder.", "Choose another folder.", code="init-2"
        )
    texts = {name: (files("evalkit.init") / name).read_text(encoding="utf-8") for name in NAMES}
    text = _filled(texts["evalkit.toml"], place, models, prompts)
    Config.from_toml(text, "evalkit.toml")  # raises where models or prompts cannot be such
    for name, content in (texts | {"evalkit.toml": text}).items():
        write_atomically(place / name, content)
    return [place / name for name in NAMES]


def _filled(text: str, place: Path, models: object, prompts: str | Path | None) -> str:
    """evalkit.toml with these models and prompts; paths as seen from its folder."""
    if models is not None:
        named = [_model(one, place) for one in model_texts(models)[0]]
        text = text.replace('models = ["mine=gan"]\n', tomli_w.dumps({"models": named}))
        if named:
            options = tomli_w.dumps({"model": {_label(named[0]): {}}}).strip()
            text = text.replace("[model.mine]", options)
    if prompts is not None:
        given = str(prompts)
        if given and not is_bundled(given):
            given = _moved(given, place)
        text = text.replace('prompts = "suite"\n', tomli_w.dumps({"prompts": given}))
    return text


def _model(text: str, place: Path) -> str:
    """The text of a model; a folder without a slash becomes a path, as the file may move."""
    label, spec = split_label(text)
    if os.path.isdir(expanded(spec)) and spec not in plugins.names("generator"):
        text = f"{label}={spelled_as_path(spec)}" if label else spelled_as_path(spec)
    return with_path(text, lambda path: _moved(path, place))


def _moved(path: str, place: Path) -> str:
    """A path relative to the folder of the configuration; absolute ones and ~ stay."""
    if os.path.isabs(expanded(path)):
        return path
    return seen_from(os.path.realpath(place), os.path.abspath(path))


def _label(text: str) -> str:
    label, spec = split_label(text)
    return label or (Path(spec).name if is_path(spec) else default_label(spec))
