"""Ratings from where they were collected -> the files of a run, with nothing dropped in silence."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from evalkit.core import EvalkitError
from evalkit.files import write_atomically
from evalkit.rate.answers import Answer, Cell, Problem, Reading
from evalkit.rate.formats.known import format_of
from evalkit.rate.names import Names
from evalkit.rate.resolve import Found, Made, Resolved, find_places, question_name, resolve
from evalkit.rate.responses import parse_scale
from evalkit.rate.scale_checks import Score, reversed_sides, same_raters, unfinished
from evalkit.rate.source import read_source
from evalkit.ratings.files import append_ratings, key, ratings_of, studies
from evalkit.ratings.rating import RaterKind, Rating
from evalkit.ratings.study_file import NAME, write_study
from evalkit.run_folder import Run

REJECTED = ("source_file", "line", "column", "value", "reason")  # columns of rejected.csv
SHOWN = 20  # problems in the terminal
IMPORTED = "imported"  # the study of answers that name none
_logger = logging.getLogger("evalkit")
_DUPLICATE = "a second answer of this rater to the same question about the same item"


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
    notes: tuple[str, ...]

    def sentences(self) -> list[str]:
        """The same in words, one sentence each."""
        read = ", ".join(f"{name} ({form})" for name, form in self.formats.items())
        rejected = Run(self.run).rejected_path
        lines = [f"Read {read}.", *self.notes]
        lines += [f"Left out: {number} values ({why})." for why, number in self.left_out.items()]
        if self.problems:
            lines.append(f"Not imported: {self.problems} values; {rejected} lists them.")
        if self.known:
            lines.append(f"The run has {self.known} of the ratings already.")
        for name in self.studies:
            state = "new" if name in self.new_studies else "exists"
            lines.append(f"Study {name} ({state}): {Run(self.run).study_path(name)}.")
        lines.append(f"Imported {self.ratings} ratings of {self.raters} raters into {self.run}.")
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
            )
        found[name.strip()] = label.strip()
    return found


def rate_import(
    files: Sequence[Path | str] | Path | str,
    *,
    run: Path | str,
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
        format: a name in docs/ratings.md; "auto" recognizes it by columns or keys.
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
    paths = [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]
    _check_options(paths, study, kind, reversed_scales, on_bad)
    place, limits = Run(run), parse_scale(scale)
    names = Names(place, rename or {})
    read = {path: _read(path, names, format) for path in dict.fromkeys(paths)}
    formats = {path.name: name for path, (name, _) in read.items()}
    readings = {path: reading for path, (_, reading) in read.items()}
    problems = [problem for reading in readings.values() for problem in reading.problems]
    left_out = [row for reading in readings.values() for row in reading.left_out]
    notes = [note for reading in readings.values() for note in reading.notes]
    found: list[Found] = []
    for path, answers in _wanted(readings, set(ignore or ()), study, left_out, notes).items():
        places, wrong = find_places(path, answers, names)
        found += places
        problems += wrong
    defined = [known for reading in readings.values() for known in reading.studies]
    known = {item.study: item for item in [*defined, *studies(place)]}
    resolved = resolve(found, names, known, study or IMPORTED, kind, limits)
    problems += resolved.problems
    made = _flipped(resolved, reversed_scales, problems, notes)
    stored = ratings_of(place, history=True)
    fresh, already = _without_duplicates(made, stored, problems)
    notes += [*names.notes, *resolved.notes, *unfinished(_counts(made))]
    _write_rejected(place, readings, [*left_out, *problems])
    if problems:
        _show(problems)
    if problems and on_bad == "refuse":
        raise EvalkitError(
            f"{len(problems)} values of {len(made) + len(problems)} cannot be imported, and nothing"
            f" was; {place.rejected_path} lists them.",
            "Correct them, or import the rest with --on-bad skip.",
        )
    if not made:
        raise EvalkitError(
            f"{', '.join(formats)} have no ratings for {place.path}.",
            f"{place.rejected_path} lists what was left out." if left_out or problems else "",
        )
    new = [item for item in resolved.studies if not place.study_path(item.study).exists()]
    for item in resolved.studies:
        write_study(place, item)
    for path, own in fresh.items():
        append_ratings(_import_path(place, path), own)
    return Imported(
        place.path,
        formats,
        tuple(item.study for item in resolved.studies),
        tuple(item.study for item in new),
        ratings=sum(map(len, fresh.values())),
        known=already,
        raters=len({item.rating.rater for item in made}),
        left_out=dict(Counter(row.reason for row in left_out)),
        problems=len(problems),
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
            raise EvalkitError(f"{name} is {value!r}; expected {expected}.")


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
        )
    wanted: dict[Path, list[Answer]] = {path: [] for path in readings}
    for path, reading in readings.items():
        for answer in reading.answers:
            rater = answer.rater.strip()
            reason = excluded.get(rater, "")
            if answer.question in ignore or question_name(answer.question) in ignore:
                reason = "ignored question"
            if reason:
                cell = answer.value if reason == "ignored question" else Cell("rater", rater)
                left_out.append(Problem(path.name, answer.line, *cell, reason))
            else:
                wanted[path].append(replace(answer, study=study or answer.study))
    present = {answer.rater.strip() for item in readings.values() for answer in item.answers}
    for rater in sorted(excluded.keys() & present):
        notes.append(f"The rater {rater} is left out: {excluded[rater]}.")
    return wanted


def _flipped(
    resolved: Resolved, choice: str, problems: list[Problem], notes: list[str]
) -> list[Made]:
    """The ratings, with reversed scales kept or flipped as chosen; else they are problems."""
    points = {
        (study.study, question.name): len(question.anchors)
        for study in resolved.studies
        for question in study.questions
    }
    scores = [
        Score(
            made.found.path.name,
            made.rating.rater,
            f"{made.rating.study}/{made.rating.question}",
            made.rating.item,
            float(made.rating.response),
        )
        for made in resolved.made
        if made.rating.response.isdecimal() and not made.rating.check
    ]
    against = reversed_sides(scores)
    for (side, question), value in sorted(against.items()):
        cell = Cell(question.partition("/")[2], side)
        reason = f"the scale of {side} seems reversed: its correlation with others is {value:.2f}"
        if choice == "refuse":
            problems.append(Problem("", "", *cell, f"{reason}; keep or flip it"))
        else:
            done = "it is kept" if choice == "keep" else "it is flipped"
            notes.append(f"{reason[0].upper()}{reason[1:]}; {done}.")
    if choice == "keep":
        return resolved.made

    def is_reversed(made: Made) -> bool:
        question = f"{made.rating.study}/{made.rating.question}"
        return any(
            (side, question) in against for side in (made.rating.rater, made.found.path.name)
        )

    if choice == "refuse":
        return [made for made in resolved.made if not is_reversed(made)]
    return [
        made._replace(rating=_flip(made.rating, points)) if is_reversed(made) else made
        for made in resolved.made
    ]


def _flip(rating: Rating, points: Mapping[tuple[str, str], int]) -> Rating:
    if not rating.response.isdecimal():
        return rating
    number = points[rating.study, rating.question]
    return replace(rating, response=str(number + 1 - int(rating.response)))


def _without_duplicates(
    made: Sequence[Made], stored: Sequence[Rating], problems: list[Problem]
) -> tuple[dict[Path, list[Rating]], int]:
    """The new ratings of each file, and the number of those that the run has already."""
    known = {(*key(rating), rating.revision): rating for rating in stored}
    names = same_raters(item.found.answer.rater.strip() for item in made)
    fresh: dict[Path, list[Rating]] = defaultdict(list)
    seen: dict[tuple[object, ...], Made] = {}
    already = 0
    for item in made:
        rater = item.found.answer.rater.strip()
        place = (*key(item.rating), item.rating.revision)
        if rater in names:
            reason = f"the same rater as {names[rater]!r} but for case or blanks"
            problems.append(item.found.problem(Cell("rater", rater), reason))
        elif place in seen:
            reason = f"{_DUPLICATE}; the first is in line {seen[place].found.answer.line}"
            problems.append(item.found.problem(item.found.answer.value, reason))
        elif place in known and known[place].response != item.rating.response:
            reason = f"the run has the answer {known[place].response!r} of this rater"
            problems.append(item.found.problem(item.found.answer.value, reason))
        else:
            seen[place] = item
            if place in known:
                already += 1
            else:
                fresh[item.found.path].append(item.rating)
    return fresh, already


def _counts(made: Sequence[Made]) -> dict[str, int]:
    return Counter(item.found.answer.rater.strip() for item in made)


def _import_path(run: Run, path: Path) -> Path:
    """`import-<stem>-<hash of the content>.csv`."""
    digest = hashlib.sha256(path.expanduser().read_bytes()).hexdigest()[:8]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-")[:40] or "file"
    return run.rater_path(f"import-{stem}-{digest}")


def _write_rejected(run: Run, readings: Mapping[Path, Reading], rows: Sequence[Problem]) -> None:
    """Replace the rows of these files in rejected.csv; those of earlier imports stay."""
    earlier: list[list[str]] = []
    names = {path.name for path in readings} | {""}
    if run.rejected_path.is_file():
        with run.rejected_path.open(newline="", encoding="utf-8") as file:
            earlier = [row for row in list(csv.reader(file))[1:] if row and row[0] not in names]
    if not rows and not earlier and not run.rejected_path.exists():
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(REJECTED)
    writer.writerows([*earlier, *rows])
    write_atomically(run.rejected_path, text.getvalue())


def _show(problems: Sequence[Problem]) -> None:
    """The first problems, one line each."""
    for file, line, column, value, reason in problems[:SHOWN]:
        number = f"line {line}" if line.isdecimal() else line
        place = ", ".join(part for part in (file, number, column) if part)
        _logger.warning("%s: %s", place, f"{value!r}: {reason}" if value else reason)
    if len(problems) > SHOWN:
        _logger.warning("and %d more", len(problems) - SHOWN)
