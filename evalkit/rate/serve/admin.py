"""What the admin page shows while a study runs: progress, care, agreement, precision; all blind."""

from __future__ import annotations

from typing import Any

from evalkit.rate.serve.order import items_per_rater
from evalkit.rate.serve.rated_study import RatedStudy
from evalkit.ratings.exclusion import care, excluded, read_excluded


def admin_facts(rated: RatedStudy) -> dict[str, Any]:
    """The content of the admin page: no name of a model, which are "Model 1", "Model 2", …"""
    from evalkit.ratings.polls import polls  # imports torch
    from evalkit.ratings.summary import summarize
    from evalkit.ratings.summary_file import TARGET

    study, ballots = rated.study, dict(rated.ballots)
    ratings = [rating for ballot in ballots.values() for rating in ballot.ratings()]
    named = read_excluded(rated.run)
    flags = dict(excluded(study.exclude, care(study, ratings)))
    flags |= {rater: named[rater] for rater in ballots if rater in named}
    total = items_per_rater(study) + study.repeat_items + study.attention_items
    progress = {rater: {"done": 0, "total": total} for rater in rated.invited}
    progress |= {rater: ballot.progress() for rater, ballot in ballots.items()}
    # An order that says nothing about the models.
    names = sorted(study.models, key=lambda name: rated.secret.opaque("model", study.study, name))
    questions = []
    for found in map(summarize, polls([study], ratings, named)):
        results = {one.model: one for one in found.results if one.metric != "strength"}
        questions.append(
            {
                "question": found.text,
                "answers": found.votes,
                "cannot_tell": found.cannot_tell,
                "alpha": vars(found.alpha),
                "models": [
                    {
                        "model": f"Model {number}",
                        **vars(results[name].result),
                        "votes": results[name].votes,
                        "more_votes": results[name].more,
                        "note": results[name].more_note,
                    }
                    for number, name in enumerate(names, 1)
                    if name in results
                ],
            }
        )
    return {
        "title": study.title,
        "mode": study.mode,
        "target": TARGET,
        "raters": [
            {"rater": rater, **known, "flags": flags.get(rater, "")}
            for rater, known in progress.items()
        ],
        "excluded": len(flags),
        "questions": questions,
    }
