"""Prompt lists that papers report, and whether a list is one of them.

A number on PartiPrompts is a number on all 1,632 of them: a file that is named like a published
list and holds others is said to be so, and a run records the hash of its prompts.
"""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from evalkit.core import Prompt

BUNDLED = ("suite", "geneval")  # come with evalkit


class Suite(NamedTuple):
    """A published list of prompts."""

    name: str
    title: str
    prompts: int
    licence: str
    address: str
    groups: str
    claims: tuple[str, ...]  # parts of the names of its files: lower case, letters and digits


@functools.cache
def suites() -> dict[str, Suite]:
    """All known lists by name."""
    table = tomllib.loads((files("evalkit.prompts") / "suites.toml").read_text("utf-8"))
    return {
        name: Suite(name, **{**entry, "claims": tuple(entry["claims"])})
        for name, entry in table.items()
    }


def texts_sha256(texts: Sequence[str]) -> str:
    """A hash of the texts of prompts in their order, by which two lists are the same."""
    found = hashlib.sha256()
    for text in texts:
        found.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return found.hexdigest()


def claimed(path: str) -> Suite | None:
    """The list that the name of a file says it is; the longest name counts."""
    name = re.sub(r"[^a-z0-9]", "", Path(path).name.lower())
    found = [(len(part), one) for one in suites().values() for part in one.claims if part in name]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def doubt(path: str, prompts: Sequence[Prompt]) -> str:
    """Why a file is not the whole list that its name says it is; "" without a doubt."""
    suite, count = claimed(path), len(prompts)
    if suite is None or count == suite.prompts:
        return ""
    return (
        f"{Path(path).name} has {count:,} prompts and {suite.title} has {suite.prompts:,}: values"
        f" on it are not values on {suite.title}"
    )
