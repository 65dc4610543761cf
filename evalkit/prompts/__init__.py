"""Prompt lists in the formats that people have them in, and those that come with evalkit.

Invalid input is an error; nothing is repaired silently.
"""

from __future__ import annotations

import gzip
import importlib.resources
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from evalkit.core import EvalkitError, Prompt
from evalkit.prompts.formats import TABLES, Row, rows_in, rows_of
from evalkit.prompts.suites import refuse_known, suites
from evalkit.prompts.text import FORMATS, LINE_LIMIT, is_blank
from evalkit.seeds import kind_of


def read_prompts(
    path: Path | str, text_column: str | None = None, group_column: str | None = None
) -> list[Prompt]:
    """All prompts of a file in order, with duplicates. A prompt without an id gets its position.

    `suite` and others of `evalkit list suites` come with evalkit; `suite:GROUP` is one group of it.
    A file with the name "suite" is `./suite`. Formats: see formats.py.

    Args:
        text_column: of a table or JSON, where the prompts are; by default found by its name.
        group_column: where their groups are; by default found by its name.
    """
    if is_bundled(str(path)):
        suite = suites()[str(path).partition(":")[0]]
        if text_column or (group_column and Path(suite.file).suffix not in TABLES):
            raise EvalkitError(
                f"The prompts of {suite.name} have no columns.",
                "Leave out --text-column and --group-column.",
                code="prompts-1",
            )
        return _bundled(str(path), group_column or "")
    path = Path(path)
    refuse_known(str(path))
    return _prompts(rows_of(path, text_column or "", group_column or ""), str(path))


def is_bundled(name: str) -> bool:
    """Whether a name means prompts that come with evalkit and not a file."""
    suite = suites().get(name.partition(":")[0])
    return suite is not None and suite.is_bundled


def shipped_prompts(file: Path, group_column: str = "") -> list[Prompt]:
    """The prompts of a file of the package: a list in any format of text, or packed (.gz)."""
    data = file.read_bytes()
    if file.suffix == ".gz":
        data, file = gzip.decompress(data), file.with_suffix("")
    return _prompts(rows_in(data.decode(), file, group_column=group_column), str(file))


def _bundled(name: str, group_column: str = "") -> list[Prompt]:
    suite, colon, group = name.partition(":")
    if suite == "geneval":
        from evalkit.prompts.geneval import geneval_prompts  # imports NumPy

        prompts = geneval_prompts()
    else:
        package = Path(str(importlib.resources.files("evalkit")))
        prompts = shipped_prompts(package / suites()[suite].file, group_column)
    groups = list(dict.fromkeys(prompt.group for prompt in prompts))
    if colon and group not in groups:
        raise EvalkitError(
            f"The prompts of {suite} have no group {group!r}.",
            f"Groups of {suite}: {', '.join(groups)}.",
            code="prompts-2",
        )
    return [prompt for prompt in prompts if group in ("", prompt.group)]


def prompts_from_list(items: Iterable[str | Prompt]) -> list[Prompt]:
    """Prompts from Python. The id of a plain text is its position; a `Prompt` keeps its id."""
    if isinstance(items, str):
        raise EvalkitError(
            "The prompts are one string; expected a list of strings.",
            "Write prompts=[...], or give the path of a file to Config.",
            code="prompts-3",
        )
    if not isinstance(items, Iterable) or isinstance(items, bytes | Mapping):
        raise EvalkitError(
            f"The prompts are {items!r:.80}; expected a list of strings.",
            "Write prompts=[...], or give the path of a file.",
            code="prompts-46",
        )
    rows = [
        Row(f"item {number}", item.text, item.id, item.group)
        if isinstance(item, Prompt)
        else Row(f"item {number}", item)
        for number, item in enumerate(items, 1)
    ]
    return _prompts(rows, "the prompt list")


def duplicate_count(prompts: Sequence[Prompt]) -> int:
    """The number of prompts with the text of an earlier prompt; variants are none."""
    texts = [prompt.text for prompt in prompts if not kind_of(prompt.id)]
    return len(texts) - len(set(texts))


def _prompts(rows: Iterable[Row], source: str) -> list[Prompt]:
    """Check texts, ids and groups, and make them prompts."""
    prompts: list[Prompt] = []
    places: dict[str, str] = {}
    for position, row in enumerate(rows):
        label = f"{row.place[0].upper()}{row.place[1:]} of {source}"
        if isinstance(row.id, bool) or not isinstance(row.id, str | int | None):
            raise EvalkitError(
                f"{label} has the id {row.id!r}; expected a text or a whole number.",
                "Give each prompt a different id, or omit the ids.",
                code="prompts-4",
            )
        text = _clean(row.text, f"{label} has a prompt that")
        number = _clean(
            f"{position:05d}" if row.id is None else str(row.id), f"{label} has an id that"
        )
        group = _clean(row.group, f"{label} has a group that") if row.group != "" else ""
        if len(number) > 200:
            raise EvalkitError(
                f"{label} has an id of {len(number)} characters; expected at most 200.",
                "Give each prompt a short id, or omit the ids.",
                code="prompts-5",
            )
        if number in places:
            raise EvalkitError(
                f"{label} has the id {number!r} of {places[number]}; expected each id once.",
                "Give each prompt a different id, or omit the ids.",
                code="prompts-6",
            )
        places[number] = row.place
        prompts.append(Prompt(number, text, group))
    if not prompts:
        raise EvalkitError(
            f"{source} has no prompt; expected at least one.", FORMATS, code="prompts-7"
        )
    return prompts


def _clean(text: object, subject: str) -> str:
    """The text without surrounding blanks. Raises EvalkitError that begins with `subject`."""
    if not isinstance(text, str):
        raise EvalkitError(f"{subject} is not a text but {text!r:.60}.", FORMATS, code="prompts-8")
    text = text.strip(" \t\r\n\u00a0\u3000\ufeff\u200b\u2060")
    if is_blank(text):
        raise EvalkitError(
            f"{subject} is empty.", "Write a text, or delete the line.", code="prompts-9"
        )
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs" or (category == "Cc" and character != "\t"):
            raise EvalkitError(
                f"{subject} contains the control character U+{ord(character):04X}.",
                "Delete it; a prompt is one line of text.",
                code="prompts-10",
            )
    if len(text.encode()) > LINE_LIMIT:
        raise EvalkitError(
            f"{subject} has {len(text.encode())} bytes; expected at most {LINE_LIMIT}.",
            FORMATS,
            code="prompts-11",
        )
    return text
