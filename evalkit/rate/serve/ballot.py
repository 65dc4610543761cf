"""One rater in one study: the pages, the answers, and what a vote changes."""

from __future__ import annotations

import dataclasses
import datetime
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evalkit.rate.serve.order import Asked, Shown
from evalkit.rate.serve.secret import Secret
from evalkit.ratings.files import append_ratings
from evalkit.ratings.rating import BOTH_BAD, CANNOT_TELL, NO, TIE, YES, Rating
from evalkit.ratings.study import Question, Study
from evalkit.run_folder import Run

AHEAD = 5  # items that the page may load in advance
BACK = 50  # answered items that the page may show again
MOST_VOTES = 50  # of one request
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_LONGEST = 366 * 24 * 3600 * 1000  # milliseconds
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SIDES = ("left", "right")


class WrongVoteError(ValueError):
    """A vote that cannot be stored, with the reason."""


class Ballot:
    """The pages and the answers of one rater.

    Methods may be called from several threads; a lock keeps the votes of one rater in order.
    """

    def __init__(
        self, run: Run, study: Study, rater: str, secret: Secret, pages: Sequence[Asked]
    ) -> None:
        self.study, self.rater, self.pages = study, rater, pages
        self.session = secret.opaque("session", study.study, rater)  # for the browser
        self._path = run.rater_path(rater)
        self._lock = threading.Lock()
        self._ids = [secret.opaque("item", study.study, rater, p.item, p.check) for p in pages]
        self._page_of = dict(zip(self._ids, pages, strict=True))
        self._images = {
            secret.opaque("image", study.study, rater, *map(str, shown)): shown
            for page in pages
            for shown in page.images
        }
        self._image_ids = {shown: opaque for opaque, shown in self._images.items()}
        self._answers: dict[tuple[str, str, str], list[Rating]] = {}  # with all revisions

    def load(self, ratings: Iterable[Rating]) -> None:
        """Take the answers that the rater's file holds, with their history."""
        for rating in sorted(ratings, key=lambda rating: rating.revision):
            self._answers.setdefault((rating.item, rating.check, rating.question), []).append(
                rating
            )

    def ratings(self) -> list[Rating]:
        """The latest answers."""
        with self._lock:
            return [given[-1] for given in self._answers.values()]

    def image(self, opaque: str) -> Shown | None:
        """The image behind an id of this rater."""
        return self._images.get(opaque)

    # --- what the page shows ---
    def progress(self) -> dict[str, int]:
        return {"done": sum(map(self._is_done, self.pages)), "total": len(self.pages)}

    def next_pages(self) -> list[Asked]:
        return [page for page in self.pages if not self._is_done(page)][:AHEAD]

    def last_pages(self) -> list[Asked]:
        return [page for page in self.pages if self._is_done(page)][-BACK:]

    def shown(self, page: Asked, prompt: str, size: tuple[int, int]) -> dict[str, Any]:
        """A page as the browser gets it: without any name."""
        latest = {
            question.name: given[-1]
            for question in self.study.questions
            if (given := self._given(page, question))
        }
        width, height = size
        return {
            "id": self._ids[page.position - 1],
            "position": page.position,
            "prompt": prompt,
            "images": [
                {"url": f"/images/{self._image_ids[shown]}.png", "width": width, "height": height}
                for shown in page.images
            ],
            "answers": {name: _as_shown(page, rating) for name, rating in latest.items()},
            "revision": max((rating.revision for rating in latest.values()), default=0),
        }

    def _given(self, page: Asked, question: Question) -> list[Rating]:
        return self._answers.get((page.item, page.check, question.name), [])

    def _is_done(self, page: Asked) -> bool:
        return all(self._given(page, question) for question in self.study.questions)

    # --- votes ---
    def vote(self, votes: Sequence[object]) -> tuple[list[str], list[dict[str, str]]]:
        """Store votes; returns the ids of those that are on disk, and the wrong ones with reasons.

        A vote that is stored already is accepted and changes nothing. Raises EvalkitError if they
        cannot be written; then none of them is stored.
        """
        with self._lock:
            accepted: list[str] = []
            rejected: list[dict[str, str]] = []
            new: list[Rating] = []
            for vote in votes:
                try:
                    name, rating = self._checked(vote)
                except WrongVoteError as error:
                    rejected.append({"id": _id(vote), "reason": str(error)})
                    continue
                key = (rating.item, rating.check, rating.question)
                known = [*self._answers.get(key, []), *(r for r in new if _key(r) == key)]
                if not any(_same(rating, other) for other in known):
                    next_revision = max((other.revision for other in known), default=-1) + 1
                    new.append(dataclasses.replace(rating, revision=next_revision))
                accepted.append(name)
            if new:
                append_ratings(self._path, new)
            self.load(new)
            return accepted, rejected

    def _checked(self, vote: object) -> tuple[str, Rating]:
        """The id of a vote and its row. Raises WrongVoteError."""
        if not isinstance(vote, dict):
            raise WrongVoteError("The vote is not an object.")
        name = _id(vote)
        item, question, response, at, ms = (
            vote.get(key) for key in ("item", "question", "response", "started_at", "ms")
        )
        if not name:
            raise WrongVoteError("The id is not 1 to 64 letters, digits, - and _.")
        page = self._page_of.get(item) if isinstance(item, str) else None
        if page is None:
            raise WrongVoteError("There is no such item on this list.")
        asked = next((q for q in self.study.questions if q.name == question), None)
        if asked is None:
            raise WrongVoteError("The study does not ask this question.")
        if response not in responses(self.study, asked):
            raise WrongVoteError("This question has no such answer.")
        if not isinstance(at, str) or not _is_time(at):
            raise WrongVoteError(
                "started_at is not a time in UTC such as 2026-01-31T12:00:00.000Z."
            )
        if type(ms) is not int or not 0 <= ms <= _LONGEST:
            raise WrongVoteError("ms is not a number of milliseconds.")
        pairwise = len(page.images) == 2
        sides: Mapping[str, str] = dict(zip(_SIDES, page.labels, strict=True)) if pairwise else {}
        rating = Rating(
            study=self.study.study,
            rater=self.rater,
            kind="human",
            item=page.item,
            prompt_id=page.prompt,
            model=page.model,
            question=asked.name,
            response=sides.get(str(response), str(response)),
            shown_left=sides.get("left", ""),
            position=page.position,
            started_at=at,
            ms=ms,
            check=page.check,
        )
        return name, rating


def responses(study: Study, question: Question) -> tuple[str, ...]:
    """What a rater may answer, in the words of the protocol."""
    if study.mode == "pairwise":
        return (*_SIDES, TIE, BOTH_BAD, CANNOT_TELL)
    if study.mode == "scale":
        return (*(str(point + 1) for point in range(len(question.anchors))), CANNOT_TELL)
    return (YES, NO, CANNOT_TELL)


def _id(vote: object) -> str:
    """The client's id of a vote; "" if it has none."""
    name = vote.get("id") if isinstance(vote, dict) else None
    return name if isinstance(name, str) and _ID.fullmatch(name) else ""


def _as_shown(page: Asked, rating: Rating) -> str:
    """A stored response in the words of the protocol."""
    if len(page.images) == 2 and rating.response in page.labels:
        return _SIDES[page.labels.index(rating.response)]
    return rating.response


def _key(rating: Rating) -> tuple[str, str, str]:
    return rating.item, rating.check, rating.question


def _same(a: Rating, b: Rating) -> bool:
    return (a.response, a.started_at) == (b.response, b.started_at)


def _is_time(text: str) -> bool:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return _TIME.fullmatch(text) is not None
