"""The card of a reference: what the statistics are of, their source and how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w

from evalkit.core import EvalkitError
from evalkit.features import validation
from evalkit.files import parse_toml, read_limited, write_atomically
from evalkit.sources import absent

_MOST = 16 << 20  # bytes
_TEXTS = ("name", "description", "source", "licence", "date", "command", "image_hash")


@dataclass(frozen=True)
class Card:
    """The content of a card.toml, and the encoders that the folder has statistics for."""

    name: str
    description: str
    count: int  # of images; 0 if unknown
    source: str
    licence: str
    date: str
    command: str
    image_hash: str
    encoders: tuple[str, ...]
    path: Path


def read_card(folder: Path) -> Card:
    """The card of a reference's folder."""
    try:
        content = read_limited(folder / "card.toml", _MOST)
        facts = parse_toml(content.decode())
        texts = {key: str(facts[key]) for key in _TEXTS}
        encoders = tuple(sorted(path.stem for path in folder.glob("*.npz")))
        return Card(count=int(facts["count"]), encoders=encoders, path=folder, **texts)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise EvalkitError(
            f"The card of the reference in {folder} cannot be read: {error!r}.",
            "Build the reference again.",
            code="reference-6",
        ) from error


def write_card(
    folder: Path,
    facts: Mapping[str, Any],
    encoders: Sequence[Mapping[str, Any]],
    findings: Mapping[str, Any] | None = None,
) -> None:
    """Write card.toml. The date is today's unless `facts` has one.

    Args:
        facts: the values of `Card`, and any others.
        encoders: per encoder its `name` and the facts about its file.
        findings: the content of image_checks.json.
    """
    card: dict[str, Any] = {key: facts.get(key, "") for key in (*_TEXTS[:2], "count", *_TEXTS[2:])}
    card |= facts
    card["date"] = card["date"] or datetime.now(UTC).date().isoformat()
    if findings is not None:
        card["validation"] = {
            "taken": findings["taken"],
            "skipped": findings["skipped"],
            "notes": [*absent(findings), *validation.notes(findings)],
        }
    card["encoder"] = {
        str(encoder["name"]): {key: value for key, value in encoder.items() if key != "name"}
        for encoder in encoders
    }
    write_atomically(folder / "card.toml", tomli_w.dumps(card))
