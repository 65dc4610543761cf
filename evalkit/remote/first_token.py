"""The probabilities of the first token of an answer: what VQAScore reads, asked of a service.

Requests are sent, counted and resumed as those of a judge: each is in the journal before it is
sent, each last answer before it is used, and what may have been charged is not sent again by
itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from PIL.Image import Image

from evalkit.core import EvalkitError, Status
from evalkit.files import append_lines, read_lines
from evalkit.remote import retry
from evalkit.remote.budget import Budget
from evalkit.remote.chat import Chat, ChatAnswer
from evalkit.remote.concurrency import FIRST, Concurrency
from evalkit.remote.jobs import Job
from evalkit.remote.ledger import Ledger
from evalkit.remote.send import send
from evalkit.remote.workers import Finished
from evalkit.run_folder.reading import reading, typed
from evalkit.scorer import NoAnswer

TOP = 20  # tokens; the most that OpenAI lists
_ROUNDING = 1e-3  # of probabilities, whose logarithms have few digits
_LOST = "ambiguous: a process ended before the answer came; it may have been charged"


class Asked(NamedTuple):
    """A question about an image (RGB)."""

    image: Image
    question: str


@dataclass(frozen=True)
class Heard:
    """A last answer: a row of the journal."""

    key: str
    status: Status
    at: float  # time.time()
    first: dict = field(default_factory=dict)  # the listed first tokens: their probabilities
    detail: str = ""
    snapshot: str = ""  # what answered, as the service reports it; "" if it does not
    attempts: int = 0
    cost: float | None = None
    possible_charges: int = 0
    possible_cost: float | None = 0.0


class FirstTokens:
    """A service that is asked for first tokens, as a remote.workers.Work.

    Args:
        chat: the client.
        journal: the file of JSON lines to read and to add to; None to keep nothing.
        max_cost: the limit in US dollars, over all processes with this journal.
        concurrency: the most requests in flight.
        retry_ambiguous: ask again what was sent and got no usable answer; it may be charged twice.
        any_snapshot: take the answers of all snapshots of the model; else another one than the
            first stops the work.
        option: how the options are written, for hints: "--set vqa_score.{}".

    Raises EvalkitError for a limit without prices, and for a damaged journal.
    """

    unit = "answer"

    def __init__(
        self,
        chat: Chat,
        journal: Path | None = None,
        *,
        max_cost: float | None = None,
        concurrency: int = 1,
        retry_ambiguous: bool = False,
        any_snapshot: bool = False,
        option: str = "--set {}",
    ) -> None:
        if concurrency < 1:
            raise EvalkitError(
                f"concurrency is {concurrency}; expected 1 or more.", code="remote-15"
            )
        self.label, self._chat, self._path = chat.options.model, chat, journal
        self._again, self._any, self._option = retry_ambiguous, any_snapshot, option
        self._without = False  # whether an answer had no probabilities
        self._budget = Budget(max_cost, option=f"`{option.format('max_cost=…')}`")
        self._size = -1  # bytes of the journal as it is known here
        self._catch_up()
        prices = f"`{option.format('input_price=…')}` and `{option.format('output_price=…')}`"
        price = chat.estimate([], [])
        self._budget.check(self.label, price, f"Give the US dollars per million tokens: {prices}.")
        self._pace = Concurrency(self.label, min(FIRST, concurrency), float(concurrency))

    def ask_all(self, asked: Sequence[Asked]) -> list[Mapping[str, float] | NoAnswer]:
        """The listed first tokens of each answer (as the model writes them, " Yes" and "yes" are
        two) and their probabilities, or why there are none.

        Raises EvalkitError where sending stopped (a key or a quota, the limit of cost, a service
        that fails), and for a model without probabilities. The answers so far are kept.
        """
        self._catch_up()
        keys = [self._key(one) for one in asked]
        jobs = (
            (key, Job(0.0, order, one, {"key": key}, f"question {order + 1} of {len(asked)}"))
            for order, (key, one) in enumerate(dict(zip(keys, asked, strict=True)).items())
        )
        if found := self._ledger.open_jobs(jobs, self._again):
            send(self, found, self._budget, self._again, pace=self._pace)
        if error := self.reason_to_stop():
            raise error
        return [self._heard(key) for key in keys]

    def _catch_up(self) -> None:
        """Read the journal again where another scorer of this model has added to it.

        Its answers are known then, and what it spent counts against the limit.
        """
        if self._size != (size := self._bytes()):
            self._ledger = Ledger(*_read(self._path), _key_of)
            self._dearest, self._budget.spent = self._ledger.dearest(), self._ledger.spent()
            self._snapshots = dict[str, None]()
            self._note_snapshots(self._ledger.last.values())
            self._size = size

    def _note_snapshots(self, answers: Iterable[Heard]) -> None:
        """Keep what answered, the first one first."""
        said = (one.snapshot for one in answers if one.status == "ok")
        self._snapshots |= dict.fromkeys(filter(None, said))

    def _bytes(self) -> int:
        path = self._path
        return path.stat().st_size if path is not None and path.exists() else 0

    def _key(self, one: Asked) -> str:
        image = one.image
        content = json.dumps([self._chat.fingerprint, one.question, image.size, image.mode])
        return hashlib.sha256(content.encode() + image.tobytes()).hexdigest()[:32]

    def _heard(self, key: str) -> Mapping[str, float] | NoAnswer:
        last = self._ledger.last.get(key)
        if self._ledger.is_lost(key) or last is None:
            return NoAnswer(_LOST, again=True)
        if last.status == "ok":
            return last.first
        said = f": {last.detail}" if last.detail else ""
        # What may be asked again later; a refusal stays.
        again = last.status in (*retry.PASSING, *retry.DOUBTFUL, "bad_request")
        return NoAnswer(f"{last.status}{said}", again)

    # --- remote.workers.Work ---
    def price(self, job: Job) -> float | None:
        asked: Asked = job.what
        found = self._chat.estimate([asked.question], [asked.image.size])
        return None if found is None else max(found, self._dearest)

    def ask(self, job: Job) -> ChatAnswer:
        answer = self._chat.ask([*job.what], top_logprobs=TOP)
        if answer.status != "ok":
            return answer
        if not answer.first:  # another setting of the service may send them
            self._without = True
            return replace(answer, status="bad_request", detail="no token probabilities")
        if not 0 < sum(answer.first.values()) <= 1 + _ROUNDING:
            detail = "the token probabilities are no probabilities"
            return replace(answer, status="malformed", detail=detail)
        return answer

    def made(self, job: Job, answer: ChatAnswer, seconds: float) -> None:
        return None

    def journal(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            append_lines(self._path, rows)
            self._size = self._bytes()

    def keep(self, finished: Sequence[Finished]) -> list[Heard]:
        found = [
            Heard(
                **item.job.key,
                status=item.answer.status,
                at=item.job.row("")["at"],
                first={t: p for t, p in item.answer.first.items() if not self._chat.has_key(t)},
                detail=item.answer.detail,
                snapshot=" ".join(
                    filter(None, (item.answer.model, item.answer.system_fingerprint))
                ),
                **item.job.account,
            )
            for item in finished
        ]
        self.journal([vars(one) for one in found])
        self._note_snapshots(found)
        for one in found:
            self._ledger.add(one.key, one)
        self._dearest = max([self._dearest, *(one.cost or 0.0 for one in found)])
        return found

    def reason_to_stop(self) -> EvalkitError | None:
        if len(self._snapshots) > 1 and not self._any:
            first, other, *_ = self._snapshots
            return EvalkitError(
                f"{self._chat.place} answers as {other!r} now, and answered as {first!r} before:"
                " this is another model.",
                "Its answers are kept, but are not counted. Name one snapshot of the model, score"
                " another run folder, or take the answers of all snapshots:"
                f" `{self._option.format('snapshots=any')}`.",
                3,
                code="remote-24",
            )
        if not self._without:
            return None
        return EvalkitError(
            f"The model {self.label!r} of {self._chat.place} sends no token probabilities;"
            " expected logprobs with top_logprobs in its answers.",
            "Use a model and a service that send them, such as vLLM.",
            code="remote-16",
        )


def _key_of(row: Mapping[str, Any]) -> str:
    return row["key"]


def _read(path: Path | None) -> tuple[list[dict[str, Any]], dict[str, Heard]]:
    """The rows of requests in order of time, and the last answers."""
    rows: list[dict[str, Any]] = []
    last: dict[str, Heard] = {}
    if path is not None and os.path.lexists(path):
        with reading(path, "Restore the file: it holds answers that were paid for."):
            for row in read_lines(path):
                if "attempts" in row:
                    one = typed(Heard, row)
                    numbers = {str(token): float(p) for token, p in one.first.items()}
                    last[one.key] = replace(one, first=numbers)
                else:
                    _ = str(row["key"]), str(row["status"]), float(row.get("price") or 0)
                    rows.append(row)
    return rows, last
