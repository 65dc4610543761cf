"""A scored, gated and rated run, and every command that reads one, for runs with damaged files."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import itertools
import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from damaged_files import Damage, copied

import evalkit
from evalkit.core import EvalkitError, Prompt
from evalkit.ratings.files import append_ratings
from evalkit.ratings.rating import Rating, pair
from evalkit.ratings.study import PREFERENCE, Study
from evalkit.ratings.study_file import write_study

PROMPTS = [
    Prompt(f"p{at}", text, group)
    for at, (text, group) in enumerate(
        [
            ("a red circle", "colour"),
            ("a blue dog", "colour"),
            ("a green car", "colour"),
            ("a cat", "object"),
            ("a heart", "object"),
            ("a tree", "object"),
        ]
    )
]


class Runs(NamedTuple):
    """What the commands are tried on."""

    whole: Path  # the run that is damaged
    other: Path  # of another seed; nothing of it is damaged
    baseline: Path  # of the model gan of the undamaged run
    place: Path  # where the damaged copy is put
    out: Path  # where commands write


def make(root: Path) -> Runs:
    """The runs of a campaign."""
    for name, seed in (("whole", 0), ("other", 1)):
        _make_run(root / name, seed)
    runs = Runs(root / "whole", root / "other", root / "gan.json", root / "run", root / "out")
    evalkit.baseline_save(f"{runs.whole}:gan", out=runs.baseline, reason="a test")
    copied(runs.whole, runs.place)
    for path in (runs.whole, runs.other):
        evalkit.gate(f"{path}:gan", baseline=f"{path}:gan", metrics="clip_score", report=False)
    return runs


def _make_run(path: Path, seed: int) -> None:
    evalkit.generate(
        {"gan": "gan", "dalle": "dalle"}, PROMPTS, out=path, seed=seed,
        options={"dalle": {"temperature": 0.9}},
    )  # fmt: skip
    evalkit.score(path, metrics=["fid", "clip_score", "vendi"], encoders="mini")
    ids = tuple(prompt.id for prompt in PROMPTS)
    run = evalkit.Run(path)
    write_study(run, Study("preference", "pairwise", ("gan", "dalle"), ids, (PREFERENCE,)))
    for rater, start in (("anna", 0), ("ben", 1)):
        answers = [
            Rating(
                "preference", rater, "human", pair(one, "dalle", "gan"), one, "", "preference",
                "gan" if (at + start + seed) % 3 else "dalle", "gan", at,
                "2026-01-01T10:00:00Z", 900,
            )
            for at, one in enumerate(ids)
        ]  # fmt: skip
        append_ratings(run.rater_path(rater), answers)
    run.excluded_path.write_text("rater,reason\nzoe,a test\n")
    evalkit.rate_summary(path)


def _frames(runs: Runs) -> Any:
    run = evalkit.load(runs.place)
    kinds = ("metrics", "scores", "images", "comparisons", "ratings", "agreement", "pairs")
    return {kind: run.frame(kind).to_csv() for kind in kinds}


def _score(runs: Runs) -> Any:
    rows = evalkit.score(runs.place)
    run = evalkit.Run(runs.place)
    return [*map(dataclasses.asdict, rows)], dataclasses.asdict(run.comparisons()), run.scores()


def _generate(runs: Runs) -> Any:
    run = evalkit.generate(out=runs.place)
    rows = {model: run.records(model) for model in run.models()}
    # Images that are made again have another time.
    made = {
        model: [dataclasses.replace(one, seconds=0.0, memory=0) for one in records]
        for model, records in rows.items()
    }
    return str(made), run.prompts(), _files(run.path / "images", "*.png")


def _run(runs: Runs) -> Any:
    evalkit.run(out=runs.place)
    run = evalkit.load(runs.place)
    timed = ("images_per_second", "latency_p50", "latency_p95", "peak_memory")
    return [dataclasses.asdict(row) for row in run.metrics() if row.metric not in timed]


def _report(runs: Runs) -> Any:
    page = evalkit.report(runs.place)
    return page.read_text(encoding="utf-8"), page.with_name("report.md").read_text(encoding="utf-8")


def _gate(runs: Runs, candidate: str = "", baseline: str = "") -> Any:
    made = evalkit.gate(
        candidate or f"{runs.place}:gan", baseline=baseline or runs.baseline,
        metrics=["clip_score", "vendi", "refusal_rate"], report=False,
    )  # fmt: skip
    return dataclasses.asdict(made) | {"metrics_sha256": ""}


def _gate_as_baseline(runs: Runs) -> Any:
    candidate = copied(runs.whole, runs.out / "candidate")  # a gate that is refused changes it
    return _gate(runs, f"{candidate}:gan", f"{runs.place}:gan")


def _baseline_save(runs: Runs) -> Any:
    from evalkit.gate.baseline_file import read_baseline

    path = evalkit.baseline_save(f"{runs.place}:dalle", out=runs.out / "b.json", reason="a test")
    return dataclasses.asdict(read_baseline(str(path)))


def _compare(runs: Runs) -> Any:
    names = [f"a={runs.place}:gan", f"b={runs.other}:gan"]
    importlib.import_module("evalkit.compare.compare")  # `evalkit.compare` is the function
    with pytest.MonkeyPatch.context() as patch:
        # The page of the comparison is not what is tested, and drawing it takes seconds.
        patch.setattr(sys.modules["evalkit.compare.compare"], "report", lambda path: None)
        run = evalkit.compare(names, out=runs.out / "compared", allow_mismatch=["seed"])
    return [dataclasses.asdict(row) for row in run.metrics()]


def _figures(runs: Runs) -> Any:
    only = ["metrics", "differences", "scores", "groups", "win_rates", "human", "images"]
    return _files(evalkit.figures(runs.place, only=only, out=runs.out / "figures"), "*.csv")


def _tables(runs: Runs) -> Any:
    evalkit.tables(runs.place, out=runs.out / "tables")
    return _files(runs.out / "tables", "*")


def _imagefolder(runs: Runs) -> Any:
    return _files(evalkit.export_imagefolder(runs.place, out=runs.out / "folder"), "*")


def _hub(runs: Runs) -> Any:
    made = evalkit.export_hub(
        runs.place, dataset="a/b", model="gan", out=runs.out / "hub", on="2026-01-01"
    )
    return {path.name: path.read_text(encoding="utf-8") for path in made}


class _Tracker:
    def log(self, metrics: Mapping[str, float], files: object) -> None: ...


def _tracker(runs: Runs) -> Any:
    return evalkit.export_tracker(runs.place, _Tracker())


def _summary(runs: Runs) -> Any:
    found = [dataclasses.asdict(one) for one in evalkit.rate_summary(runs.place)]
    return found, evalkit.Run(runs.place).metrics()


def _rate_export(runs: Runs) -> Any:
    return evalkit.rate_export(runs.place, out=runs.out / "ratings.csv").read_text()


def _plan(runs: Runs) -> Any:
    return evalkit.rate_plan(effect=0.2, path=runs.place)


def _serve(runs: Runs) -> Any:
    """The server starts, prints its links, and is stopped before the first request."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.Server, "run", stop)
        evalkit.rate_serve(runs.place, raters="anna", port=0, open_page=False)


