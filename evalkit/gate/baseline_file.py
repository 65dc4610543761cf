"""A baseline file: its content, its hash, and where it is read from."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError, Measure
from evalkit.files import read_utf8
from evalkit.gate.baseline_check import require_sound
from evalkit.gate.snapshot import Snapshot, State

SCHEMA = 2
KIND = "evalkit baseline"
_MOST = 256 << 20  # bytes; with ten values of each of 50,000 images, a file has 20 MB


def is_baseline(text: str) -> bool:
    """Whether a name of the command line is that of a baseline file."""
    return text.endswith(".json") and not Path(text).expanduser().is_dir()


def read_baseline(text: str) -> Snapshot:
    """The snapshot in a baseline file; `git:REVISION:PATH` reads it from a git revision.

    Raises EvalkitError for another file, another schema, or one that was edited.
    """
    content = read_content(read_text(text), text)
    try:
        found = _from_json(content["snapshot"], text)
        require_sound(found)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _damaged(text) from error
    return found


def _damaged(name: str) -> EvalkitError:
    return EvalkitError(
        f"{name} is damaged: its content is not what evalkit writes.",
        "Restore it (`git checkout`), or save another one with `evalkit baseline save --out`.",
        code="gate-10",
    )


def read_text(name: str) -> str:
    if name.startswith("git:"):
        return _of_git(*(*name.split(":", 2), "", "")[1:3])
    try:
        return read_utf8(Path(name).expanduser(), _MOST)
    except OSError as error:
        raise EvalkitError(
            f"The baseline {name} cannot be read: {error.strerror}.",
            "Check the path, or write another file with `evalkit baseline save --out`.",
            code="gate-11",
        ) from error


def _of_git(revision: str, path: str) -> str:
    """The text of a file in a revision; its path is relative to the working directory.

    A path that is not there is looked up from the root of the repository, as git writes it.
    """
    if not revision or not path or revision.startswith("-"):
        raise EvalkitError(
            f"git:{revision}:{path} names no file of a revision.",
            "Give `git:REVISION:PATH`, for example `git:main:baseline.json`.",
            code="gate-12",
        )
    try:
        if _git("rev-parse", "--is-inside-work-tree").returncode:
            raise EvalkitError(
                f"{Path.cwd()} is not in a git repository, and git:{revision}:{path} is read from"
                " one.",
                "Run the command inside of the repository, or give the path of the file.",
                code="gate-13",
            )
        if _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").returncode:
            raise EvalkitError(
                f"git has no revision {revision!r}.",
                f"Fetch it (`git fetch origin {revision}`), or name one of `git branch -a`.",
                code="gate-14",
            )
        plain = Path(path).as_posix().removeprefix("./")
        for place in (f"./{plain}", plain):
            size = _git("cat-file", "-s", f"{revision}:{place}")
            if size.returncode:
                continue
            if int(size.stdout) > _MOST:
                raise EvalkitError(
                    f"git:{revision}:{path} has {int(size.stdout) >> 20} MiB; expected a baseline,"
                    f" of at most {_MOST >> 20} MiB.",
                    "Check the path.",
                    code="gate-15",
                )
            return _git("show", f"{revision}:{place}").stdout
    except FileNotFoundError as error:
        raise EvalkitError(
            f"git is not installed, and git:{revision}:{path} is read with it.",
            "Install git, or give the path of the file.",
            code="gate-16",
        ) from error
    raise EvalkitError(
        f"git has no {path!r} in {revision!r}, relative to {Path.cwd()} or to the repository.",
        f"`git ls-tree -r {revision}` lists its files.",
        code="gate-17",
    )


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def read_content(text: str, name: str) -> dict[str, Any]:
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = f": {error}" if "finite" in str(error) else ""
        raise EvalkitError(
            f"{name} is not JSON{reason}.",
            "Restore it (`git checkout`), or save another one with `evalkit baseline save --out`.",
            code="gate-18",
        ) from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise EvalkitError(
            f"{name} is not a baseline of evalkit.",
            "Write one with `evalkit baseline save`.",
            code="gate-19",
        )
    schema = content.get("schema")
    if type(schema) is not int or schema not in (1, SCHEMA):
        old = type(schema) is int and schema < SCHEMA
        out = shlex.quote(str(Path(name).with_name("new.json"))) if old else ""
        raise EvalkitError(
            f"{name} has the schema {schema!r:.40}; expected {SCHEMA}.",
            f"Save it again: `evalkit baseline save RUN --out {out} --reason 'new format'`."
            if old
            else "Use the version of evalkit that wrote it, or a newer one.",
            code="gate-20",
        )
    history = content.get("history")
    if not (isinstance(history, list) and history and isinstance(history[-1], dict)):
        raise EvalkitError(
            f"{name} has no history.",
            "Save it again with `evalkit baseline save`, to a new file.",
            code="gate-21",
        )
    last = {key: value for key, value in history[-1].items() if key != "sha256"}
    try:
        digest = content_hash({**content, "history": [*history[:-1], last]})
    except ValueError as error:  # infinity, as 1e999, or a text that is not Unicode
        raise _damaged(name) from error
    if history[-1].get("sha256") != digest:
        raise EvalkitError(
            f"{name} was edited: its content has another hash than its history states.",
            "Restore it (`git checkout`), or save it again with `evalkit baseline save`.",
            code="gate-22",
        )
    return _migrated(content, name) if schema == 1 else content


def _migrated(content: dict[str, Any], name: str) -> dict[str, Any]:
    """A file of schema 1, which lacks what runs did not record then: it stays unknown.

    Its metrics have their first version: none had changed.
    """
    try:
        snapshot, states = dict(content["snapshot"]), content["snapshot"]["states"]
        known = dict(snapshot["conditions"])
        if "encoding_device" in known:
            raise ValueError("a file of the schema 1 has no encoding_device")
        kinds = dict.fromkeys(known.get("encoders", {}), "")
        known |= {"encoding_device": kinds, "encoding_dtype": kinds}
        known["metric_versions"] = {of: 1 for of, one in states.items() if one["encoder"]}
        known["reference_features"] = dict.fromkeys(known.get("references", {}), "")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(name) from error
    return content | {"schema": SCHEMA, "snapshot": snapshot | {"conditions": known}}


def _refuse_constant(text: str) -> float:
    raise ValueError(f"it has the value {text}, which is not finite")


def content_hash(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def to_content(snapshot: Snapshot) -> dict[str, Any]:
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
    keys = [tuple((prompt, sample) for prompt, sample in one) for one in content.pop("keys")]
    states = {}
    for metric, entry in content["states"].items():
        entry.setdefault("left_out_pairs", None)  # not in files of earlier versions
        low, high = entry["measure"]["range"]
        span = (float("-inf") if low is None else low, float("inf") if high is None else high)
        measure = Measure(**{**entry["measure"], "range": span})
        lists = {
            field: None if entry[field] is None else tuple(entry[field])
            for field in ("values", "left_out", "left_out_pairs")
        }
        states[metric] = State(
            **{**entry, **lists, "measure": measure, "keys": keys[entry["keys"]]}
        )
    if isinstance(content["blind"], str):
        raise TypeError("blind")
    read = {
        "states": states,
        "name": name,
        "saved_from": content["name"],
        "blind": tuple(content["blind"]),
        "images": tuple((prompt, at, sha) for prompt, at, sha in content.get("images", ())),
    }
    return Snapshot(**{**content, **read})
