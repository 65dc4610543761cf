"""Rapidata's results of a compare order: JSON with `results[].detailedResults[]`.

Keys as in `docs/understanding_the_results.md` of RapidataAI/rapidata-python-sdk: `context` is the
prompt, the keys of `aggregatedResults` are the file names of the two images in the order in which
they were given, and each entry of `detailedResults` has `votedFor` and `userDetails`, which names
no rater.
"""

from __future__ import annotations

from typing import Any

from evalkit.rate.answers import NOTHING, Answer, Cell, Clues, Format, Reading
from evalkit.rate.names import Names
from evalkit.rate.source import Source, text_of

_OTHER = ("both", "neither", "tie")  # answers that are no image


def recognizes(source: Source) -> bool:
    results = source.top.get("results")
    return isinstance(results, list | dict) and "info" in source.top


def read(source: Source, names: Names) -> Reading:
    reading, votes = Reading(), 0
    results = source.top["results"]
    if not isinstance(results, list):
        cell = Cell("results", text_of(results))
        reason = "not the results of a compare order, which are a list"
        reading.problems.append(source.problem("", cell, reason))
        return reading
    for number, item in enumerate(results, 1):
        line = f"item {number}"
        details = item.get("detailedResults") if isinstance(item, dict) else None
        totals = item.get("aggregatedResults") if isinstance(item, dict) else None
        images = [name for name in totals or {} if str(name).lower() not in _OTHER]
        if not isinstance(details, list) or len(images) != 2:
            reason = "no detailedResults of two images, with one vote each"
            reading.problems.append(source.problem(line, Cell("", text_of(item)), reason))
            continue
        prompt = Cell("context", str(item.get("context") or ""))
        left, right = (
            Clues(prompt, NOTHING, Cell("aggregatedResults", name), (prompt,)) for name in images
        )
        for vote in details:
            votes += 1
            value = Cell("votedFor", text_of(_get(vote, "votedFor") or ""))
            value = value._replace(text=_side(value.text, images))
            rater = f"{source.path.stem}-{votes}"
            reading.answers.append(
                Answer(line, rater, "preference", value, left, right, sides_shown=False)
            )
    if votes:
        reading.notes.append(
            f"{source.path.name} names no rater for {votes} votes; each counts as another rater."
        )
    return reading


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _side(text: str, images: list[str]) -> str:
    return ("left", "right")[images.index(text)] if text in images else text


FORMAT = Format("rapidata", "JSON with info and results[].detailedResults[]", recognizes, read)
