"""Battles of an arena: `model_a`, `model_b` and `winner`, as JSON, JSON lines or CSV.

The keys are those of FastChat's `fastchat/serve/monitor/clean_battle_data.py`: `winner` is model_a,
model_b, tie or `tie (bothbad)`; `judge`, `tstamp` and `question_id` are optional.
"""

from __future__ import annotations

from datetime import UTC, datetime

from evalkit.rate.answers import NOTHING, Answer, Cell, Clues, Format, Reading
from evalkit.rate.names import Names
from evalkit.rate.source import Row, Source

_PROMPTS = ("prompt_id", "prompt", "text", "caption", "question", "instruction", "question_id")
_TEXTS = ("prompt_id", "prompt", "text", "caption")  # must be of the prompt of the images
_RATERS = ("judge", "rater", "user", "user_id", "voter", "session_id")
_IMAGES = (("image_a", "image_b"), ("left_image", "right_image"))


def recognizes(source: Source) -> bool:
    return {"model_a", "model_b", "winner"} <= set(source.keys) and bool(source.rows)


def read(source: Source, names: Names) -> Reading:
    reading = Reading()
    unnamed = 0
    for row in source.rows:
        prompt = next((cell for cell in _cells(row, _PROMPTS) if names.is_prompt(cell.text)), None)
        prompt = prompt or next(iter(_cells(row, _PROMPTS)), Cell("prompt", ""))
        images = next(
            (pair for pair in _IMAGES if all(row.cell(name).text for name in pair)), ("", "")
        )
        texts = tuple(_cells(row, _TEXTS))
        left, right = (
            Clues(prompt, row.cell(model), row.cell(image) if image else NOTHING, texts)
            for model, image in zip(("model_a", "model_b"), images, strict=True)
        )
        rater = next((cell.text for cell in _cells(row, _RATERS)), "")
        if not rater:
            unnamed += 1
            rater = f"{source.path.stem}-{row.line.split()[-1]}"
        reading.answers.append(
            Answer(
                row.line,
                rater,
                "preference",
                row.cell("winner"),
                left,
                right,
                started_at=_time(row.cell("tstamp").text),
            )
        )
    if unnamed:
        reading.notes.append(
            f"{source.path.name} names no rater for {unnamed} votes; each counts as another rater."
        )
    return reading


def _cells(row: Row, columns: tuple[str, ...]) -> list[Cell]:
    return [cell for name in columns if (cell := row.cell(name)).text]


def _time(seconds: str) -> str:
    try:
        return datetime.fromtimestamp(float(seconds), UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return ""


FORMAT = Format("arena", "battles: model_a, model_b, winner", recognizes, read)
