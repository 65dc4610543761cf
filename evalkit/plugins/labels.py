"""The label of each model: what a run, its folders and its report call it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.plugins.importing import entries, split
from evalkit.specs import INSTALLED, Functions, default_label, is_path, split_label


def _place(spec: str) -> str:
    """The spec by which a run remembers the model: the real path of a folder, else the name.

    Raises EvalkitError for a name that is also a folder: it could mean either.
    """
    if spec.startswith(INSTALLED):
        return spec.removeprefix(INSTALLED)
    if is_path(spec):
        if os.path.isdir(spec):
            return os.path.realpath(spec)
        if os.path.isfile(spec):
            raise _no_folder(spec)
        raise EvalkitError(
            f"There is no folder {spec}.",
            "Check the path, or see `evalkit list generators` for names.",
            code="plugins-17",
        )
    if not os.path.isdir(spec):
        if os.path.isfile(spec) and split(spec)[0] not in entries("generator"):
            raise _no_folder(spec)
        return spec
    if split(spec)[0] in entries("generator"):
        raise EvalkitError(
            f"{spec!r} is an installed generator and also a folder here.",
            f"Write `./{spec}` for the folder, or `{INSTALLED}{spec}` for the generator.",
            code="plugins-18",
        )
    return os.path.realpath(spec)


def _no_folder(spec: str) -> EvalkitError:
    return EvalkitError(
        f"{spec} is a file; expected a folder of images or of a diffusers pipeline.",
        "Unpack it first (`evalkit score` reads zip, tar and npz files too).",
        code="plugins-19",
    )


def labels_of(
    texts: Sequence[str], known: Mapping[str, str], functions: Functions
) -> dict[str, str]:
    """label -> spec, with folders as real paths, in the order of the texts.

    A label is given, or that of the same model in the run, or the name, or the last part of a
    folder's path: more of it where that is taken.
    """
    parts = [split_label(text) for text in texts]
    places = [
        spec if text in functions else _place(spec)
        for text, (_, spec) in zip(texts, parts, strict=True)
    ]
    explicit = {label for label, _ in parts if label}
    labelled: dict[str, str] = {}
    given: dict[str, str] = {}  # label -> the text of the user, for the message
    for text, (label, _), place in zip(texts, parts, places, strict=True):
        same = [name for name, spec in known.items() if spec == place and name not in explicit]
        if not label and len(same) > 1 and default_label(place) not in same:
            raise EvalkitError(
                f"The run has the model {text!r} with several labels:"
                f" {', '.join(map(repr, same))}.",
                f"Name one of them: `{same[0]}={text}`.",
                code="plugins-22",
            )
        if not label and same:
            label = default_label(place) if default_label(place) in same else same[0]
        elif not label and is_path(place):
            taken = {*labelled, *places, *known, *explicit}
            folders = Path(place).parts
            longer = ("/".join(folders[-count:]) for count in range(1, len(folders)))
            label = next((item for item in longer if item not in taken), place)
        label = label or default_label(place)
        if known.get(label, place) != place:
            raise EvalkitError(
                f"The model {label!r} of this run is {known[label]}; {text!r} is another one.",
                "Give it another label, or choose another --out.",
                code="plugins-23",
            )
        twice = next(
            (
                name
                for name in given
                if name == label or (labelled[name] == place and not {name, label} & explicit)
            ),
            None,
        )
        if twice is not None:
            raise EvalkitError(
                f"The models {given[twice]!r} and {text!r} have the same label, {twice!r}.",
                "Name each model once, or give labels: `a=SPEC,b=SPEC`.",
                code="plugins-24",
            )
        labelled[label], given[label] = place, text
    return labelled
