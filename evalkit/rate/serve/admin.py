"""What the admin page shows: progress per rater, without any name of a model."""

from __future__ import annotations

from typing import Any

from evalkit.rate.serve.rated_study import RatedStudy


def admin_facts(rated: RatedStudy) -> dict[str, Any]:
    """The content of the admin page."""
    raters = [
        {"rater": rater, **ballot.progress()} for rater, ballot in list(rated.ballots.items())
    ]
    return {"study": rated.study.study, "title": rated.study.title, "raters": raters}
