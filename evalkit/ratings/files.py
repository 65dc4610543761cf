"""The files of ratings in a run: append-only CSV, one line per answer, safe against a kill."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from evalkit.core import EvalkitError
from evalkit.files import fsync_folder, is_device, remedy
from evalkit.ratings.rating import COLUMNS, NUMBERS, Check, RaterKind, Rating
from evalkit.ratings.study import Study
from evalkit.ratings.study_file import NAME, read_study
from evalkit.run_folder import Run

HEADER = ",".join(COLUMNS)
RESERVED = ("rejected", "private", "excluded")  # file names in ratings/ that are not raters
_TORN = b",cut\n"  # ends a line that a kill cut short: no row has such an end
_logger = logging.getLogger("evalkit")


class Damaged(NamedTuple):
    """A line that is no answer, and why."""

    path: Path
    line: int
    reason: str


def rater_id(name: str) -> str:
    """The id of a rater: the name if that is a plain one, else a part of it and a hash.

    Of a mail address, the id has no part.
    """
    if NAME.fullmatch(name) and name.lower() not in RESERVED and not is_device(name):
        return name
    shown = "" if "@" in name else name
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", shown).strip("-")[:40] or "rater"
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"


def append_ratings(path: Path, ratings: Iterable[Rating]) -> None:
    """Append one line per answer and wait until they are on disk.

    If that fails, none of them is in the file. Raises EvalkitError with the reason.
    """
    lines = "".join(map(to_line, ratings)).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            torn = file.read(1) not in (b"", b"\n")
            header = f"{HEADER}\n".encode() * (end == 0 or (torn and end <= len(HEADER)))
            try:
                file.write(_TORN * torn + header + lines)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.truncate(path, end)  # part of the lines may have been written
                raise
        if end == 0:
            fsync_folder(path.parent)
    except OSError as error:
        raise EvalkitError(
            f"Could not write {path}: {error.strerror}.",
            remedy(error, "use a copy of the folder") + " Then do the same again.",
            code="ratings-4",
        ) from error


def to_line(rating: Rating) -> str:
    """The line of an answer in RFC 4180, with its end. Raises EvalkitError for a line break."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([getattr(rating, name) for name in COLUMNS])
    line = text.getvalue()
    if "\n" in line[:-1] or "\r" in line:
        raise EvalkitError(
            f"An answer of {rating.rater} has a line break in a field.", code="ratings-5"
        )
    return line


def from_line(line: str) -> Rating:
    """The answer in a line. Raises ValueError with the reason why it is none."""
    try:
        [values] = csv.reader([line], strict=True)
    except (csv.Error, ValueError) as error:
        raise ValueError("not a row of a table") from error
    if len(values) != len(COLUMNS):
        raise ValueError(f"{len(values)} fields; expected {len(COLUMNS)}")
    row = dict(zip(COLUMNS, values, strict=True))
    for name in NUMBERS:
        if not re.fullmatch("[0-9]{1,15}", row[name]):
            raise ValueError(f"{name} is {row[name]!r}; expected a whole number")
    for name, known in (("kind", get_args(RaterKind)), ("check", get_args(Check))):
        if row[name] not in known:
            raise ValueError(f"{name} is {row[name]!r}; expected one of {', '.join(known)}")
    for name in ("study", "rater", "item", "prompt_id", "question", "response"):
        if not row[name]:
            raise ValueError(f"{name} is empty")
    numbers = {name: int(row[name]) for name in NUMBERS}
    return Rating(**row | numbers)  # pyright: ignore[reportArgumentType]


def read_ratings(path: Path) -> tuple[list[Rating], list[Damaged]]:
    """All rows of a file of ratings, and its damaged lines.

    Raises EvalkitError for a file with other columns, such as one that a spreadsheet wrote.
    """
    ratings: list[Rating] = []
    damaged: list[Damaged] = []
    for number, line, ended in _lines(path):
        if (line == HEADER and ended) or not line:
            continue
        try:
            if number == 1 and ended and not line.endswith(_TORN.decode().strip()):
                raise EvalkitError(
                    f"{path} begins with {line[:80]!r}; expected the columns {HEADER}.",
                    "Move the file out of the folder, then take it in with `evalkit rate import`.",
                    code="ratings-6",
                )
            if not ended:
                raise ValueError("the line was cut short")
            ratings.append(from_line(line))
        except ValueError as error:
            damaged.append(Damaged(path, number, str(error)))
    return ratings, damaged


def _lines(path: Path) -> Iterator[tuple[int, str, bool]]:
    """The number of each line, the line, and whether it has an end."""
    try:
        parts = path.read_bytes().split(b"\n")
    except OSError as error:
        raise EvalkitError(
            f"{path} cannot be read: {error.strerror}.", "Check its permissions.", code="ratings-7"
        ) from error
    for number, part in enumerate(parts, 1):
        line = part.removesuffix(b"\r").decode("utf-8", "replace")
        yield number, line, number < len(parts)


def ratings_of(
    run: Run, study: str | None = None, kind: RaterKind | None = None, history: bool = False
) -> list[Rating]:
    """The answers in all files of the run, in the order of the files and of their rows.

    Damaged lines are skipped, with one warning that counts and names them.

    Args:
        study: the name of a study; None for all of them.
        kind: of the raters; None for both.
        history: with earlier revisions of changed answers, not the latest ones only.
    """
    ratings: list[Rating] = []
    damaged: list[Damaged] = []
    for path in sorted(run.ratings_path.glob("*.csv")):
        if path not in (run.rejected_path, run.excluded_path):
            found, wrong = read_ratings(path)
            ratings += found
            damaged += wrong
    if damaged:
        places = "; ".join(f"line {line} of {path.name}: {why}" for path, line, why in damaged[:5])
        more = f"; and {len(damaged) - 5} more" if len(damaged) > 5 else ""
        _logger.warning("%d damaged lines of ratings skipped: %s%s.", len(damaged), places, more)
    wanted = [
        rating
        for rating in dict.fromkeys(ratings)  # a file may have been copied
        if study in (None, rating.study) and kind in (None, rating.kind)
    ]
    return wanted if history else latest(wanted)


def latest(ratings: Sequence[Rating]) -> list[Rating]:
    """The highest revision of each answer, in the order in which the answers first appear."""
    found: dict[tuple[str, ...], Rating] = {}
    for rating in ratings:
        known = found.setdefault(key(rating), rating)
        if (rating.revision, rating.started_at) >= (known.revision, known.started_at):
            found[key(rating)] = rating
    return list(found.values())


def key(rating: Rating) -> tuple[str, ...]:
    """What an answer is found by; with its revision, it is unique."""
    return rating.study, rating.kind, rating.rater, rating.item, rating.question, rating.check


def studies(run: Run) -> list[Study]:
    """The studies of a run, by name."""
    return [read_study(run, path.stem) for path in sorted(run.ratings_path.glob("*.toml"))]
