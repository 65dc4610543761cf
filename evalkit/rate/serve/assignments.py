"""`ratings/<study>.assignments.jsonl`: the items of each rater, written when the rater joins."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evalkit.core import EvalkitError
from evalkit.files import append_lines, read_lines
from evalkit.rate.serve.order import Assigned, assign
from evalkit.ratings.rating import Rating
from evalkit.ratings.study import Study
from evalkit.run_folder import Run

ACTIVE = datetime.timedelta(hours=1)  # after the last answer, a rater may still come back


@dataclass(frozen=True)
class Assignment:
    """The items of one rater. They never change."""

    rater: str
    items: tuple[Assigned, ...]
    joined_at: str  # ISO 8601 in UTC
    prolific: bool = False  # joined with the link for Prolific, not with a link of the rater's own


def read_assignments(run: Run, study: str) -> dict[str, Assignment]:
    """The assignments of a study, by rater; {} before the first one.

    A line that a kill cut short is no assignment: its items were never shown. Raises EvalkitError
    for a damaged file.
    """
    path = run.assignments_path(study)
    if not path.is_file():
        return {}
    found: dict[str, Assignment] = {}
    try:
        for row in read_lines(path):
            items = tuple(Assigned(str(item), str(left)) for item, left in row["items"])
            made = Assignment(str(row["rater"]), items, str(row["joined_at"]), row["prolific"])
            found.setdefault(made.rater, made)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise EvalkitError(
            f"{path} is damaged, or was written by another version of evalkit.",
            "Restore the file: it states which items each rater is asked about.",
            code="rate-33",
        ) from error
    return found


def join(
    run: Run,
    study: Study,
    rater: str,
    others: Iterable[Assignment],
    answers: Mapping[str, list[Rating]],
    prolific: bool = False,
) -> Assignment:
    """Assign items to a new rater and write them down before the first one is shown.

    An item counts as shown to another rater if that rater has answered it, or is active: has
    joined or answered within the last hour.
    """
    now = datetime.datetime.now(datetime.UTC)
    shown: Counter[Assigned] = Counter()
    for other in others:
        given = answers.get(other.rater, [])
        if any(_age(at, now) < ACTIVE for at in (other.joined_at, *(r.started_at for r in given))):
            shown.update(other.items)
        else:
            done = {rating.item for rating in given if not rating.check}
            shown.update(item for item in other.items if item.item in done)
    items = tuple(assign(study, rater, shown))
    made = Assignment(rater, items, f"{now:%Y-%m-%dT%H:%M:%SZ}", prolific)
    row = {"rater": rater, "joined_at": made.joined_at, "prolific": prolific, "items": items}
    append_lines(run.assignments_path(study.study), [row])
    return made


def _age(at: str, now: datetime.datetime) -> datetime.timedelta:
    try:
        return now - datetime.datetime.fromisoformat(at).astimezone(datetime.UTC)
    except ValueError:  # no time is known
        return datetime.timedelta.max
