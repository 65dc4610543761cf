"""Names of models and groups as labels that fit into a chart or beside an image."""

from __future__ import annotations

from collections.abc import Sequence


def shorten(text: str, most: int) -> str:
    """Printable text on one line, shortened in the middle: names often differ at the end."""
    plain = "".join(character if character.isprintable() else "\ufffd" for character in text)
    if len(plain) <= most:
        return plain
    end = (most - 1) // 2
    return f"{plain[: most - 1 - end]}…{plain[len(plain) - end :]}"


def labels(names: Sequence[str], most: int) -> dict[str, str]:
    """A label of at most `most` characters for each name; different names get different labels."""
    found: dict[str, str] = {}
    for name in names:
        label, number = shorten(name, most), 1
        while label in found.values():
            number += 1
            suffix = f" ({number})"
            label = f"{shorten(name, most - len(suffix))}{suffix}"
        found[name] = label
    return found
