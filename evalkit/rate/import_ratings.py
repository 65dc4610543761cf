"""Ratings from where they were collected -> the files of a run, with nothing dropped in silence."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evalkit.core import EvalkitError
from evalkit.files import paths_of
from evalkit.hints import plural
from evalkit.rate.answers import Answer, Cell, Problem, Reading
from evalkit.rate.cross_checks import flipped, without_duplicates
from evalkit.rate.formats.known import format_of
from evalkit.rate.formats.prolific import SOURCE
from evalkit.rate.names import Names
from evalkit.rate.rejected import in_file_order, show_problems, write_rejected
from evalkit.rate.resolve import Found, Made, find_places, question_name, resolve
from evalkit.rate.responses import parse_scale
from evalkit.rate.scale_checks import unfinished
from evalkit.rate.source import read_source
from evalkit.ratings.exclusion import read_excluded, write_excluded
from evalkit.ratings.files import append_ratings, rater_id, ratings_of, studies
from evalkit.ratings.rating import RaterKind, Rating
from evalkit.ratings.study import Study
from evalkit.ratings.study_file import NAME, refuse_other_design, write_study
from evalkit.run_folder import Run

IMPORTED = "imported"  # the study of answers that name none


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    run: Path
    formats: dict[str, str]  # file name: format
    studies: tuple[str, ...]  # that the ratings belong to
    new_studies: tuple[str, ...]  # whose files were written now
    ratings: int  # stored now
    known: int  # that the run already had
    raters: int
    left_out: dict[str, int]  # by rule: reason, number
    problems: int  # values that were not imported, with --on-bad skip
    excluded: int  # raters in ratings/excluded.csv
    notes: tuple[str, ...]

    def sentences(self) -> list[str]:
        """The same in words, one sentence each."""
        read = ", ".join(f"{name} ({form})" for name, form in self.formats.items())
        rejected = Run(self.run).rejected_path
        lines = [f"Read {read}.", *self.notes]
        lines += [
            f"Left out: {plural(number, 'value')} ({why})." for why, number in self.left_out.items()
        ]
        if self.problems:
            lines.append(f"Not imported: {plural(self.problems, 'value')}; {rejected} lists them.")
        if self.known:
            lines.append(f"The run has {self.known} of the ratings already.")
        for name in self.studies:
            state = "new" if name in self.new_studies else "exists"
            lines.append(f"Study {name} ({state}): {Run(self.run).study_path(name)}.")
        raters = "1 rater" if self.raters == 1 else f"{self.raters} raters"
        if self.excluded:
            path = Run(self.run).excluded_path
            lines.append(f"{path} names {self.excluded} who are left out of results.")
        lines.append(f"Imported {self.ratings} ratings of {raters} into {self.run}.")
        return lines


def parse_rename(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=LABEL` options as a table. Raises EvalkitError."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, label = text.rpartition("=")
        if not (equals and name.strip() and label.strip()):
            raise EvalkitError(
                f"The new name of a model is {text!r}; expected NAME=LABEL.",
                "For example `--rename SDXL=sdxl`.",
                code="rate-8",
            )
        found[name.strip()] = label.strip()
    return found


def rate_import(
    files: Sequence[Path | str] | Path | str,
    *,
    run: os.PathLike[str] | str,
    study: str = "",
    format: str = "auto",
    kind: RaterKind = "human",
    scale: str = "",
    rename: Mapping[str, str] | None = None,
    ignore: Sequence[str] | None = None,
    reversed_scales: Literal["refuse", "keep", "flip"] = "refuse",
    on_bad: Literal["refuse", "skip"] = "refuse",
) -> Imported:
    """Import ratings that were collected with another tool into a run.

    Every value that is not imported is a row of `ratings/rejected.csv` with file, line, column,
    value and reason. The same files again change nothing.

    Args:
        files: batch results of MTurk, exports of Label Studio, tables of ImagenHub, battles of an
            arena, participants of Prolific, results of Rapidata or Appen, or a long table with the
            columns of `evalkit rate export`.
        run: the run folder.
        study: the name of the study; "" is the study that a file names, else "imported". A study
            that the run does not have is made from the data.
        format: a name in docs/ratings/imports.md; "auto" recognizes it by columns or keys.
        kind: of the raters, where a file does not state it: "human" or "model".
        scale: the lowest and the highest value that was used, such as "0-4"; "" finds it.
        rename: names of models in the files, with their labels in the run.
        ignore: questions that are not imported, such as free comments.
        reversed_scales: what to do with a rater or file whose answers correlate negatively with
            all others: "refuse" the import, "keep" them, or "flip" their scale.
        on_bad: "refuse" imports nothing if there is any problem, "skip" imports the rest.

    Returns:
        The numbers of ratings, raters, and values that were left out.

    Raises:
        EvalkitError: a file is not readable or of no known format, a value is wrong, a scale is
            unknown, mixed or reversed, or the study exists with another design.
    """
    paths = [Path(file) for file in paths_of(files, "files")]
    _check_options(paths, study, kind, reversed_scales, on_bad)
    place, limits = Run(run), parse_scale(scale)
    names = Names(place, rename or {})
    formats, readings = _read_all(paths, names, format)
    problems = [problem for reading in readings.values() for problem in reading.problems]
    left_out = [row for reading in readings.values() for row in reading.left_out]
    notes = [note for reading in readings.values() for note in reading.notes]
    found: list[Found] = []
    for path, answers in _wanted(readings, set(ignore or ()), study, left_out, notes).items():
        places, wrong = find_places(path, answers, names)
        found += places
        problems += wrong
    known = _known_studies(place, readings)
    resolved = resolve(found, names, known, study or IMPORTED, kind, limits)
    problems += resolved.problems
    made = flipped(resolved, reversed_scales, problems, notes)
    stored = ratings_of(place, history=True)
    fresh, already = without_duplicates(made, stored, problems, left_out)
    notes += [*names.notes, *resolved.notes, *unfinished(_counts(made))]
    files = [path.name for path in readings]
    problems = in_file_order(files, problems)
    write_rejected(place, files, in_file_order(files, [*left_out, *problems]))
    if problems:
        _refuse_problems(place, problems, readings, made, on_bad)
    barred = _excluded(place, readings)
    if not made and not barred:
        raise EvalkitError(
            f"There are no ratings for {place.path} in {', '.join(formats)}.",
            f"{place.rejected_path} lists what was left out."
            if left_out or problems
            else "Export them again, with a row for each answer.",
            code="rate-9",
        )
    new = _store(place, resolved.studies, fresh)
    write_excluded(place, barred)
    notes += [f"excluded: {rater} ({barred[rater]})." for rater in _present(stored, barred)]
    return Imported(
        place.path,
        formats,
        tuple(item.study for item in resolved.studies),
        new,
        ratings=sum(map(len, fresh.values())),
        known=already,
        raters=len({item.rating.rater for item in made}),
        left_out=dict(Counter(row.reason for row in left_out)),
        problems=len(problems),
        excluded=len(barred),
        notes=tuple(dict.fromkeys(notes)),
    )


def _check_options(
    paths: Sequence[Path], study: str, kind: str, reversed_scales: str, on_bad: str
) -> None:
    for name, value, expected, good in (
        ("files", "nothing", "at least one file", bool(paths)),
        ("study", study, "letters, digits, - and _", not study or NAME.fullmatch(study)),
        ("kind", kind, "human or model", kind in ("human", "model")),
        (
            "reversed_scales",
            reversed_scales,
            "refuse, keep or flip",
            reversed_scales in ("refuse", "keep", "flip"),
        ),
        ("on_bad", on_bad, "refuse or skip", on_bad in ("refuse", "skip")),
    ):
        if not good:
            raise EvalkitError(f"{name} is {value!r}; expected {expected}.", code="rate-10")


def _read_all(
    paths: Sequence[Path], names: Names, wanted: str
) -> tuple[dict[str, str], dict[Path, Reading]]:
    """The format of each file by its name, and the content of each."""
    read = {path: _read(path, names, wanted) for path in dict.fromkeys(paths)}
    formats = {path.name: name for path, (name, _) in read.items()}
    return formats, {path: reading for path, (_, reading) in read.items()}


def _store(
    run: Run, found: Sequence[Study], ratings: Mapping[Path, Sequence[Rating]]
) -> tuple[str, ...]:
    """Write the studies and the ratings; return the names of the new studies."""
    new = tuple(item.study for item in found if not run.study_path(item.study).exists())
    for item in found:
        write_study(run, item)
    for path, own in ratings.items():
        append_ratings(_import_path(run, path), own)
    return new


def _read(path: Path, names: Names, wanted: str) -> tuple[str, Reading]:
    """The format of a file and its content."""
    source = read_source(path.expanduser())
    form = format_of(source, wanted)
    reading = form.read(source, names)
    reading.problems[:0] = source.problems
    reading.notes[:0] = source.notes
    return form.name, reading


def _wanted(
    readings: Mapping[Path, Reading],
    ignore: Collection[str],
    study: str,
    left_out: list[Problem],
    notes: list[str],
) -> dict[Path, list[Answer]]:
    """The answers of each file without those that a rule leaves out."""
    excluded = {
        rater: why
        for reading in readings.values()
        for rater, why in reading.excluded_raters.items()
    }
    named = {answer.study for item in readings.values() for answer in item.answers if answer.study}
    if study and len(named - {study}) > 1:
        raise EvalkitError(
            f"The files name the studies {', '.join(sorted(named))}; expected one.",
            "Leave out --study, and each keeps its name.",
            code="rate-11",
        )
    wanted: dict[Path, list[Answer]] = {path: [] for path in readings}
    for path, reading in readings.items():
        for answer in reading.answers:
            rater = answer.rater.strip()
            reason = excluded.get(rater, "")
            if answer.question in ignore or question_name(answer.question) in ignore:
                reason = "ignored question"
            elif not answer.value.text:
                reason = "no answer"
            if reason:
                cell = Cell("rater", rater) if reason == excluded.get(rater) else answer.value
                left_out.append(Problem(path.name, answer.line, *cell, reason))
            else:
                named_otherwise = study and answer.study != study
                wanted[path].append(answer._replace(study=study) if named_otherwise else answer)
    present = {answer.rater.strip() for item in readings.values() for answer in item.answers}
    for rater in sorted(excluded.keys() & present):
        notes.append(f"The rater {rater} is left out: {excluded[rater]}.")
    return wanted


def _excluded(run: Run, readings: Mapping[Path, Reading]) -> dict[str, str]:
    """The raters of ratings/excluded.csv, with what the files of participants say now."""
    found = read_excluded(run)
    for reading in readings.values():
        for rater in map(rater_id, reading.good_raters):
            if found.get(rater, "").startswith(f"{SOURCE}:"):
                del found[rater]
        found |= {rater_id(rater): why for rater, why in reading.excluded_raters.items()}
    return found


def _present(stored: Sequence[Rating], raters: Mapping[str, str]) -> list[str]:
    return sorted({rating.rater for rating in stored if rating.rater in raters})


def _refuse_problems(
    run: Run,
    problems: Sequence[Problem],
    readings: Mapping[Path, Reading],
    made: Sequence[Made],
    on_bad: str,
) -> None:
    """Show the problems; raise EvalkitError unless the rest is to be imported."""
    show_problems(problems)
    if on_bad == "skip":
        return
    asked = {(path, answer.line) for path, item in readings.items() for answer in item.answers}
    others = [row for item in readings.values() for row in (*item.problems, *item.left_out)]
    rows = {(path.name, line) for path, line in asked} | {(row.file, row.line) for row in others}
    of = f" of {len(rows)} rows" if len(rows) > 1 else ""
    raise EvalkitError(
        f"{plural(len(problems), 'value')}{of} cannot be imported, so nothing was imported;"
        f" {run.rejected_path} lists them.",
        f"Correct them, or import the rest with --on-bad skip.{_comments(readings, made)}",
        code="rate-12",
    )


def _comments(readings: Mapping[Path, Reading], made: Sequence[Made]) -> str:
    """A hint for questions of which no answer can be imported while others can."""
    good = {item.found.answer.question for item in made}
    asked = dict.fromkeys(a.question for item in readings.values() for a in item.answers)
    free = [question for question in asked if question and question not in good]
    options = " ".join(f"--ignore {shlex.quote(question)}" for question in free[:5])
    return f" Questions that are no ratings are left out with `{options}`." if good and free else ""


def _known_studies(run: Run, readings: Mapping[Path, Reading]) -> dict[str, Study]:
    """The studies of the run and of the files. Raises EvalkitError where two designs differ."""
    known = {item.study: item for item in studies(run)}
    for reading in readings.values():
        for item in reading.studies:
            same_name = known.setdefault(item.study, item)
            refuse_other_design(item, same_name, f"The study {item.study!r}")
    return known


def _counts(made: Sequence[Made]) -> dict[str, int]:
    return Counter(item.found.answer.rater.strip() for item in made)


def _import_path(run: Run, path: Path) -> Path:
    """`import-<stem>-<hash of the content>.csv`."""
    digest = hashlib.sha256(path.expanduser().read_bytes()).hexdigest()[:8]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-")[:40] or "file"
    return run.rater_path(f"import-{stem}-{digest}")
