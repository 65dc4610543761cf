"""Images and prompts to the numbers of a scorer. Each pair is scored once and kept.

The cache of a scorer and a model is a file of JSON lines, one per image and prompt and fingerprint:
`key` (a hash of the image and, where the scorer reads it, the prompt), `by` (a hash of the
fingerprint), and `values` with `details`, or `reason`. Lines are only added, so answers that were
paid for outlive a change of settings.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.features.image_file import ImageFile
from evalkit.features.map_ahead import map_ahead
from evalkit.features.validation import raise_invalid
from evalkit.files import append_lines, checked
from evalkit.images import Unreadable
from evalkit.plugin_calls import DECODING, apart, named
from evalkit.scorer import VALUE, Answer, LoadedScorer, NoAnswer
from evalkit.terminal import one_line, progress

log = logging.getLogger(__name__)
_HINT = "Correct the scorer, then run the same command again: the answers so far are kept."


class Answers(NamedTuple):
    """What a scorer says of images, in their order."""

    values: dict[str, Tensor]  # by name, float64 [N, 1]; NaN where there is no answer
    reasons: list[str]  # why an image has no answer, "" where it has one


def answers(
    images: Sequence[ImageFile],
    prompts: Sequence[str] | None,
    scorer: LoadedScorer,
    cache: Path,
    *,
    batch_size: int = 32,
    label: str = "",
) -> Answers:
    """The answers on all images in their order. Only pairs without a kept answer are scored.

    Args:
        images: files whose content must have the given SHA-256.
        prompts: one per image; None for a scorer that reads none.
        cache: the file of JSON lines to read and to add to.
        batch_size: images per call, where the scorer states no `at_once`.
        label: the text of the progress bar.

    Raises EvalkitError for invalid images, and where the scorer fails or answers otherwise than
    LoadedScorer states.
    """
    texts = [""] * len(images) if prompts is None else list(prompts)
    keys = [_key(image.sha256, text) for image, text in zip(images, texts, strict=True)]
    by = hashlib.sha256(scorer.fingerprint.encode()).hexdigest()[:32]
    known = _read(cache, by)
    pairs = dict(zip(keys, zip(images, texts, strict=True), strict=True))
    missing = [key for key in pairs if key not in known]
    size = getattr(scorer, "at_once", None) or batch_size
    cache = cache.absolute()  # for a scorer that changes the directory
    bar = progress(label or f"scoring with {scorer.name}", len(missing))
    with apart(scorer, DECODING), bar as advance:
        for batch in _batches(missing, pairs, size, len(images)):
            for key, answer in _asked(scorer, batch):
                row = _row(answer)
                known[key] = row
                if not row.get("again"):
                    cache.parent.mkdir(parents=True, exist_ok=True)
                    append_lines(cache, [{"key": key, "by": by, **row}])
                advance(1)
    return _collected([known[key] for key in keys])


def unanswered(reasons: Iterable[str]) -> str:
    """The images without an answer in words: "3 of 100 images have no answer: 2 refused; …"."""
    reasons = list(reasons)
    counts = Counter(reason for reason in reasons if reason)
    if not counts:
        return ""
    lines = [f"{count} x {reason}" for reason, count in counts.most_common(3)]
    more = [f"{len(counts) - 3} other reasons"] if len(counts) > 3 else []
    total, of = sum(counts.values()), len(reasons)
    have = "has" if total == 1 else "have"
    return f"{total} of {of} images {have} no answer ({'; '.join(lines + more)})"


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
            row = checked(json.loads(line))
            if row["by"] == by and (row.get("reason") or _is_values(row["values"])):
                found[row["key"]] = row
        except (ValueError, LookupError, TypeError, RecursionError):
            damaged += 1
    if damaged:
        log.warning("%s: %d damaged lines count as not written", cache, damaged)
    return found


def _is_values(found: object) -> bool:
    return isinstance(found, Mapping) and all(map(_is_number, found.values()))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _batches(
    keys: Sequence[str],
    pairs: Mapping[str, tuple[ImageFile, str]],
    size: int,
    total: int,
) -> Iterator[list[tuple[str, Any, str]]]:
    """Keys with their decoded images and prompts, `size` at a time."""
    files = [pairs[key][0] for key in keys]
    batch: list[tuple[str, Any, str]] = []
    decoded = map_ahead(ImageFile.decode, files, 2 * size)
    for key, (_, found) in zip(keys, decoded, strict=True):
        if isinstance(found, Unreadable):
            raise_invalid(files, total)
        batch.append((key, found.image, pairs[key][1]))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _asked(
    scorer: LoadedScorer, batch: Sequence[tuple[str, Any, str]]
) -> Iterator[tuple[str, object]]:
    """Each key with the scorer's answer, as it comes."""
    call = functools.partial(named, scorer, f"The scorer {scorer.name!r} failed", _HINT)
    with call():
        found = scorer([image for _, image, _ in batch], [text for _, _, text in batch])
        given = iter(found.tolist() if isinstance(found, Tensor) else found)
    end = object()
    for key, _, _ in batch:
        with call():
            answer = next(given, end)
        if answer is end:
            raise _wrong(scorer, f"fewer than {len(batch)} answers for {len(batch)} images")
        if (wrong := _fault(answer)) is not None:
            raise _wrong(scorer, wrong)
        yield key, answer
    with call():
        surplus = next(given, end)
    if surplus is not end:
        raise _wrong(scorer, f"more than {len(batch)} answers for {len(batch)} images")


def _wrong(scorer: LoadedScorer, found: str) -> EvalkitError:
    return EvalkitError(
        f"The scorer {scorer.name!r} returned {found}; expected one number, Answer or NoAnswer per"
        " image.",
        _HINT,
    )


def _fault(answer: object) -> str | None:
    """What is wrong with an answer, None if nothing is."""
    if isinstance(answer, NoAnswer):
        return None if answer.reason else "a NoAnswer without a reason"
    if isinstance(answer, Answer):
        if not answer.values or not all(
            isinstance(one, int | float) for one in answer.values.values()
        ):
            return "an Answer without numbers"
        return None if _as_json(answer.details) is not None else "details that are not JSON"
    if isinstance(answer, bool) or not hasattr(answer, "__float__"):
        return f"a {type(answer).__name__}"
    return None


def _row(answer: Any) -> dict[str, Any]:
    """An answer as a line of the cache; what is no finite number is no answer."""
    if isinstance(answer, NoAnswer):
        return {"reason": one_line(answer.reason)} | ({"again": True} if answer.again else {})
    details = None
    if isinstance(answer, Answer):
        values, details = dict(answer.values), _as_json(answer.details)
    else:
        values = {VALUE: float(answer)}
    if bad := [value for value in values.values() if not math.isfinite(value)]:
        return {"reason": f"the scorer returned {bad[0]}"}
    row: dict[str, Any] = {"values": {name: float(value) for name, value in values.items()}}
    return row | ({"details": details} if details else {})


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
    return Answers(values, [str(row.get("reason", "")) for row in rows])
