"""Every way in which a file of a run is damaged, by the kind of the file."""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import random
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w
from PIL import Image

OTHERS: dict[str, bytes] = {
    "empty": b"",
    "object": b"{}\n",
    "list": b"[]\n",
    "null": b"null\n",
    "number": b"5\n",
    "text": b'"text"\n',
    "nested": b"[" * 100_000,
    "nested object": b'{"a":' * 50_000,
    "not UTF-8": b"\xff\xfe\x00\xd8" * 30,
    "NUL": b"\0" * 300,
    "long number": b"9" * 5000 + b"\n",
    "nan": b"NaN\n",
}
VALUES: dict[str, Any] = {
    "null": None, "number": 7, "negative": -1, "text": "x", "list": [1], "object": {"a": 1},
    "true": True, "huge": 10**400, "infinity": float("inf"), "surrogate": "\ud800",
}  # fmt: skip


class Damage(NamedTuple):
    """What is done to one file."""

    file: str  # relative to the run
    kind: str
    apply: Callable[[Path], object]  # takes the path of the file

    def __str__(self) -> str:
        return f"{self.file}: {self.kind}"


def damages(run: Path, other: Path, seed: int = 0) -> Iterator[Damage]:
    """All damages of all files of a run.

    Args:
        other: a run with files of the same names.
        seed: of the places that are damaged.
    """
    rng = random.Random(seed)
    for path in sorted(run.rglob("*")):
        file = path.relative_to(run).as_posix()
        if path.is_file() and not file.startswith(("report/", "figures/")):
            made = [*_of_bytes(path, rng), *_of_places(), *_foreign(run, other, file)]
            made += list(_inside(path, rng))
            yield from (Damage(file, kind, apply) for kind, apply in made)


Made = tuple[str, Callable[[Path], object]]


def _of_bytes(path: Path, rng: random.Random) -> Iterator[Made]:
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        yield f"cut at {share:.0%}", _bytes(content[: int(share * len(content))])
    yield "cut by a byte", _bytes(content[:-1])
    yield "cut by three bytes", _bytes(content[:-3])
    yield "twice", _bytes(content * 2)
    for _ in range(6):
        at, bit = rng.randrange(len(content)), rng.randrange(8)
        flipped = content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]
        yield f"bit {bit} of byte {at} flipped", _bytes(flipped)
    for name, other in OTHERS.items():
        yield f"replaced: {name}", _bytes(other)


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _of_places() -> Iterator[Made]:
    yield "deleted", Path.unlink

    def folder(path: Path) -> None:
        path.unlink()
        path.mkdir()

    def link(to: str) -> Callable[[Path], object]:
        def apply(path: Path) -> None:
            path.unlink()
            os.symlink(to, path)

        return apply

    yield "a folder", folder
    yield "a broken link", link("nowhere")
    yield "unreadable", lambda path: link(path.name)(path)  # a link to itself, for root too


def _foreign(run: Path, other: Path, file: str) -> Iterator[Made]:
    """The file of another run, and the same file of another model."""
    mine = (run / file).read_bytes()
    if (other / file).is_file() and (other / file).read_bytes() != mine:
        yield "of another run", _bytes((other / file).read_bytes())
    parts = file.split("/")
    if len(parts) > 2:
        for model in sorted((run / parts[0]).iterdir()):
            twin = Path(model, *parts[2:])
            if twin.is_file() and twin.read_bytes() != mine:
                yield f"of the model {model.name}", _bytes(twin.read_bytes())


