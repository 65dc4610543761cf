"""The answers of a model that judges a study: its journal, and the votes that follow from them.

`ratings/<study>.judge.json` says who judges and how, and is written before the first request.
`ratings/<study>.requests.jsonl` is the journal: a row before each request is sent, one for each
answer after which it is sent again, and one with `attempts` for each last answer. Votes follow from
last answers, so a kill loses none.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from evalkit.core import EvalkitError, Status
from evalkit.files import read_lines, with_check, write_atomically
from evalkit.ratings.rating import TIE, Rating, parts
from evalkit.ratings.study import Study
from evalkit.run_folder import Run
from evalkit.run_folder.reading import reading, typed

Key = tuple[str, str, str]  # item, question, the label of the first image ("" for a single one)
OTHER_SNAPSHOT, MIXED = "another snapshot of the model", "the two orders have two snapshots"
_REASONS = {"refused_input": "refused", "refused_output": "refused"}


@dataclass(frozen=True)
class Judge:
    """The content of `ratings/<study>.judge.json`: whatever changes makes another judge."""

    model: str  # as it is requested
    fingerprint: str  # of the client: address, parameters, size of images
    template: str  # a hash of what the model reads besides prompts and images
    snapshots: str = "one"  # "any": answers of all snapshots of the model are votes


class Snapshot(NamedTuple):
    """What answered, as the service reports it."""

    model: str
    system_fingerprint: str

    def __str__(self) -> str:
        own = f" ({self.system_fingerprint})" if self.system_fingerprint else ""
        return (self.model or "a model that is not named") + own


@dataclass(frozen=True)
class Answered:
    """A last answer: a row of the journal."""

    item: str
    question: str
    first: str  # the label of the image that is shown first; "" for a single image
    status: Status
    at: float  # time.time()
    answer: str = ""  # in the declared form; "" where there is none
    reason: str = ""  # why there is none
    text: str = ""  # what the model wrote, in one line
    detail: str = ""
    model: str = ""
    system_fingerprint: str = ""
    seconds: float = 0.0
    attempts: int = 0
    cost: float | None = None
    possible_charges: int = 0
    possible_cost: float | None = 0.0

    @property
    def key(self) -> Key:
        return self.item, self.question, self.first

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(self.model, self.system_fingerprint)


def key_of(row: Mapping[str, Any]) -> Key:
    return row["item"], row["question"], row["first"]


def write_judge(run: Run, study: str, judge: Judge) -> None:
    text = json.dumps(with_check(dataclasses.asdict(judge)), indent=1, ensure_ascii=False)
    write_atomically(run.judge_path(study), f"{text}\n")


def read_judge(run: Run, study: str) -> Judge | None:
    """Who judges a study; None for a study without a judge. Raises EvalkitError for damage."""
    path = run.judge_path(study)
    if not os.path.lexists(path):
        return None
    with reading(path, "Restore the file, or give the judge another study: `--study NAME`."):
        found = json.loads(path.read_text(encoding="utf-8"))
        found.pop("check", None)
        return typed(Judge, found)


def read_journal(run: Run, study: str) -> tuple[list[dict[str, Any]], dict[Key, Answered]]:
    """The rows of requests in order of time, and the last answers."""
    path, rows = run.judge_requests_path(study), []
    last: dict[Key, Answered] = {}
    if os.path.lexists(path):
        with reading(path, "Restore the file: it holds answers that were paid for."):
            for row in read_lines(path):
                if "attempts" in row:
                    answered = typed(Answered, row)
                    last.pop(answered.key, None)  # in order of time
                    last[answered.key] = answered
                else:
                    _ = key_of(row), str(row["status"]), float(row.get("price") or 0)
                    rows.append(row)
    return rows, last


class Votes(NamedTuple):
    """What the last answers say."""

    votes: list[Rating]
    without: Counter[str]  # items without a vote although they were asked, by reason


def votes_of(
    study: Study,
    judge: Judge,
    last: Mapping[Key, Answered],
    snapshot: Snapshot | None = None,
    question: str = "",
) -> Votes:
    """The votes of a judge. A pair has one if both orders have an answer.

    A win counts if it is the answer to both orders; all else is a tie.

    Args:
        snapshot: of the judge, where `last` are not all answers.
        question: to count; "" for all of them.
    """
    snapshot = snapshot or first_snapshot(last)
    grouped: dict[tuple[str, str], list[Answered]] = {}
    for one in last.values():
        if question in ("", one.question):
            grouped.setdefault((one.item, one.question), []).append(one)
    votes: list[Rating] = []
    without: Counter[str] = Counter()
    for group in grouped.values():
        made = _vote(study, judge, group, snapshot)
        if isinstance(made, Rating):
            votes.append(made)
        elif made:
            without[made] += 1
    return Votes(votes, without)


def first_snapshot(last: Mapping[Key, Answered]) -> Snapshot | None:
    """That of the first answer: what a judge is."""
    return next((one.snapshot for one in last.values() if one.status == "ok"), None)


def preferred(one: Answered) -> str:
    """The label that an answer about a pair prefers, or a tie."""
    labels = parts(one.item)[1:]
    if one.answer == TIE:
        return TIE
    second = next(label for label in labels if label != one.first)
    return one.first if one.answer == "first" else second


def _vote(
    study: Study, judge: Judge, group: Sequence[Answered], snapshot: Snapshot | None
) -> Rating | str:
    """The vote on one item and question, or why there is none; "" while an order is open."""
    if bad := [one for one in group if not one.answer]:
        return bad[0].reason or _REASONS.get(bad[0].status, bad[0].status)
    pairwise = study.mode == "pairwise"
    if len(group) < 1 + pairwise:
        return ""
    if len({one.snapshot for one in group}) > 1:
        return MIXED
    one = group[0]
    if judge.snapshots == "one" and one.snapshot != snapshot:
        return OTHER_SNAPSHOT
    said = [preferred(each) for each in group] if pairwise else [one.answer]
    prompt, *labels = parts(one.item)
    at = datetime.datetime.fromtimestamp(one.at, datetime.UTC)
    return Rating(
        study=study.study,
        rater=rater_of(judge, one.snapshot),
        kind="model",
        item=one.item,
        prompt_id=prompt,
        model="" if pairwise else labels[0],
        question=one.question,
        response=said[0] if len(set(said)) == 1 else TIE,
        started_at=f"{at:%Y-%m-%dT%H:%M:%S}Z",
    )


def rater_of(judge: Judge, snapshot: Snapshot) -> str:
    """The rater of a judge and a snapshot: a part of the model's name and a hash of both."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", judge.model).strip("-")[:40] or "model"
    content = json.dumps([judge.model, judge.fingerprint, judge.template, *snapshot])
    return f"{plain}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def refuse_other_judge(run: Run, study: str, judge: Judge, known: Judge) -> None:
    """Raise EvalkitError unless both are one judge; `snapshots` may differ."""
    for name in ("model", "fingerprint", "template"):
        old, new = getattr(known, name), getattr(judge, name)
        if old != new:
            raise EvalkitError(
                f"The study {study!r} of {run.path} is judged by another judge: its {name} is"
                f" {old!r}, not {new!r}.",
                "Answers of two judges are not mixed. Give this one a study: `--study NAME`.",
                code="ratings-8",
            )
