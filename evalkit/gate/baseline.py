"""A baseline is one file fit for git: a snapshot of a model, from which the gate works.

Values per image are kept as they are. Of a property of the set, its values without each group of
prompts are kept, not features: a gate on exactly the same images gives the same verdict as with the
run itself. What is lost: the baseline cannot be measured on a part of its images, so a candidate
that lacks some of them leaves such metrics undecided.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError, Measure
from evalkit.files import write_atomically
from evalkit.gate.snapshot import Snapshot, State, take

SCHEMA = 1
_KIND = "evalkit baseline"


def is_baseline(text: str) -> bool:
    """Whether a name of the command line is that of a baseline file."""
    return text.endswith(".json") and not Path(text).expanduser().is_dir()


def baseline_save(
    candidate: str | Path, *, out: str | Path = "baseline.json", reason: str = ""
) -> Path:
    """Write the baseline file of a model of a scored run; returns its path.

    Args:
        candidate: `RUN` or `RUN:LABEL`.
        out: the file. An existing one keeps its history, and gets one entry more.
        reason: why this model is the baseline; part of the history.
    """
    path = Path(out).expanduser()
    if not is_baseline(str(path)):
        raise EvalkitError(f"{path} is no name of a baseline; expected one that ends with .json.")
    if not reason.strip():
        raise EvalkitError(
            "No reason is given.", "Say why this is the baseline: `--reason 'release 1.2'`."
        )
    history = (
        _content(path.read_text(encoding="utf-8"), str(path))["history"] if path.exists() else []
    )
    snapshot = take(os.fspath(candidate))
    entry = {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "reason": reason.strip(),
        "model": snapshot.name,
    }
    content = {"kind": _KIND, "schema": SCHEMA, "snapshot": _to_json(snapshot)}
    content["history"] = [*history, entry]
    entry["sha256"] = _hash(content)  # of everything else in the file
    write_atomically(path, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def read_baseline(text: str) -> Snapshot:
    """The snapshot in a baseline file; `git:REVISION:PATH` reads it from a git revision.

    Raises EvalkitError for another file, another schema, or one that was edited.
    """
    content = _content(_text(text), text)
    if content["history"][-1].pop("sha256", "") != _hash(content):
        raise EvalkitError(
            f"{text} was edited: its content has another hash than its history states.",
            "Restore it, or save it again with `evalkit baseline save`.",
        )
    try:
        return _from_json(content["snapshot"], text)
    except (KeyError, TypeError, ValueError) as error:
        raise EvalkitError(
            f"{text} is damaged.", "Save it again with `evalkit baseline save`."
        ) from error


def _text(name: str) -> str:
    if name.startswith("git:"):
        _, revision, path = (*name.split(":", 2), "", "")[:3]
        done = subprocess.run(
            ["git", "show", f"{revision}:{path}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise EvalkitError(
                f"git has no {path!r} in {revision!r}: {done.stderr.strip()[:200]}.",
                "Give `git:REVISION:PATH`, for example `git:main:baseline.json`.",
            )
        return done.stdout
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvalkitError(
            f"The baseline {name} cannot be read.", "Write one with `evalkit baseline save`."
        ) from error


def _content(text: str, name: str) -> dict[str, Any]:
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = f": {error}" if "finite" in str(error) else ""
        raise EvalkitError(
            f"{name} is not JSON{reason}.", "Save it again with `evalkit baseline save`."
        ) from error
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise EvalkitError(
            f"{name} is no baseline of evalkit.", "Write one with `evalkit baseline save`."
        )
    if content.get("schema") != SCHEMA:
        raise EvalkitError(
            f"{name} has the schema {content.get('schema')!r:.40}; expected {SCHEMA}.",
            "Save it again with `evalkit baseline save`, to a new file.",
        )
    history = content.get("history")
    if not (isinstance(history, list) and history and isinstance(history[-1], dict)):
        raise EvalkitError(
            f"{name} has no history.", "Save it again with `evalkit baseline save`, to a new file."
        )
    return content


def _refuse_constant(text: str) -> float:
    raise ValueError(f"it has the value {text}, which is not finite")


def _hash(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _to_json(snapshot: Snapshot) -> dict[str, Any]:
    """The keys of all states are those of the images, or of the requests: each is stored once."""
    content = asdict(snapshot)
    keys: list[Any] = []
    for name, state in snapshot.states.items():
        entry = content["states"][name]
        entry["measure"] = state.measure.stated()
        if list(state.keys) not in keys:
            keys.append(list(state.keys))
        entry["keys"] = keys.index(list(state.keys))
    return content | {"keys": keys}


def _from_json(content: dict[str, Any], name: str) -> Snapshot:
    keys = [tuple((prompt, int(sample)) for prompt, sample in one) for one in content.pop("keys")]
    states = {}
    for metric, entry in content["states"].items():
        low, high = entry["measure"]["range"]
        span = (float("-inf") if low is None else low, float("inf") if high is None else high)
        measure = Measure(**{**entry["measure"], "range": span})
        lists = {
            field: None if entry[field] is None else tuple(entry[field])
            for field in ("values", "left_out")
        }
        states[metric] = State(
            **{**entry, **lists, "measure": measure, "keys": keys[entry["keys"]]}
        )
        values, places = states[metric].values, states[metric].keys
        if values is not None and len(values) != len(places):
            raise ValueError(f"{len(values)} values of {len(places)} images")
    blind = tuple(content["blind"])
    known = {"states": states, "name": name, "blind": blind, "saved_from": content["name"]}
    return Snapshot(**{**content, **known})
