"""The requests of a judge: which are open, and how their answers are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import EvalkitError
from evalkit.files import append_lines
from evalkit.images import read_image
from evalkit.rate.judge import template
from evalkit.rate.serve.order import in_hash_order, items_per_rater, study_items
from evalkit.rate.serve.shown_images import size_of
from evalkit.ratings.files import append_ratings, key, ratings_of
from evalkit.ratings.judged import (
    Answered,
    Judge,
    Key,
    first_snapshot,
    key_of,
    read_journal,
    votes_of,
)
from evalkit.ratings.rating import parts
from evalkit.ratings.study import Question, Study
from evalkit.remote.chat import Chat, ChatAnswer
from evalkit.remote.jobs import Job
from evalkit.remote.journal import plus
from evalkit.remote.ledger import Ledger
from evalkit.remote.workers import Finished
from evalkit.run_folder import Run


class Asked(NamedTuple):
    """One request: a question about an item, with its images in one order."""

    item: str
    question: Question
    prompt: str  # id
    models: tuple[str, ...]  # of the images, in the order in which they are sent

    @property
    def key(self) -> Key:
        first = self.models[0] if len(self.models) == 2 else ""
        return self.item, self.question.name, first


def requests_of(study: Study) -> list[Asked]:
    """All requests of a study in the order in which they are sent: pairs in both orders.

    The order is that of a hash, so what is done when the money is used up is a random sample.
    """
    items = in_hash_order(study_items(study), study.seed, "judge")[: items_per_rater(study)]
    found: list[Asked] = []
    for item in items:
        prompt, *labels = parts(item)
        orders = [tuple(labels), tuple(reversed(labels))][: len(labels)]
        found += [Asked(item, one, prompt, models) for one in study.questions for models in orders]
    return found


class Judging:
    """A judge at work, as a remote.workers.Work.

    Args:
        prompts: the text of each prompt id.
        places: (prompt id, model) -> file.
    """

    unit = "answer"

    def __init__(
        self,
        run: Run,
        study: Study,
        judge: Judge,
        chat: Chat,
        prompts: Mapping[str, str],
        places: Mapping[tuple[str, str], Path],
    ) -> None:
        self.run, self.study, self.judge, self.chat = run, study, judge, chat
        self.label, self._prompts, self._places = judge.model, prompts, places
        self._ledger = Ledger(*read_journal(run, study.study), key_of)
        self.last, self.lost, self.spent = self._ledger.last, self._ledger.lost, self._ledger.spent
        self._sizes = {place: size_of(path) for place, path in places.items()}
        self._dearest = self._ledger.dearest()
        known = ratings_of(run, study.study, "model", history=True)
        self._voted = {key(rating) for rating in known}

    # --- what is open ---
    def jobs(self, retry_ambiguous: bool) -> list[Job]:
        """A heap of the requests without a last answer, and of those that may pass now."""
        jobs: list[tuple[Key, Job]] = []
        for order, asked in enumerate(requests_of(self.study)):
            item, question, first = asked.key
            where = {"item": item, "question": question, "first": first}
            name = f"prompt {asked.prompt} of {' and '.join(asked.models)}"
            jobs.append((asked.key, Job(0.0, order, asked, where, name)))
        return self._ledger.open_jobs(jobs, retry_ambiguous)

    @property
    def has_answers(self) -> bool:
        return first_snapshot(self.last) is not None

    def cost(self) -> float | None:
        """US dollars of all answers; None where one of them is not known."""
        total: float | None = 0.0
        for one in self.last.values():
            charged = one.cost is not None or one.status in ("ok", "malformed", "refused_output")
            total = plus(total, one.cost if charged else 0.0)
        return total

    # --- remote.workers.Work ---
    def price(self, job: Job) -> float | None:
        asked: Asked = job.what
        system, texts = self._request(asked)
        sizes = [self._sizes[asked.prompt, model] for model in asked.models]
        found = self.chat.estimate([system, *texts], sizes)
        return None if found is None else max(found, self._dearest)

    def ask(self, job: Job) -> ChatAnswer:
        asked: Asked = job.what
        system, texts = self._request(asked)
        images = iter([read_image(self._places[asked.prompt, model]) for model in asked.models])
        sent = [next(images) if text == template.IMAGE else text for text in texts]
        answer = self.chat.ask(sent, system=system)
        if answer.status == "ok":
            word, reason = self._parsed(asked, answer)
            if not word:  # it was charged: counted, and not asked again
                return replace(answer, status="malformed", detail=f"the answer is {reason}")
        return answer

    def made(self, job: Job, answer: ChatAnswer, seconds: float) -> None:
        return None

    def journal(self, rows: Sequence[Mapping[str, Any]]) -> None:
        append_lines(self.run.judge_requests_path(self.study.study), rows)

    def keep(self, finished: Sequence[Finished]) -> list[Answered]:
        """The answers on the disk first, then the votes that follow from them."""
        found = [self._answered(item) for item in finished]
        self.journal([vars(one) for one in found])
        for one in found:
            self._ledger.add(one.key, one)
        self._dearest = max([self._dearest, *(one.cost or 0.0 for one in found)])
        self.vote({(one.item, one.question) for one in found})
        return found

    def vote(self, only: set[tuple[str, str]] | None = None) -> None:
        """Write the votes that are not in the files yet; of all answers, or of some items."""
        snapshot = first_snapshot(self.last)
        last = {at: one for at, one in self.last.items() if only is None or at[:2] in only}
        for vote in votes_of(self.study, self.judge, last, snapshot).votes:
            if key(vote) not in self._voted:
                append_ratings(self.run.rater_path(vote.rater), [vote])
                self._voted.add(key(vote))

    def reason_to_stop(self) -> EvalkitError | None:
        known = first_snapshot(self.last)
        if self.judge.snapshots == "any" or known is None:
            return None
        others = (o.snapshot for o in self.last.values() if o.status == "ok")
        other = next((one for one in others if one != known), None)
        if other is None:
            return None
        return EvalkitError(
            f"{self.chat.place} answers as {other} now, and answered as {known} before: this is"
            " another judge.",
            "Its answers are kept, but are not counted as votes. Judge again under another name,"
            " `--study NAME`, or count all of them: `--snapshots any`.",
            3,
            code="rate-13",
        )

    def _request(self, asked: Asked) -> template.Asked:
        return template.request(self.study, asked.question, self._prompts[asked.prompt])

    def _parsed(self, asked: Asked, answer: ChatAnswer) -> tuple[str, str]:
        return template.parsed(answer.text, template.answers(self.study, asked.question))

    def _answered(self, item: Finished) -> Answered:
        job, answer = item.job, item.answer
        word, reason = self._parsed(job.what, answer) if answer.text else ("", "")
        return Answered(
            **job.key,
            status=answer.status,
            at=job.row("")["at"],
            answer=word,
            reason=reason,
            text=self.chat.redacted(answer.text, 1000),
            detail=answer.detail,
            model=answer.model,
            system_fingerprint=answer.system_fingerprint,
            seconds=item.seconds,
            **job.account,
        )
