"""The file formats of ratings, and which of them a file has."""

from __future__ import annotations

from evalkit.core import EvalkitError
from evalkit.hints import did_you_mean
from evalkit.rate.answers import Format
from evalkit.rate.formats import (
    appen,
    arena,
    imagenhub,
    label_studio,
    mturk,
    own,
    prolific,
    rapidata,
)
from evalkit.rate.source import Source

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (own, mturk, label_studio, imagenhub, arena, prolific, rapidata, appen)
}


def format_of(source: Source, wanted: str = "auto") -> Format:
    """The format of a file, by its columns or keys. Raises EvalkitError for an unknown one."""
    if wanted != "auto":
        if wanted not in FORMATS:
            raise EvalkitError(
                f"There is no format {wanted!r} of ratings.",
                did_you_mean(wanted, [*FORMATS, "auto"]),
                code="rate-5",
            )
        found = [FORMATS[wanted]] if FORMATS[wanted].recognizes(source) else []
    else:
        found = [form for form in FORMATS.values() if form.recognizes(source)]
    if len(found) == 1:
        return found[0]
    keys = ", ".join(map(repr, source.keys[:12])) or "nothing"
    if found:
        names = " and ".join(form.name for form in found)
        raise EvalkitError(
            f"{source.path} fits the formats {names}; it has {keys}.",
            "Name one with --format.",
            code="rate-6",
        )
    pairs = {"model_a", "model_b"} <= set(source.keys)
    near = "Name the column with the answer to each pair `winner`. " if pairs else ""
    known = "; ".join(f"{form.name}: {form.about}" for form in FORMATS.values())
    raise EvalkitError(
        f"{source.path} has no known format of ratings; it has {keys}.",
        f"{near}Known, and described in docs/ratings/imports.md: {known}. pandas.melt converts a"
        " wide table to one with a row per answer.",
        code="rate-7",
    )
