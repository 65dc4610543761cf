"""Appen's (CrowdFlower's) full report: one row per judgment, with `_worker_id` and `_trust`.

Columns as in public exports: `_unit_id,_created_at,_golden,_id,_missed,_started_at,_tainted,
_channel,_trust,_worker_id,_country,_region,_city,_ip`, then the answers, `<answer>_gold`, and the
data. Rows with `_golden` are test questions. The aggregated report has no workers.
"""

from __future__ import annotations

from evalkit.rate.answers import Answer, Cell, Format, Reading
from evalkit.rate.data_columns import DataColumns, data_columns
from evalkit.rate.names import Names
from evalkit.rate.source import Source
from evalkit.rate.times import duration_ms, iso

TRUE = ("true", "1", "yes")


def recognizes(source: Source) -> bool:
    return "_unit_id" in source.columns


def read(source: Source, names: Names) -> Reading:
    reading = Reading()
    if "_worker_id" not in source.columns:
        cell = Cell("_unit_id", "")
        reason = "an aggregated report, without _worker_id; export the full report"
        reading.problems.append(source.problem("1", cell, reason))
        return reading
    own = [name for name in source.columns if not name.startswith("_")]
    gold = {name.removesuffix("_gold") for name in own if name.endswith("_gold")}
    rest = [name for name in own if name not in gold and not name.endswith("_gold")]
    found = data_columns(rest, source.rows, names)
    if not isinstance(found, DataColumns) or not found.sides:
        reason = found if isinstance(found, str) else "has no column of models or images"
        reading.problems.append(source.problem("1", Cell("", ""), reason))
        return reading
    # Without test questions there are no columns _gold; then the other columns are the answers.
    used = {*found.prompts, *found.models, *found.images}
    questions = sorted(gold) or [name for name in rest if name not in used]
    for row in source.rows:
        if row.cell("_golden").text.lower() in TRUE:
            reading.left_out.append(source.problem(row.line, row.cell("_golden"), "test question"))
            continue
        clues = found.clues(row)
        started, ended = (row.cell(name).text for name in ("_started_at", "_created_at"))
        for question in questions:
            rater, value = row.cell("_worker_id").text, row.cell(question)
            reading.answers.append(
                Answer(
                    *(row.line, rater, question, value, clues[0]),
                    right=clues[1] if len(clues) > 1 else None,
                    started_at=iso(started),
                    ms=duration_ms(started, ended),
                )
            )
    trusts = {
        row.cell("_worker_id").text: float(row.cell("_trust").text)
        for row in source.rows
        if row.cell("_trust").text.replace(".", "", 1).isdecimal()
    }
    if trusts:
        low = min(trusts, key=lambda rater: trusts[rater])
        reading.notes.append(
            f"Appen's trust in its {len(trusts)} workers is {trusts[low]:.2f} ({low}) to"
            f" {max(trusts.values()):.2f}; all of them are imported."
        )
    return reading


FORMAT = Format("appen", "_unit_id, _worker_id, _trust, _golden", recognizes, read)
