"""Which columns of a table, or keys of JSON, are the prompt, its id and its group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from evalkit.core import EvalkitError

# In order of preference, in lower case.
TEXT_KEYS = ("prompt", "caption", "text", "captions", "prompts", "prompt_text")
ATOMS = "atom_count"  # of GenEval 2, which reports its numbers by it
GROUP_KEYS = (
    *("group", "category", "tag", "challenge", "skill", ATOMS, "skills"),
    *("style", "type", "subset"),
)
ID_KEYS = ("id", "item_id", "prompt_id")
# Columns of lists with one row per question about an image (DSG, TIFA).
QUESTION_KEYS = ("question", "question_natural_language", "question_id", "proposition_id")


class Columns(NamedTuple):
    """The names of the columns as the file has them; "" for one that it does not have."""

    text: str
    group: str
    id: str
    questions: bool  # one row per question: a prompt has several rows


def find_columns(names: Sequence[str], place: str, text: str = "", group: str = "") -> Columns:
    """The columns of `names`. Raises EvalkitError, with `place`, where there is no prompt.

    Args:
        text, group: the columns that the user names.
    """
    plain = {name.strip().lower(): name for name in names}
    for wanted, option in ((text, "text"), (group, "group")):
        if wanted and wanted not in names:
            raise EvalkitError(
                f"{place} has no column {wanted!r}; it has {', '.join(names) or 'none'}.",
                f"Change --{option}-column.",
                code="prompts-12",
            )
    found = text or next((plain[key] for key in TEXT_KEYS if key in plain), "")
    if not found:
        raise EvalkitError(
            f"{place} has the columns {', '.join(names) or 'none'}; expected one of"
            f" {', '.join(TEXT_KEYS)}.",
            "Name the column of the prompts: `--text-column NAME`.",
            code="prompts-13",
        )
    return Columns(
        found,
        group or next((plain[key] for key in GROUP_KEYS if key in plain), ""),
        next((plain[key] for key in ID_KEYS if key in plain), ""),
        any(key in plain for key in QUESTION_KEYS),
    )
