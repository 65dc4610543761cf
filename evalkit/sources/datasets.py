"""Images of Hugging Face datasets: parquet shards, and the arrow files of `save_to_disk`.

They are read by pyarrow, an optional dependency.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import EvalkitError
from evalkit.files import read_limited
from evalkit.images import MEMBER_LIMIT
from evalkit.sources.image import (
    ImageSource,
    SourceImage,
    check_unpacked,
    unreadable,
)
from evalkit.sources.replay import Replay

_SPLIT = re.compile(r"(.+?)-\d{5}-of-\d{5}.*")


_MOST = 16 << 20  # bytes of a JSON file


_BATCH = 256 << 20  # bytes of some rows
DAMAGE = (OSError, ValueError, NotImplementedError, MemoryError)  # the errors of pyarrow


class _Item(NamedTuple):
    name: str
    content: bytes | None


def parquet_source(paths: Sequence[Path], place: str) -> ImageSource:
    """The image column of parquet files, row by row in the order of the files."""
    splits = sorted({found[1] for path in paths if (found := _SPLIT.fullmatch(path.name))})
    if len(splits) > 1:
        hint = f"Give one of them: '{Path(paths[0]).parent / (splits[0] + '-*.parquet')}'."
        raise EvalkitError(
            f"The dataset {place} has the splits {', '.join(splits)}.", hint, code="sources-27"
        )
    module = _pyarrow("parquet")
    counts = []
    for path in paths:
        try:
            counts.append(module.ParquetFile(path).metadata.num_rows)
        except DAMAGE as error:
            raise _damaged(path, error) from error
    return _source(place, "parquet", paths, sum(counts))


def arrow_source(folder: Path) -> ImageSource:
    """The image column of the arrow files that `Dataset.save_to_disk` wrote.

    A folder of several splits is refused; give the folder of one split.
    """
    splits = folder / "dataset_dict.json"
    path = splits if splits.is_file() else folder / "state.json"
    try:
        state = json.loads(read_limited(path, _MOST))
        names = [str(item) for item in state["splits"]] if path == splits else _files(state)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise EvalkitError(
            f"The file {path} cannot be read: {error!r:.200}.",
            "Save the dataset again.",
            code="sources-28",
        ) from error
    if path == splits:
        raise EvalkitError(
            f"The dataset {folder} has the splits {', '.join(names)}.",
            "Give the folder of one of them.",
            code="sources-29",
        )
    if state.get("_indices_data_files"):
        raise EvalkitError(
            f"The dataset {folder} is a selection or a new order of other rows.",
            "Call flatten_indices() and save it again.",
            code="sources-30",
        )
    if any(Path(name).name != name for name in names):
        raise EvalkitError(
            f"The file {folder / 'state.json'} refers to files in another folder.",
            "Save the dataset again.",
            code="sources-31",
        )
    return _source(str(folder), "arrow", [folder / name for name in names], None)


def _files(state: Mapping[str, Any]) -> list[str]:
    return [str(item["filename"]) for item in state["_data_files"]]


def _source(place: str, kind: str, paths: Sequence[Path], count: int | None) -> ImageSource:
    _pyarrow("")  # a missing pyarrow is an error now, not at the first image

    def images() -> Iterator[SourceImage]:
        for path in paths:
            replay = Replay(partial(_rows, path, kind), lambda row: len(row.content or b""))
            for number, row in replay.peek_all():
                yield SourceImage(row.name, partial(_content, replay, number))

    return ImageSource(place, kind, images, count)


def _content(replay: Replay[_Item], number: int) -> bytes:
    content = replay.take(number).content
    if content is not None and len(content) > MEMBER_LIMIT:
        raise unreadable(f"{len(content) >> 20} MiB, more than {MEMBER_LIMIT >> 20}")
    if content is None:
        raise unreadable(
            "the dataset contains its path, not the image: embed the images when saving it"
        )
    return content


def _rows(path: Path, kind: str) -> Iterator[_Item]:
    number, size, packed = 0, 0, path.stat().st_size
    try:
        for batch in _batches(path, kind):
            size += batch.nbytes
            check_unpacked(path, size, packed)
            for item in batch:
                yield _row(item, f"{path.name}[{number}]")
                number += 1
    except DAMAGE as error:
        raise _damaged(path, error) from error


def _batches(path: Path, kind: str) -> Iterator[Any]:
    """The image column, some rows at a time. Raises exceptions of DAMAGE."""
    if kind == "parquet":
        file = _pyarrow("parquet").ParquetFile(path, page_checksum_verification=True)
        column = _column(file.schema_arrow, path)
        whole = file.metadata
        groups = [whole.row_group(at) for at in range(whole.num_row_groups)]
        check_unpacked(path, sum(one.total_byte_size for one in groups), path.stat().st_size)
        most = max((one.total_byte_size for one in groups), default=0)
        rows = max(1, min(32, _BATCH // max(1, most)))  # any row may have all of a group
        yield from (
            batch.column(column) for batch in file.iter_batches(batch_size=rows, columns=[column])
        )
        return
    arrow = _pyarrow("")
    with arrow.memory_map(str(path)) as mapped, arrow.ipc.open_stream(mapped) as stream:
        column = _column(stream.schema, path)
        for batch in stream:
            batch.validate(full=True)  # pyarrow follows wrong offsets out of the file
            yield batch.column(column)


def _row(item: Any, name: str) -> _Item:
    value = item.as_py()
    if isinstance(value, dict):
        return _Item(name, value.get("bytes"))
    return _Item(name, value if isinstance(value, bytes) else None)


def _column(schema: Any, path: Path) -> str:
    """The image column: struct<bytes, path> or binary; `image` if there are several."""
    types = _pyarrow("types")
    found = []
    for field in schema:
        fields = {part.name for part in field.type} if types.is_struct(field.type) else set()
        if "bytes" in fields or types.is_binary(field.type) or types.is_large_binary(field.type):
            found.append(field.name)
    if "image" in found or len(found) == 1:
        return "image" if "image" in found else found[0]
    columns = ", ".join(found or schema.names)
    what = "several image columns" if found else "no image column"
    raise EvalkitError(
        f"The dataset file {path} has {what} ({columns}).",
        "Name the column with the images `image`.",
        code="sources-32",
    )


def _pyarrow(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"pyarrow.{module}" if module else "pyarrow")
    except ModuleNotFoundError as error:
        raise EvalkitError(
            "Parquet and arrow files need pyarrow, which is not installed.",
            "Type in the clone of evalkit: `pip install '.[datasets]'`.",
            code="sources-33",
        ) from error


def _damaged(path: Path, error: Exception) -> EvalkitError:
    return EvalkitError(
        f"The dataset file {path} cannot be read: {error}.",
        "It is damaged, or has another format: download or save it again.",
        code="sources-34",
    )
