"""A run from its images to its ratings, each command of it killed again and again."""

from __future__ import annotations

import csv
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import forked

from evalkit.core import Record
from evalkit.files import read_lines
from evalkit.images import file_sha256
from evalkit.run_folder import Run

MODELS = ("noise", "gan")
_ROW = ("rater", "prompt_id", "model", "question", "response")


class Stage(NamedTuple):
    """A command, its usual exit codes, and what an uninterrupted call took."""

    arguments: Sequence[str]
    codes: Sequence[int] = (0,)
    seconds: float = 0.0
    reached: Mapping[str, int] = {}


@dataclass
class Outcome:
    """What became of the images and files of the run that was killed."""

    kills: dict[str, int] = field(default_factory=dict)  # by command
    lost: list[str] = field(default_factory=list)  # finished images that are gone or changed
    again: list[str] = field(default_factory=list)  # finished images that were written again
    different: list[str] = field(default_factory=list)  # files unlike those of the other run
    leftovers: int = 0  # temporary files


def stages(encoders: str, report: bool) -> list[Stage]:
    """The commands on a folder `run`."""
    gate = ["gate", "run:gan", "--baseline", "run:noise", "--allow-mismatch", "generation"]
    made = [
        Stage(["generate", "--models", ",".join(MODELS), "--prompts", "p.txt", "--out", "run"]),
        Stage(["score", "run", "--encoders", encoders, "--metrics", "vendi,duplicates"]),
        Stage(["rate", "import", "votes.csv", "--run", "run"]),
        Stage(["rate", "summary", "run"]),
        Stage([*gate, *([] if report else ["--no-report"])], (0, 1)),
    ]
    return [*made, Stage(["report", "run"])] if report else made


def make_place(place: Path, prompts: int) -> Path:
    """A folder with the prompts and the votes."""
    place.mkdir()
    (place / "p.txt").write_text(forked.numbered(prompts))
    with (place / "votes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(_ROW)
        for rater, prompt, model in ((r, p, m) for r in "abc" for p in range(10) for m in MODELS):
            response = 1 + (prompt + len(model) + ord(rater)) % 5
            table.writerow((rater, f"{prompt:05d}", model, "alignment", response))
    return place


def measure(place: Path, planned: Sequence[Stage]) -> list[Stage]:
    """Call each command once, uninterrupted."""
    made: list[Stage] = []
    for stage in planned:
        started = time.monotonic()
        code = forked.finish(stage.arguments, place)
        assert code in stage.codes, forked.said(place)
        seconds = time.monotonic() - started
        made.append(stage._replace(seconds=seconds, reached=forked.counts(place)))
    return made


def kill_and_resume(place: Path, planned: Sequence[Stage], kills: int, seed: int = 0) -> Outcome:
    """Call each command until it is done, killed so many times in all before."""
    chance, outcome = random.Random(seed), Outcome()
    # At least one kill for each command; images, which may not be lost, take half of the others.
    shares = [1] * len(planned)
    for _ in range(kills - len(planned)):
        shares[0 if chance.random() < 0.5 else chance.randrange(1, len(planned))] += 1
    open_kills = 0
    for stage, share in zip(planned, shares, strict=True):
        name = " ".join(stage.arguments[:2]) if stage.arguments[0] == "rate" else stage.arguments[0]
        before = finished(place / "run")
        open_kills += share
        # What is made stays, so that each kill of `generate` comes in a part of its own.
        part = 1.5 / (share + 1) if stage is planned[0] else 1.0
        outcome.kills[name] = 0
        for _ in range(2 * open_kills):  # a command may end before its kill
            hit = forked.kill_at_random(
                stage.arguments, place, stage.seconds, stage.reached, chance, part
            )
            outcome.kills[name] += hit
            open_kills -= hit
            before = _follow(place / "run", before, outcome)
            if not open_kills:
                break
        code = forked.finish(stage.arguments, place)
        assert code in stage.codes, forked.said(place)
        _follow(place / "run", before, outcome)
    outcome.leftovers = len([*(place / "run").rglob(".*")])
    return outcome


def finished(folder: Path) -> dict[str, tuple[Record, int]]:
    """The images with a row in a manifest, and when each file was written."""
    run = Run(folder)
    return {
        f"{model}/{record.file}": (record, run.image_path(model, record).stat().st_mtime_ns)
        for model in run.models()
        for record in run.records(model)
    }


def _follow(
    folder: Path, before: Mapping[str, tuple[Record, int]], outcome: Outcome
) -> dict[str, tuple[Record, int]]:
    """Compare the finished images with those of before; returns those of now."""
    now, run = finished(folder), Run(folder)
    for name, (record, written) in now.items():
        if file_sha256(run.image_path(name.partition("/")[0], record)) != record.sha256:
            outcome.lost.append(name)
        elif name in before and before[name] != (record, written):
            outcome.again.append(name)
    outcome.lost += before.keys() - now.keys()
    return now


def content(folder: Path) -> dict[str, Any]:
    """All files by name, without the lines that a kill cut short and the time of a study."""
    return {
        str(path.relative_to(folder)): _content(path)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def _content(path: Path) -> object:
    if path.suffix == ".jsonl":
        return list(read_lines(path))
    data = path.read_bytes()
    if path.parent.name == "ratings":
        lines = data.splitlines()
        return [
            line for line in lines if not line.startswith(b"created_at") and line[-4:] != b",cut"
        ]
    return data


def different(one: Path, other: Path) -> list[str]:
    """The names of the files in which two folders differ."""
    a, b = content(one), content(other)
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
