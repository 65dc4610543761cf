"""ImagenHub's tables: a row per sample, a column per model, cells `[SC,PQ]`, a file per rater.

Shape of `eval/human_ratings/Text-To-Image/Text-To-Image_rater1.tsv` in TIGER-AI-Lab/ImagenHub: a
column `uid` with `sample_0.jpg`, and cells such as `[0.5,1]`, also `[1, 1]` with a blank. Both
scores are 0, 0.5 or 1: semantic consistency and perceptual quality.
"""

from __future__ import annotations

import re

from evalkit.rate.answers import NOTHING, Answer, Cell, Clues, Format, Reading
from evalkit.rate.names import Names
from evalkit.rate.source import Source

OPTIONS = ("0", "0.5", "1")
QUESTIONS = ("semantic_consistency", "perceptual_quality")
_CELL = re.compile(r"\[?\s*([\d.]+)\s*[,;]\s*([\d.]+)\s*\]?")
_PAIR = re.compile(r"\[\s*[^\],]+,[^\],]+\]")


def recognizes(source: Source) -> bool:
    """By the cells: a table of a rater's own may have a column `uid` too."""
    return source.columns[:1] == ("uid",) and any(
        _PAIR.fullmatch(str(value).strip())
        for row in source.rows[:20]
        for value in list(row.values.values())[1:]
    )


def read(source: Source, names: Names) -> Reading:
    reading = Reading()
    rater = re.search(r"rater[ _-]?\w+$", source.path.stem, re.IGNORECASE)
    for row in source.rows:
        for column in source.columns[1:]:
            cell = row.cell(column)
            if not cell.text:
                reading.left_out.append(source.problem(row.line, cell, "no answer"))
                continue
            found = _CELL.fullmatch(cell.text)
            if not found:
                reason = "expected two scores such as [0.5,1]"
                reading.problems.append(source.problem(row.line, cell, reason))
                continue
            for question, score in zip(QUESTIONS, found.groups(), strict=True):
                value = re.sub(r"\.0+$", "", score)
                reading.answers.append(
                    Answer(
                        row.line,
                        rater[0] if rater else source.path.stem,
                        question,
                        Cell(column, value),
                        Clues(row.cell("uid"), Cell(column, column), NOTHING),
                        options=OPTIONS,
                    )
                )
    return reading


FORMAT = Format("imagenhub", "uid, a column per model, cells [SC,PQ]", recognizes, read)
