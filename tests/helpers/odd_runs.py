"""Run folders that a report has to make sense of, by name."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from report_runs import add_groups, make_comparisons, make_run

from evalkit.core import Prompt
from evalkit.run_folder import Run

LONG = "a lighthouse at dusk, oil on canvas, " * 55  # 2,035 characters
WORDS = {
    "right to left": ["قطة حمراء فوق طاولة خشبية", "שלוש ציפורים על ענף, ליד agam 12"],
    "emoji": ["👩‍🚀🐎 on the 🌕", "🏳️‍🌈 flag, 漢字, e\u0301, \U0001f9ff" * 3],
    "long": [LONG, "x" * 2000],
}
FIFTY = tuple(f"organisation/diffusion-model-finetuned-step-{step:05d}-ema" for step in range(50))


def _with_texts(path: Path, texts: list[str]) -> Run:
    run = make_run(path, 12, hostile=False)
    prompts = run.prompts()
    prompts[: len(texts)] = [
        Prompt(prompt.id, text, prompt.group) for prompt, text in zip(prompts, texts, strict=False)
    ]
    run.write_prompts(prompts)
    return run


def _fifty(path: Path) -> Run:
    run = make_run(path, 12, FIFTY, hostile=False)
    add_groups(run)
    make_comparisons(run, FIFTY)
    return run


def _unscored(path: Path) -> Run:
    run = make_run(path, 12, hostile=False)
    for file in (run.metrics_path, run.scores_path, run.protocol_path):
        file.unlink()
    return run


def _without_images(path: Path) -> Run:
    run = make_run(path, 12, hostile=False)
    make_comparisons(run, ("dalle", "gan"))
    shutil.rmtree(path / "images")
    return run


def _deleted(path: Path) -> Run:
    run = make_run(path, 12, hostile=False)
    for image in path.rglob("*.png"):
        image.unlink()
    return run


def _without_values(path: Path) -> Run:
    """Not a number everywhere: null in metrics.json, and nan in scores.csv."""
    run = make_run(path, 12, hostile=False)
    rows = [
        dataclasses.replace(row, value=None, low=None, high=None, note="not measured: it is NaN")
        for row in run.metrics()
    ]
    run.write_metrics(rows)
    run.write_scores([(*list(row.values())[:5], "nan") for row in run.scores()])
    return run


ODD: dict[str, Callable[[Path], Run]] = {
    "one model": lambda path: make_run(path, 12, ("dalle",), hostile=False),
    "fifty models": _fifty,
    "one prompt": lambda path: make_run(path, 1, hostile=False),
    "not scored": _unscored,
    "no images": _without_images,
    "deleted images": _deleted,
    "no values": _without_values,
    **{name: (lambda path, texts=texts: _with_texts(path, texts)) for name, texts in WORDS.items()},
}
