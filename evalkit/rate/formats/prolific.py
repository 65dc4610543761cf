"""Prolific's table of submissions (demographic export): who took part, and with which outcome.

It holds no ratings. Raters whose submission does not count are left out of the other files of the
import, and `ratings/excluded.csv` names them, so that answers on our own page do not count either.
Columns as Prolific writes them: `Submission id,Participant id,Status,…,Completion code`.
"""

from __future__ import annotations

from evalkit.rate.answers import Format, Reading
from evalkit.rate.names import Names
from evalkit.rate.source import Row, Source

# Of a finished submission. A participant with another status has returned it, timed out, or was
# rejected, and is often not paid: the answers were not given for the study as agreed.
_GOOD = ("APPROVED", "AWAITING REVIEW", "AWAITING_REVIEW", "COMPLETED", "PARTIALLY APPROVED")
SOURCE = "Prolific"  # begins the reasons
_BAD_CODES = ("NOCODE",)


def recognizes(source: Source) -> bool:
    return {"participant id", "status"} <= {_plain(name) for name in source.columns}


def _plain(name: str) -> str:
    return name.lower().replace("_", " ")


def read(source: Source, names: Names) -> Reading:
    reading = Reading()
    columns = {_plain(name): name for name in source.columns}
    for row in source.rows:
        participant = row.cell(columns["participant id"])
        if not participant.text:
            reading.problems.append(source.problem(row.line, participant, "no participant id"))
            continue
        reason = _reason(row, columns)
        if reason:
            reading.excluded_raters[participant.text] = reason
        else:
            reading.good_raters.add(participant.text)
    return reading


def _reason(row: Row, columns: dict[str, str]) -> str:
    status = row.cell(columns["status"]).text
    code = row.cell(columns.get("completion code", "")).text
    if status.upper() not in _GOOD:
        return f"{SOURCE}: {status or 'no status'}"
    if code.upper() in _BAD_CODES:
        return f"{SOURCE}: completion code {code}"
    return ""


FORMAT = Format("prolific", "participants: Participant id, Status", recognizes, read)
