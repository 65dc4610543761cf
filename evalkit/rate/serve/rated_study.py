"""A study that is being rated: its run, images and raters."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.rate.serve.assignments import Assignment, join, read_assignments
from evalkit.rate.serve.ballot import Ballot
from evalkit.rate.serve.order import order
from evalkit.rate.serve.secret import Secret
from evalkit.rate.serve.shown_images import ShownImages
from evalkit.ratings.files import read_ratings
from evalkit.ratings.study import Study
from evalkit.run_folder import Run

log = logging.getLogger(__name__)
MOST_RATERS = 10_000  # of one study


class RatedStudy:
    """All raters of a study, those of earlier sessions included.

    Args:
        run: where the ratings are kept.
        study: as in its file.
        secret: of the run.
        images: all images of the study.
        prompts: the text of each prompt id.
        code: shown to a rater at the end; "" for none.
        invited: raters with a link of their own, whether they have come or not.
    """

    def __init__(
        self,
        run: Run,
        study: Study,
        secret: Secret,
        images: ShownImages,
        prompts: Mapping[str, str],
        code: str = "",
        invited: Sequence[str] = (),
    ) -> None:
        self.run, self.study, self.secret, self.images = run, study, secret, images
        self.invited, self._prompts, self._code = invited, prompts, code
        self._lock = threading.Lock()
        self.assignments = read_assignments(run, study.study)
        self.ballots = {rater: self._ballot(item) for rater, item in self.assignments.items()}

    def _ballot(self, assignment: Assignment) -> Ballot:
        rater = assignment.rater
        pages = order(self.study, rater, assignment.items)
        ballot = Ballot(self.run, self.study, rater, self.secret, pages)
        path = self.run.rater_path(rater)
        if path.is_file():
            ratings, damaged = read_ratings(path)
            if damaged:
                log.warning("%d damaged lines of %s are skipped", len(damaged), path)
            ballot.load(rating for rating in ratings if rating.study == self.study.study)
        return ballot

    def ballot(self, rater: str, prolific: bool = False) -> Ballot | None:
        """The ballot of a rater, who joins with the first call.

        None if there are too many raters, or if a rater with a link of their own has this id.
        """
        if prolific and rater in self.invited:
            return None
        with self._lock:
            known = self.assignments.get(rater)
            if known is None:
                if len(self.assignments) >= MOST_RATERS:
                    return None
                given = {name: ballot.ratings() for name, ballot in self.ballots.items()}
                others = self.assignments.values()
                made = join(self.run, self.study, rater, others, given, prolific)
                self.ballots[rater] = self._ballot(made)
                self.assignments[rater] = made
            elif prolific and not known.prolific:
                return None
            return self.ballots[rater]

    # --- answers to the page ---
    def state(self, ballot: Ballot) -> dict[str, Any]:
        study = self.study
        questions = [
            {"name": item.name, "text": item.text, "anchors": list(item.anchors)}
            for item in study.questions
        ]
        return {
            "study": {
                "title": study.title,
                "instructions": study.instructions,
                "mode": study.mode,
                "questions": questions,
            },
            "answered": [self._shown(ballot, page) for page in ballot.last_pages()],
            **self._now(ballot),
        }

    def vote(self, ballot: Ballot, votes: list[object]) -> dict[str, Any]:
        """Store votes. Raises EvalkitError if they cannot be written."""
        accepted, rejected = ballot.vote(votes)
        return {"accepted": accepted, "rejected": rejected, **self._now(ballot)}

    def _now(self, ballot: Ballot) -> dict[str, Any]:
        pages = ballot.next_pages()
        return {
            "session": ballot.session,
            "progress": ballot.progress(),
            "items": [self._shown(ballot, page) for page in pages],
            "finished": None if pages else {"code": self._code},
        }

    def _shown(self, ballot: Ballot, page: Any) -> dict[str, Any]:
        return ballot.shown(page, self._prompts[page.prompt], self.images.size)
