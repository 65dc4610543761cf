"""`RUN`, `RUN:LABEL` or `NAME=RUN:LABEL`: the models to compare, each with a name of its own."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.files import paths_of
from evalkit.gate.snapshot import Snapshot, outline
from evalkit.hints import did_you_mean
from evalkit.run_config import lost_models
from evalkit.run_folder import Run
from evalkit.specs import is_path, split_label, split_run

Runs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Entry:
    """A model of a scored run, and its name in the comparison."""

    run: Run
    label: str  # in its run
    name: str

    @cached_property
    def outline(self) -> Snapshot:
        """Its prompts, and the conditions under which it was made and measured."""
        return outline(self.run, self.label)

    @cached_property
    def spec(self) -> str:
        """What generated its images: a name, or the real path of a folder."""
        spec = str(self.run.model(self.label)["spec"])
        return os.path.realpath(self.run.path / spec) if is_path(spec) else spec

    @cached_property
    def place(self) -> Path:
        """The real path of the run folder."""
        return Path(os.path.realpath(self.run.path))


def read_entries(given: Runs) -> list[Entry]:
    """The models of all given runs, in their order.

    Raises EvalkitError unless they are models of two scored runs at least, each given once.
    """
    texts = paths_of(given, "runs")
    entries = [entry for text in texts for entry in _entries(os.fspath(text))]
    seen = Counter((entry.place, entry.label) for entry in entries)
    twice = [entry for entry in entries if seen[entry.place, entry.label] > 1]
    if twice:
        raise EvalkitError(
            f"The model {twice[0].label!r} of {twice[0].run.path} is given twice.",
            "Name each run once.",
            code="compare-10",
        )
    if len({entry.place for entry in entries}) < 2:
        labels = ",".join(entry.label for entry in entries)
        shown = entries[0].run.path if entries else "RUN"
        raise EvalkitError(
            f"{'One run is' if entries else 'No run is'} given; expected two or more.",
            f"To compare models of one run: `evalkit score {shown} --models {labels or '…'}`.",
            code="compare-11",
        )
    return _named(entries)


def _entries(text: str) -> list[Entry]:
    """The models of one argument; a name that is not given is still empty."""
    name, rest = ("", text) if os.path.isdir(os.path.expanduser(text)) else split_label(text)
    path, label = split_run(rest)
    run = Run(path)
    if not run.path.is_dir():
        raise EvalkitError(
            f"There is no run folder {run.path}.", "Give RUN or RUN:LABEL.", code="compare-12"
        )
    run.prompts()  # raises where it is no run
    scored = dict.fromkeys(row.model for row in run.metrics())
    known = [model for model in run.models() if label or model in scored]
    if label and label not in known:
        raise EvalkitError(
            f"{run.path} has no model {label!r}.", did_you_mean(label, known), code="compare-13"
        )
    lost = {} if label else lost_models(run)
    if lost:
        raise EvalkitError(
            f"{run.path}: {' '.join(lost.values())}",
            "Make the images again with"
            f" `evalkit run --config {shlex.quote(str(run.config_path))}`, or name the models to"
            f" compare: {' '.join(f'`{rest}:{one}`' for one in known[:4])}.",
            code="compare-14",
        )
    labels = [label] if label else known
    if name and len(labels) > 1:
        raise EvalkitError(
            f"{run.path} has {len(labels)} models, and one name, {name!r}, is given.",
            f"Name one of them: `{name}={rest}:{labels[0]}`.",
            code="compare-15",
        )
    return [Entry(run, one, name) for one in labels]


def _named(entries: Sequence[Entry]) -> list[Entry]:
    """Labels that are unique stay; others begin with the name of their run, or more of its path."""
    wanted = [entry.name or entry.label for entry in entries]
    count = Counter(wanted)
    names: list[str] = []
    for entry, plain in zip(entries, wanted, strict=True):
        others = {one.place for one in entries if one is not entry and one.label == entry.label}
        if count[plain] == 1 or entry.name:
            names.append(plain)
            continue
        parts = entry.place.parts
        more = next(
            (n for n in range(1, len(parts)) if parts[-n:] not in {o.parts[-n:] for o in others}),
            len(parts) - 1,
        )
        joined = "-".join((*parts[-more:], plain))
        names.append(re.sub(r"[^\w. +-]+", "-", joined).strip("-. "))
    again = [name for name, found in Counter(names).items() if found > 1]
    if again:
        raise EvalkitError(
            f"Two models would have the name {again[0]!r}.",
            "Give each its own name: `NAME=RUN:LABEL`.",
            code="compare-16",
        )
    return [replace(entry, name=name) for entry, name in zip(entries, names, strict=True)]
