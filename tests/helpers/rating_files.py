"""Files of ratings as other tools write them, for a run of three models and twelve prompts."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ratings_for_tests import make_run

from evalkit.rate.rejected import REJECTED
from evalkit.ratings.files import ratings_of
from evalkit.ratings.rating import Rating
from evalkit.run_folder import Run

MODELS = ("sdxl", "dalle", "flux-1")
PROMPTS = (
    "a cat, asleep",
    "two dogs",
    "the café\u2019s \u201cmenu\u201d",
    "a 🦓 on a beach",
    *(f"scene number {at}" for at in range(8)),
)


def rated_run(path: Path) -> Run:
    return make_run(path, PROMPTS, MODELS)


def table(rows: Sequence[Mapping[str, object]], delimiter: str = ",", end: str = "\r\n") -> str:
    """A CSV text of these rows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def scale_rows(
    raters: Sequence[str] = ("r1", "r2", "r3"), low: int = 1, **more: object
) -> list[dict[str, object]]:
    """A long table: every rater rates each image of two models on a scale of five points."""
    return [
        {
            "rater": rater,
            "prompt_id": f"{prompt:05d}",
            "model": model,
            "question": "alignment",
            "response": low + (prompt + at) % 5,
            **more,
        }
        for rater in raters
        for prompt in range(10)
        for at, model in enumerate(MODELS[:2])
    ]


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def imported(run: Run) -> list[Rating]:
    return ratings_of(run)


def rejected(run: Run) -> list[dict[str, str]]:
    with run.rejected_path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert all(tuple(row) == REJECTED for row in rows)
    return rows
