"""The rows of CSV, TSV and parquet files."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import EvalkitError
from evalkit.hints import plural
from evalkit.prompts.text import FILE_LIMIT, FORMATS, LINES_LIMIT


class Numbered(NamedTuple):
    """One object of a file, with its place for messages."""

    place: str
    values: Mapping[str, Any]


def table(text: str, path: Path) -> Iterator[Numbered]:
    """The rows of a CSV file, or of a TSV file such as PartiPrompts, which quotes nothing."""
    if path.suffix.lower() == ".tsv":
        lines = io.StringIO(text.replace("\r\n", "\n"), newline="\n")
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:  # a spreadsheet in much of Europe writes semicolons
        first = text.partition("\n")[0]
        delimiter = next((mark for mark in ",;\t" if mark in first), ",")
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [column.strip() for column in next(rows)]
        if len({name.lower() for name in header}) < len(header):
            raise EvalkitError(
                f"{path} has the columns {', '.join(header)}; expected each column once.",
                FORMATS,
                code="prompts-31",
            )
        for row in rows:
            place = f"line {rows.line_num}"
            if not any(field.strip() for field in row):
                continue
            hint = "Put prompts that contain a comma in double quotes."
            if path.suffix.lower() == ".tsv":
                hint = "A field has no tabs and no line breaks; quotes are part of the text."
                broken = any(field.startswith('"') and field.count('"') % 2 for field in row)
                if not (broken and len(row) < len(header)):
                    # Some programs leave out empty fields at the end.
                    row += [""] * (len(header) - len(row))
                row = [_unquoted(field) for field in row]
            if len(row) != len(header):
                raise EvalkitError(
                    f"L{place[1:]} of {path} has {plural(len(row), 'field')}; expected"
                    f" {len(header)}.",
                    hint,
                    code="prompts-32",
                )
            yield Numbered(place, dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise EvalkitError(
            f"Line {rows.line_num} of {path} is not a valid table: {error}.",
            FORMATS,
            code="prompts-33",
        ) from error


def _unquoted(field: str) -> str:
    """The text of a field that a spreadsheet quoted: its quotes are doubled."""
    inner = field[1:-1]
    quoted = len(field) > 3 and field[0] == field[-1] == '"' and '""' in inner
    return inner.replace('""', '"') if quoted and '"' not in inner.replace('""', "") else field


def parquet_rows(path: Path) -> Iterator[Numbered]:
    """The rows of a parquet file without its images and other binary columns."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise EvalkitError(
            f"{path} needs pyarrow, which is not installed.",
            "Type in the clone of evalkit: `pip install '.[datasets]'`.",
            code="prompts-34",
        ) from error
    try:
        file = parquet.ParquetFile(path, page_checksum_verification=True)
        names = [f.name for f in file.schema_arrow if not _is_binary(str(f.type))]
        rows: list[dict[str, Any]] = []
        size = _unpacked(file.metadata, names)  # as stated; then as read
        # A small file may have many equal rows of a long text: few of them at once.
        for batch in file.iter_batches(8, columns=names) if size <= FILE_LIMIT else ():
            size += batch.nbytes
            if size > FILE_LIMIT or len(rows) > LINES_LIMIT:
                break
            rows += batch.to_pylist()
        if size > FILE_LIMIT or len(rows) > LINES_LIMIT:
            raise ValueError(f"over {FILE_LIMIT >> 20} MiB of text or {LINES_LIMIT:,} rows")
    except (OSError, ValueError, NotImplementedError, MemoryError) as error:  # of pyarrow
        raise EvalkitError(
            f"{path} is not a readable parquet file: {error}.", FORMATS, code="prompts-35"
        ) from error
    return (Numbered(f"row {number}", row) for number, row in enumerate(rows, 1))


def _unpacked(metadata: Any, names: Sequence[str]) -> int:
    """The bytes of these columns, as the file states them."""
    groups = (metadata.row_group(at) for at in range(metadata.num_row_groups))
    columns = (group.column(at) for group in groups for at in range(group.num_columns))
    return sum(
        column.total_uncompressed_size
        for column in columns
        if column.path_in_schema.partition(".")[0] in names
    )


def _is_binary(kind: str) -> bool:
    return "binary" in kind
