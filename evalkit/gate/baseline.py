"""A baseline is one file fit for git: a snapshot of a model, from which the gate works.

Values per image are kept as they are. Of a property of the set, its values without each group of
prompts are kept, not features: a gate on exactly the same images gives the same verdict as with the
run itself. What is lost: the baseline cannot be measured on a part of its images, so a candidate
that lacks some of them leaves such metrics undecided.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError
from evalkit.files import path_of, write_atomically
from evalkit.gate.arguments import run_text
from evalkit.gate.baseline_file import (
    KIND,
    SCHEMA,
    content_hash,
    is_baseline,
    read_baseline,
    read_content,
    read_text,
    to_content,
)
from evalkit.gate.comparable import Mismatch
from evalkit.gate.snapshot import Snapshot, take

log = logging.getLogger(__name__)


def baseline_save(
    candidate: str | Path, *, out: str | Path = "baseline.json", reason: str = ""
) -> Path:
    """Write the baseline file of a model of a scored run; returns its path.

    Nothing is compared: `baseline_update` gates the run against the present baseline first.

    Args:
        candidate: `RUN` or `RUN:LABEL`.
        out: the file. An existing one keeps its history, and gets one entry more.
        reason: why this model is the baseline; part of the history.
    """
    path, reason = _checked(out, reason)
    history = _history(path)  # before anything slow: a damaged file is an error
    return _write(path, take(run_text(candidate, "candidate")), history, reason)


def baseline_update(
    candidate: str | Path,
    *,
    baseline: str | Path = "baseline.json",
    reason: str = "",
    config: str | Path | None = None,
    allow_mismatch: str | Sequence[str] | None = None,
    force: bool = False,
) -> Path:
    """Replace a baseline by a model that is not worse; returns the path of the file.

    The model is gated against the present baseline with the margins of the configuration. gate.json
    of its run has the decisions.

    Args:
        candidate: `RUN` or `RUN:LABEL`.
        baseline: the file.
        reason: why this model is the baseline; part of the history.
        config: a gate.toml.
        allow_mismatch: conditions that may differ.
        force: take it although it regressed, lacks metrics or is not comparable; the history says
            so.

    Raises:
        EvalkitError: the model regressed (exit code 1), is not decided where the configuration
            wants a verdict or has no value of a metric of the baseline (3), or is not comparable
            (4), and force is not given. The file stays as it is.
    """
    from evalkit.gate.gate import gate

    path, reason = _checked(baseline, reason)
    if not path.exists():
        raise EvalkitError(
            f"There is no baseline {path}.",
            "Write the first one with `evalkit baseline save`.",
            code="gate-3",
        )
    history, before = _history(path), read_baseline(str(path))
    forced, allowed = False, ()
    try:
        made = gate(candidate, baseline=path, config=config, allow_mismatch=allow_mismatch)
        allowed = made.allowed
        if made.exit_code:
            raise EvalkitError(
                f"The baseline stays as it is: {made.sentence}",
                "See `evalkit gate`. To take the model anyway: `--force`.",
                made.exit_code,
                code="gate-4",
            )
        log.info("%s", made.sentence)
        snapshot = take(run_text(candidate, "candidate"))
        _require_all(before, snapshot)
    except EvalkitError as error:
        if not force or error.exit_code == 2:
            raise
        forced, snapshot = True, take(run_text(candidate, "candidate"))
        log.info("taken anyway (--force): %s", error.message)
        if lost := _lost(before, snapshot):
            log.warning("the baseline has no value any more of %s", ", ".join(lost))
    return _write(path, snapshot, history, reason, forced, allowed)


def _require_all(before: Snapshot, after: Snapshot) -> None:
    """Raise EvalkitError where the baseline would lose metrics: no later gate would miss them."""
    if lost := _lost(before, after):
        raise EvalkitError(
            f"The baseline stays as it is: {after.name} has no value of {', '.join(lost)}, which"
            " the baseline has.",
            "Measure them with `evalkit score`. To take the model anyway: `--force`.",
            3,
            code="gate-5",
        )


def _lost(before: Snapshot, after: Snapshot) -> list[str]:
    """The metrics of images and raters that only the first one has a value of."""
    return [
        name
        for name, state in before.states.items()
        if state.value is not None
        and not state.measure.from_records
        and ((now := after.states.get(name)) is None or now.value is None)
    ]


def _checked(out: str | Path, reason: str) -> tuple[Path, str]:
    path = path_of(out, "out")
    if not is_baseline(str(path)):
        raise EvalkitError(
            f"{path} is not the name of a baseline; expected one that ends with .json.",
            code="gate-6",
        )
    hint = "Say why this is the baseline: `--reason 'release 1.2'`."
    if not isinstance(reason, str):
        raise EvalkitError(f"reason is {reason!r:.80}; expected a text.", hint, code="gate-7")
    if not reason.strip():
        raise EvalkitError("No reason is given.", hint, code="gate-8")
    try:
        reason.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EvalkitError(
            f"The reason {reason!r:.80} is not Unicode text.", hint, code="gate-9"
        ) from error
    return path, reason.strip()


def _history(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return read_content(read_text(str(path)), str(path))["history"]


def _write(
    path: Path,
    snapshot: Snapshot,
    history: list[dict[str, Any]],
    reason: str,
    forced: bool = False,
    allowed: Sequence[Mismatch] = (),
) -> Path:
    entry: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "reason": reason,
        "model": snapshot.name,
        "version": snapshot.version,
        "forced": forced,
        "allowed": [asdict(one) for one in allowed],  # conditions that differed
    }
    content = {"kind": KIND, "schema": SCHEMA, "snapshot": to_content(snapshot)}
    content["history"] = [*history, entry]
    entry["sha256"] = content_hash(content)  # of everything else in the file
    write_atomically(path, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")
    log.info("%s is the baseline now, in %s", snapshot.name, path)
    return path