def _inside(path: Path, rng: random.Random) -> Iterator[Made]:
    """Damages that keep the format of the file."""
    if path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"))
        for kind, changed in _changed(content, rng, 24):
            yield kind, _bytes(json.dumps(changed, indent=1).encode())
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for kind, changed in _changed(rows, rng, 24):
            if isinstance(changed, list):
                yield kind, _bytes("".join(f"{json.dumps(one)}\n" for one in changed).encode())
        for kind, lines in _rearranged(rows, rng):
            yield kind, _bytes("".join(f"{json.dumps(one)}\n" for one in lines).encode())
    elif path.suffix == ".toml":
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        for kind, changed in _changed(content, rng, 24):
            try:
                yield kind, _bytes(tomli_w.dumps(changed).encode())
            except (TypeError, ValueError, AttributeError):  # TOML has no null
                continue
    elif path.suffix == ".csv":
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
        for kind, lines in _rearranged(rows, rng):
            yield kind, _bytes(_csv(lines))
        for value in ("", "x", "nan", "inf", "-1", "9" * 400, "\0", '"'):
            changed = copy.deepcopy(rows)
            row = rng.randrange(len(rows))
            changed[row][rng.randrange(len(rows[row]))] = value
            yield f"a cell of row {row} is {value!r:.10}", _bytes(_csv(changed))
        yield "without a column", _bytes(_csv([row[1:] for row in rows]))
    elif path.suffix == ".npz":
        yield from _arrays(path)
    elif path.suffix == ".png":
        yield "another pixel", _pixel


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _pixel(path: Path) -> None:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.putpixel((0, 0), (255 - image.getpixel((0, 0))[0], 0, 0))
    image.save(path, "png")


def _rearranged(rows: list[Any], rng: random.Random) -> Iterator[tuple[str, list[Any]]]:
    at = rng.randrange(len(rows))
    yield f"without row {at}", rows[:at] + rows[at + 1 :]
    yield "without the last row", rows[:-1]
    yield f"row {at} twice", [*rows[:at], rows[at], *rows[at:]]
    yield "reversed", rows[::-1]


def _changed(content: Any, rng: random.Random, most: int) -> Iterator[tuple[str, Any]]:
    """The content with one field removed, edited, or of another type; at most so many of each."""
    places = list(_places(content))
    for place in rng.sample(places, min(most, len(places))):
        name = ".".join(map(str, place))
        removed = copy.deepcopy(content)
        del _parent(removed, place)[place[-1]]
        yield f"without {name}", removed
        kind, value = rng.choice([*VALUES.items()])
        other = copy.deepcopy(content)
        _parent(other, place)[place[-1]] = value
        yield f"{name} is {kind}", other
        edited = copy.deepcopy(content)
        old = _parent(edited, place)[place[-1]]
        if isinstance(old, bool):
            _parent(edited, place)[place[-1]] = not old
        elif isinstance(old, int | float):
            _parent(edited, place)[place[-1]] = old + 1
        elif isinstance(old, str):
            _parent(edited, place)[place[-1]] = f"{old}x"
        else:
            continue
        yield f"{name} is edited", edited


def _places(content: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = (
        content.items() if isinstance(content, dict)
        else enumerate(content) if isinstance(content, list)
        else ()
    )  # fmt: skip
    for name, value in items:
        yield (*here, name)
        yield from _places(value, (*here, name))


def _parent(content: Any, place: tuple[Any, ...]) -> Any:
    for name in place[:-1]:
        content = content[name]
    return content


def _arrays(path: Path) -> Iterator[Made]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}

    def with_arrays(**changed: Any) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, **{k: v for k, v in (arrays | changed).items() if v is not None})
        return buffer.getvalue()

    for name, array in arrays.items():
        yield f"without {name}", _bytes(with_arrays(**{name: None}))
        yield f"{name} is a number", _bytes(with_arrays(**{name: np.array(3)}))
        if array.ndim and len(array):
            yield f"{name} without its last row", _bytes(with_arrays(**{name: array[:-1]}))
        if array.ndim and len(array) > 1:
            yield f"{name} reversed", _bytes(with_arrays(**{name: array[::-1].copy()}))
        if name.startswith("feature."):
            yield f"{name} has other values", _bytes(with_arrays(**{name: array + 1}))
            yield f"{name} is not finite", _bytes(with_arrays(**{name: array * np.nan}))
            yield f"{name} has fewer columns", _bytes(with_arrays(**{name: array[:, 1:]}))
            yield f"{name} is flat", _bytes(with_arrays(**{name: array.ravel()}))


def copied(run: Path, place: Path) -> Path:
    """A fresh copy of a run at the place."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(run, place)
    return place
