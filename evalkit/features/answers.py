"""Images and prompts to the numbers of a scorer. Each pair is scored once and kept.

The cache of a scorer and a model is a file of JSON lines, one per image and prompt and fingerprint:
`key` (a hash of the image and, where the scorer reads it, the prompt), `by` (a hash of the
fingerprint), and `values` with `details` and `parts`, or `reason`; `void` takes back the lines
before it. Lines are only added, so answers that were paid for outlive a change of settings.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.features import parts
from evalkit.features.image_file import ImageFile
from evalkit.features.map_ahead import map_ahead
from evalkit.features.validation import raise_invalid
from evalkit.files import CHECK, append_lines, checked
from evalkit.hints import a_type
from evalkit.images import Unreadable
from evalkit.images.room import decoders
from evalkit.plugin_calls import DECODING, apart, named
from evalkit.scorer import VALUE, Answer, LoadedScorer, NoAnswer, Parts
from evalkit.shards import WHOLE, Shard
from evalkit.terminal import one_line, progress

log = logging.getLogger(__name__)
_PIXELS = 1 << 27  # of a batch: 400 MB
_LONGEST = 300  # characters of a reason
_HINT = "Correct the scorer, then run the same command again: the answers so far are kept."


class ScorerFailed(EvalkitError):
    """A scorer raised an exception, or returned something other than LoadedScorer states."""


class _WrongCountError(ScorerFailed):
    """A call returned more or fewer answers than it had images."""


class Answers(NamedTuple):
    """What a scorer says of images, in their order."""

    values: dict[str, Tensor]  # by name, float64 [N, 1]; NaN where there is no answer
    reasons: list[str]  # why an image has no answer, "" where it has one
    parts: list[Parts]  # by image; {} where a scorer states none


def answers(
    images: Sequence[ImageFile],
    prompts: Sequence[str] | None,
    scorer: LoadedScorer,
    cache: Path,
    *,
    batch_size: int = 32,
    label: str = "",
    shard: Shard = WHOLE,
) -> Answers:
    """The answers on all images in their order. Only pairs without a kept answer are scored.

    Args:
        images: files whose content must have the given SHA-256.
        prompts: one per image; None for a scorer that reads none.
        cache: the file of JSON lines to read and to add to; a shard adds to one of its own.
        batch_size: images per call, where the scorer states no `at_once`.
        label: the text of the progress bar.

    Raises:
        ScorerFailed: the scorer fails; the answers before are kept.
        EvalkitError: invalid images.
    """
    texts = [""] * len(images) if prompts is None else list(prompts)
    keys = [_key(image.sha256, text) for image, text in zip(images, texts, strict=True)]
    by = hashlib.sha256(scorer.fingerprint.encode()).hexdigest()[:32]
    known: dict[str, dict[str, Any]] = {}
    own = parts.own(cache, shard)
    for path in (*parts.beside(cache, shard), own):
        known |= _read(path, by)
    pairs = dict(zip(keys, zip(images, texts, strict=True), strict=True))
    missing = [key for key in pairs if key not in known]
    size = getattr(scorer, "at_once", None) or batch_size
    cache = own.absolute()  # for a scorer that changes the directory
    process = os.getpid()
    if missing:
        cache.parent.mkdir(parents=True, exist_ok=True)
    bar = progress(label or f"scoring with {scorer.name}", len(missing))
    with apart(scorer, DECODING), bar as advance:
        for batch in _batches(missing, pairs, size, len(images)):
            try:
                for some in _asked(scorer, batch):
                    known |= some
                    if os.getpid() != process:  # a fork of the scorer; `apart` ends it
                        raise ScorerFailed("a fork of the scorer came back", code="features-1")
                    rows = [{"key": key, "by": by, **row} for key, row in some.items()]
                    append_lines(cache, [row for row in rows if not row.get("again")])
                    advance(len(some))
            except _WrongCountError:  # which of them belongs to which image is not known
                void = [key for key, _, _ in batch if key in known and cache.exists()]
                append_lines(cache, [{"key": key, "by": by, "void": True} for key in void])
                raise
    return _collected([known[key] for key in keys])


def unanswered(reasons: Iterable[str]) -> str:
    """The images without an answer in words: "3 of 100 images have no answer (2 x refused, …)"."""
    reasons = list(reasons)
    counts = Counter(reason for reason in reasons if reason)
    if not counts:
        return ""
    # Cautions are joined by semicolons.
    shown = [(reason.replace("; ", ", "), count) for reason, count in counts.most_common(3)]
    lines = [f"{count} x {reason}" for reason, count in shown]
    rest = sum(counts.values()) - sum(count for _, count in shown)
    more = [f"{rest} x other reasons"] if rest else []
    total, of = sum(counts.values()), len(reasons)
    have = "has" if total == 1 else "have"
    return f"{total} of {of} images {have} no answer ({', '.join(lines + more)})"


def _key(image: str, text: str) -> str:
    content = f"{image}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()[:32]


def _read(cache: Path, by: str) -> dict[str, dict[str, Any]]:
    """The kept answers of one fingerprint by key; those of damaged lines are made again."""
    found: dict[str, dict[str, Any]] = {}
    damaged = 0
    lines = cache.read_bytes().split(b"\n") if cache.is_file() else []
    for line in filter(None, lines):
        try:
            content = json.loads(line)
            row = checked(content)
            if CHECK not in content or not (row.get("void") or _is_answer(row)):
                raise ValueError
            if row["by"] != by:
                continue
            if row.get("void"):
                found.pop(row["key"], None)
            else:
                found[row["key"]] = row
        except (ValueError, LookupError, TypeError, RecursionError, OverflowError):
            damaged += 1
    if damaged:
        log.warning("%s: %d damaged lines count as not written", cache, damaged)
    return found


def _is_answer(row: Mapping[str, Any]) -> bool:
    """Whether a line has either a reason or numbers."""
    values, reason = row.get("values"), row.get("reason")
    if values is None:
        return isinstance(reason, str) and bool(reason)
    numbers = isinstance(values, Mapping) and bool(values) and all(map(_is_number, values.values()))
    return numbers and reason is None and _are_parts(row.get("parts", {}), values)


def _are_parts(parts: object, values: Mapping[str, Any]) -> bool:
    """Whether these are finite numbers by a name of the values and by category."""
    return isinstance(parts, Mapping) and all(
        name in values
        and isinstance(by_category, Mapping)
        and all(
            isinstance(category, str)
            and category.isprintable()
            and category.strip()
            and isinstance(numbers, list)
            and numbers
            and all(map(_is_number, numbers))
            for category, numbers in by_category.items()
        )
        for name, by_category in parts.items()
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _batches(
    keys: Sequence[str],
    pairs: Mapping[str, tuple[ImageFile, str]],
    size: int,
    total: int,
) -> Iterator[list[tuple[str, Any, str]]]:
    """Keys with their decoded images and prompts, `size` at a time; fewer of very large images."""
    files = [pairs[key][0] for key in keys]
    batch: list[tuple[str, Any, str]] = []
    pixels = 0
    decoded = map_ahead(ImageFile.decode, files, 2 * decoders())
    for key, (_, found) in zip(keys, decoded, strict=True):
        if isinstance(found, Unreadable):
            raise_invalid(files, total)
        batch.append((key, found.image, pairs[key][1]))
        pixels += found.image.width * found.image.height
        if len(batch) == size or pixels > _PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _asked(
    scorer: LoadedScorer, batch: Sequence[tuple[str, Any, str]]
) -> Iterator[dict[str, dict[str, Any]]]:
    """The lines of the cache by key, as the answers come: of a list together, else one by one."""
    images, texts = [image for _, image, _ in batch], [text for _, _, text in batch]
    keys, end = [key for key, _, _ in batch], object()
    calling = functools.partial(named, scorer, f"The scorer {scorer.name!r} failed", _HINT)
    try:
        with calling():
            found = scorer(images, texts)
            found = found.tolist() if isinstance(found, Tensor | np.ndarray) else found
            together = list(found) if isinstance(found, Sequence) else None
            given = None if isinstance(found, Mapping | str | bytes | Set) else iter(found)
        if given is None:  # iterable, and no answers
            raise _wrong(scorer, a_type(found))
        if together is not None:
            rows = [_row(scorer, answer) for answer in together]
            _require_count(scorer, len(together), len(keys))
            yield dict(zip(keys, rows, strict=True))
            return
        for place, key in enumerate(keys):
            with calling():
                answer = next(given, end)
            if answer is end:
                _require_count(scorer, place, len(keys))
            yield {key: _row(scorer, answer)}
        with calling():
            surplus = next(given, end) is not end
        _require_count(scorer, len(keys) + surplus, len(keys))
    except ScorerFailed:
        raise
    except EvalkitError as error:
        raise ScorerFailed(error.message, error.hint, error.exit_code, code=error.code) from error


def _require_count(scorer: LoadedScorer, found: int, expected: int) -> None:
    if found != expected:
        made = "fewer" if found < expected else "more"
        error = _wrong(scorer, f"{made} answers than images ({expected})")
        raise _WrongCountError(error.message, error.hint, code=error.code)


def _wrong(scorer: LoadedScorer, found: str) -> EvalkitError:
    return EvalkitError(
        f"The scorer {scorer.name!r} returned {found}; expected one number, Answer or NoAnswer per"
        " image.",
        _HINT,
        code="features-2",
    )


def _row(scorer: LoadedScorer, answer: Any) -> dict[str, Any]:
    """An answer as a line of the cache; what is no finite number is no answer."""
    if isinstance(answer, NoAnswer):
        reason = one_line(str(answer.reason)).strip()[:_LONGEST]
        if not reason:
            raise _wrong(scorer, "a NoAnswer without a reason")
        return {"reason": reason} | ({"again": True} if answer.again else {})
    details, parts = {}, {}
    values: Mapping[str, Any] = {VALUE: answer}
    if isinstance(answer, Answer):
        values, details, parts = answer.values, _as_json(answer.details), _as_json(answer.parts)
    named_well = isinstance(values, Mapping) and all(
        isinstance(name, str) and name.isprintable() for name in values
    )
    if not named_well:
        raise _wrong(scorer, "an Answer whose values are no numbers by name")
    numbers = {name: _number(value) for name, value in values.items()}
    if not numbers or None in numbers.values():
        found = type(answer).__name__
        raise _wrong(scorer, "an Answer without numbers" if found == "Answer" else f"a {found}")
    if details is None:
        raise _wrong(scorer, "an Answer with details that are not JSON")
    if parts is None or not _are_parts(parts, numbers):
        raise _wrong(scorer, "an Answer whose parts are no numbers by a name of its values")
    if bad := [value for value in numbers.values() if value is None or not math.isfinite(value)]:
        return {"reason": f"the scorer returned {bad[0]}"}
    more = {"details": details, "parts": parts}
    return {"values": numbers} | {name: given for name, given in more.items() if given}


def _number(value: Any) -> float | None:
    """A real number as a float; None for anything else."""
    if isinstance(value, str | bytes | bool | complex | np.complexfloating):
        return None
    try:
        return float(value)
    except Exception:  # a class of the plug-in
        return None


def _as_json(details: object) -> dict[str, Any] | None:
    """Details as they are read again; None where they cannot be written."""
    try:
        text = json.dumps(details, allow_nan=False, ensure_ascii=False)
        found = json.loads(text.encode("utf-8", "replace"))
    except (TypeError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _collected(rows: Sequence[Mapping[str, Any]]) -> Answers:
    names = dict.fromkeys(name for row in rows for name in row.get("values", ()))
    values = {
        name: torch.tensor(
            [[row.get("values", {}).get(name, math.nan)] for row in rows], dtype=torch.float64
        )
        for name in names
    }
    reasons = [str(row.get("reason", "")) for row in rows]
    return Answers(values, reasons, [row.get("parts", {}) for row in rows])