def _list(runs: Runs) -> Any:
    (runs.out / "listed").mkdir(parents=True)
    (runs.out / "listed" / "run").symlink_to(runs.place)
    return str(evalkit.list_runs(runs.out / "listed"))


COMMANDS: Mapping[str, Callable[[Runs], Any]] = {
    "score": _score,
    "generate": _generate,
    "gate": _gate,
    "gate as baseline": _gate_as_baseline,
    "baseline save": _baseline_save,
    "compare": _compare,
    "tables": _tables,
    "export imagefolder": _imagefolder,
    "export hub": _hub,
    "export tracker": _tracker,
    "rate summary": _summary,
    "rate export": _rate_export,
    "rate plan": _plan,
    "rate serve": _serve,
    "list runs": _list,
    "frames": _frames,
    "notebook": lambda runs: evalkit.load(runs.place)._repr_html_(),
    "figures": _figures,
    "report": _report,
    "run": _run,
}
SLOW = ("figures", "report", "run")  # seconds each


def _files(folder: Path, pattern: str) -> dict[str, str]:
    paths = sorted(path for path in Path(folder).rglob(pattern) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


class Tried(NamedTuple):
    """How a command ended, and what it said."""

    result: Any  # None after an error
    error: Exception | None
    said: str  # errors, warnings and the log


def attempt(runs: Runs, command: str, damage: Damage | None = None) -> Tried:
    """A command on a fresh copy of the run, with a damage."""
    copied(runs.whole, runs.place)
    shutil.rmtree(runs.out, ignore_errors=True)
    runs.out.mkdir()
    if damage is not None:
        damage.apply(runs.place / damage.file)
    heard = _Heard()
    logger = logging.getLogger("evalkit")
    level = logger.level
    logger.addHandler(heard)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            result, error = COMMANDS[command](runs), None
    except Exception as found:
        result, error = None, found
    finally:
        logger.removeHandler(heard)
        logger.setLevel(level)
    said = [*heard.lines, *(str(one.message) for one in warned)]
    if isinstance(error, EvalkitError):
        said += [error.message, error.hint]
    if command == "notebook":  # a cell shows what is wrong and does not fail
        said.append(str(result))
    if command.startswith("gate") and result:
        said += result["notes"]
    return Tried(result, error, "\n".join(said))


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def wrong(damage: Damage, expected: Any, found: Tried) -> str:
    """What is wrong about how a command ended on a damaged file; "" for nothing.

    Right is the same result as without the damage, or one sentence that names the file, as an
    EvalkitError or in the log.
    """
    named = any(name in found.said for name in _names(damage.file))
    if isinstance(found.error, EvalkitError):
        good = found.error.exit_code != 2 or named
        return "" if good else f"does not name the file: {found.error.message}"
    if found.error is not None:
        return f"{type(found.error).__name__}: {found.error!s:.200}"
    if same(expected, found.result) or named or _may_change(damage):
        return ""
    return "another result, in silence"


def _may_change(damage: Damage) -> bool:
    """Whether it is another valid input: answers of raters, and keys of run.toml for the next run.

    People edit these files, so nothing says what was in them before.
    """
    if damage.file.startswith("ratings/"):
        return not damage.file.endswith(".json")
    words = damage.kind.removeprefix("without ").partition(" ")[0].split(".")
    free = ("out", "reference", "metrics", "encoders", "device", "batch_size", "max_cost")
    return damage.file == "run.toml" and words[0] in free


def _names(file: str) -> tuple[str, ...]:
    """How a sentence may name a file of a run."""
    name = Path(file).name
    if name == "checksums.json":  # or a file that has another hash than it says
        return name, "is not the file that belongs to the other results"
    if name.startswith("manifest."):  # the list of the images of a model, or one of these
        return name, "manifest", "images of", "requested image", ".png"
    return (name,)


def same(one: Any, other: Any) -> bool:
    """Equality, with rounding: other batches give other last digits."""
    if dataclasses.is_dataclass(one) and type(one) is type(other):
        return same(vars(one), vars(other))
    if isinstance(one, float) and isinstance(other, int | float):
        return one == other or abs(one - other) <= 1e-5 * max(abs(one), abs(other), 1e-3)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        pairs = itertools.zip_longest(one, other, fillvalue=object())
        return all(same(a, b) for a, b in pairs)
    return bool(one == other)
