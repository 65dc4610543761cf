"""Which columns of a task's data are the prompt, the models and the images, and which is left.

MTurk, Label Studio and Appen let everyone name these columns, so their content decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from evalkit.prompts.columns import TEXT_KEYS
from evalkit.rate.answers import NOTHING, Cell, Clues
from evalkit.rate.names import Names
from evalkit.rate.source import Row

_PROMPT_KEYS = (*TEXT_KEYS, "prompt_id", "id", "item_id", "instruction")
# Pairs of words that tell the left image from the right one, in this order.
_SIDES = (("left", "right"), ("a", "b"), ("1", "2"), ("0", "1"), ("first", "second"))


class DataColumns(NamedTuple):
    """Names of columns; two models or images are the left one and the right one."""

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    images: tuple[str, ...]
    texts: tuple[str, ...] = ()  # of `prompts`: those that surely say which prompt it is

    @property
    def sides(self) -> int:
        """2 where the columns describe a pair, 1 for one image, 0 where they describe neither."""
        return max(len(self.models), len(self.images))

    def clues(self, row: Row, prefix: str = "") -> list[Clues]:
        """What a row says about each image."""

        def cells(names: Sequence[str]) -> list[Cell]:
            return [row.cell(prefix + name) for name in names]

        given = [cell for cell in cells(self.prompts) if cell.text]
        prompt = given[0] if given else (cells(self.prompts) or [NOTHING])[0]
        models, images = cells(self.models), cells(self.images)
        return [
            Clues(
                prompt,
                models[at] if at < len(models) else NOTHING,
                images[at] if at < len(images) else NOTHING,
                tuple(cell for cell in cells(self.texts) if cell.text),
            )
            for at in range(self.sides)
        ]


def data_columns(
    columns: Iterable[str], rows: Sequence[Row], names: Names, prefix: str = ""
) -> DataColumns | str:
    """The columns by what most of their values are; or a sentence that says what is not certain."""
    kinds: dict[str, list[str]] = {"prompt": [], "model": [], "image": []}
    for column in columns:
        texts = [text for row in rows if (text := row.cell(prefix + column).text)]
        kind = _kind(column, texts, names)
        if kind:
            kinds[kind].append(column)
    for kind in ("model", "image"):
        found = kinds[kind]
        if len(found) > 2:
            return f"has {len(found)} columns of {kind}s ({', '.join(found)}); expected one or two"
        if len(found) == 2:
            ordered = _ordered(found[0], found[1])
            if ordered is None:
                return (
                    f"has the columns {found[0]!r} and {found[1]!r} of {kind}s, and no names such"
                    f" as left and right, a and b, or 1 and 2 that tell which was on the left"
                )
            kinds[kind] = list(ordered)
    if len(kinds["model"]) == 1 and len(kinds["image"]) == 2:
        kinds["model"] = []  # the label of the better image: an answer
    if len(kinds["model"]) == 2 and len(kinds["image"]) == 1:
        names_of = ", ".join([*kinds["model"], *kinds["image"]])
        return f"has two columns of models and one of images ({names_of}); expected two of each"
    prompts = sorted(kinds["prompt"], key=lambda name: "id" not in re.split(r"[\W_]+", name))
    texts = [
        column
        for column in prompts
        if column.lower() in (*TEXT_KEYS, "prompt_id")
        or _says_prompt(column)
        or any(names.is_text(row.cell(prefix + column).text) for row in rows)
    ]
    return DataColumns(tuple(prompts), tuple(kinds["model"]), tuple(kinds["image"]), tuple(texts))


def _kind(column: str, texts: Sequence[str], names: Names) -> str:
    """What most values of a column are; its name decides where none is known."""
    if not texts:
        return ""
    tests: dict[str, Callable[[str], bool]] = {
        "model": names.is_model,
        "prompt": names.is_prompt,
        "image": names.is_image,
    }
    counts = {kind: sum(map(test, texts)) for kind, test in tests.items()}
    best = max(counts, key=lambda kind: counts[kind])
    if counts[best]:
        return best
    words = _words(column)
    if column.lower() in _PROMPT_KEYS or _says_prompt(column):
        return "prompt"
    return "model" if "model" in words or "generator" in words else ""


def _says_prompt(column: str) -> bool:
    """`promptText`, `image_prompt`, but not `negative_prompt`."""
    words = set(_words(column))
    return "prompt" in words and words <= {"prompt", "text", "image", "full", "original", "input"}


def _words(column: str) -> list[str]:
    """`promptText` and `prompt_text` as prompt, text."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", column)]


def _ordered(one: str, other: str) -> tuple[str, str] | None:
    """The column of the left image, then that of the right one; None where the names do not say."""
    first, second = (re.findall(r"[a-z]+|\d+", name.lower()) for name in (one, other))
    if len(first) != len(second):
        return None
    different = [pair for pair in zip(first, second, strict=True) if pair[0] != pair[1]]
    if len(different) != 1:
        return _ordered_by_end(one, other)
    if different[0] in _SIDES:
        return one, other
    return (other, one) if different[0][::-1] in _SIDES else _ordered_by_end(one, other)


def _ordered_by_end(one: str, other: str) -> tuple[str, str] | None:
    """`imageA` and `imageB`, `leftImage` and `rightImage`."""
    for left, right in _SIDES:
        for a, b in ((one, other), (other, one)):
            if a.lower().replace(left, "\0", 1) == b.lower().replace(right, "\0", 1):
                return a, b
            if a.lower().endswith(left) and b.lower() == a.lower()[: -len(left)] + right:
                return a, b
    return None
