"""Human ratings of a run -> one table or JSON file that other tools read."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Literal

from evalkit.core import EvalkitError
from evalkit.escape import spreadsheet_cell
from evalkit.files import write_atomically
from evalkit.ratings.files import ratings_of, studies
from evalkit.ratings.rating import COLUMNS, Rating
from evalkit.run_folder import Run


def rate_export(
    path: os.PathLike[str] | str,
    *,
    out: Path | str,
    format: Literal["csv", "json"] = "csv",
    spreadsheet: bool = False,
    history: bool = False,
) -> Path:
    """Write all ratings of a run, of people and of models, to one file and return its path.

    Args:
        path: the run folder.
        out: the file to write.
        format: "csv", one row per answer with the columns of `evalkit.ratings.rating.COLUMNS`;
            "json", an object with the `studies` and the `ratings`.
        spreadsheet: for Excel and the like: with a byte order mark, and with `'` before each text
            that a spreadsheet would run as a formula. `rate_import` takes both away again.
        history: with earlier revisions of changed answers.

    Raises:
        EvalkitError: the folder is not a run or has no ratings, or `out` cannot be written.
    """
    run = Run(path)
    run.prompts()  # raises if it is not a run
    if format not in ("csv", "json"):
        raise EvalkitError(
            f"The format is {format!r}; expected csv or json.", "Change --format.", code="rate-2"
        )
    if spreadsheet and format != "csv":
        raise EvalkitError(
            f"The format is {format} and spreadsheet is set; a spreadsheet opens csv only.",
            "Leave out --spreadsheet, or use csv.",
            code="rate-3",
        )
    ratings = ratings_of(run, history=history)
    if not ratings:
        raise EvalkitError(
            f"{run.path} has no ratings.",
            "Import some with `evalkit rate import` first; see docs/ratings/imports.md.",
            code="rate-4",
        )
    if format == "csv":
        text = "\ufeff" * spreadsheet + _csv(ratings, spreadsheet)
    else:
        content = {
            "studies": [dataclasses.asdict(study) for study in studies(run)],
            "ratings": [dataclasses.asdict(rating) for rating in ratings],
        }
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_atomically(Path(out).expanduser(), text)
    return Path(out).expanduser()


def _csv(ratings: list[Rating], guard: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rating in ratings:
        cells = map(str, dataclasses.astuple(rating))
        writer.writerow(map(spreadsheet_cell, cells) if guard else cells)
    return text.getvalue()
