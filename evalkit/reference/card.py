"""The card of a reference: what its statistics are of, where they come from, how they were made."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError
from evalkit.features import validation as firewall
from evalkit.files import write_atomically


@dataclass(frozen=True)
class Card:
    """What card.toml says about a reference, and for which encoders it has statistics."""

    name: str
    description: str
    count: int
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
        facts = tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))
        texts = {
            key: str(facts[key])
            for key in ("name", "description", "source", "licence", "date", "command", "image_hash")
        }
        encoders = tuple(sorted(path.stem for path in folder.glob("*.npz")))
        return Card(count=int(facts["count"]), encoders=encoders, path=folder, **texts)
    except (OSError, ValueError, KeyError) as error:
        raise EvalkitError(
            f"The card of the reference in {folder} cannot be read: {error!r}.",
            "Build the reference again.",
        ) from error


def write_card(
    folder: Path,
    facts: Mapping[str, Any],
    encoders: Sequence[Mapping[str, Any]],
    found: Mapping[str, Any] | None = None,
) -> None:
    """card.toml: what the statistics are of, and where they come from. The date is today's where
    `facts` has none.

    encoders: of each its `name` and what is known of its file. found: the firewall's summary.
    """
    day = facts.get("date") or datetime.now(UTC).date().isoformat()
    order = ("name", "description", "count", "source", "licence", "date", "command", "image_hash")
    whole = {**dict(facts), "date": day}
    lines = [
        f"{key} = {_toml(whole[key])}"
        for key in (*order, *(key for key in whole if key not in order))
    ]
    if found is not None:
        lines += [
            "",
            "[firewall]",
            *(f"{key} = {found[key]}" for key in ("taken", "skipped")),
            f"notes = {_toml(firewall.notes(dict(found)))}",
        ]
    for encoder in encoders:
        lines += [
            "",
            f"[encoder.{_toml(encoder['name'])}]",
            *(f"{key} = {_toml(value)}" for key, value in encoder.items() if key != "name"),
        ]
    write_atomically(folder / "card.toml", "".join(f"{line}\n" for line in lines))


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )  # of JSON's values these are TOML's too
