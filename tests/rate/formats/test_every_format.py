"""The same votes, written as each tool writes them, are the same ratings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rating_files import MODELS, PROMPTS, rated_run, table, write

import evalkit
from evalkit.ratings.files import ratings_of
from evalkit.run_folder import Run


class Vote(NamedTuple):
    rater: str
    prompt: int
    left: str
    right: str
    answer: str  # left, right, tie


VOTES = st.lists(
    st.tuples(
        st.sampled_from(["w1", "w2", "w3"]),
        st.integers(0, len(PROMPTS) - 1),
        st.permutations(MODELS),
        st.sampled_from(["left", "right", "tie"]),
    ).map(lambda v: Vote(v[0], v[1], v[2][0], v[2][1], v[3])),
    min_size=1,
    unique_by=lambda vote: (vote.rater, vote.prompt, frozenset(vote[2:4])),
)


def image(model: str, prompt: int) -> str:
    return f"https://example.com/images/{model}/{prompt:05d}-0.png"


def mturk(votes: list[Vote]) -> str:
    return table(
        [
            {
                "AssignmentId": at,
                "WorkerId": vote.rater,
                "Input.prompt": PROMPTS[vote.prompt].encode("ascii", "xmlcharrefreplace").decode(),
                "Input.left_image": image(vote.left, vote.prompt),
                "Input.right_image": image(vote.right, vote.prompt),
                **{
                    f"Answer.preference.{option}.on": str(option == vote.answer).lower()
                    for option in ("left", "right", "tie")
                },
            }
            for at, vote in enumerate(votes)
        ]
    )


def arena(votes: list[Vote]) -> str:
    words = {"left": "model_a", "right": "model_b", "tie": "tie"}
    return json.dumps(
        [
            {
                "question_id": f"{vote.prompt:05d}",
                "model_a": vote.left,
                "model_b": vote.right,
                "winner": words[vote.answer],
                "judge": vote.rater,
            }
            for vote in votes
        ]
    )


def label_studio(votes: list[Vote]) -> str:
    def task(vote: Vote) -> dict[str, Any]:
        kind = ("choices", {"choices": ["tie"]})
        if vote.answer != "tie":
            kind = ("pairwise", {"selected": vote.answer})
        result = {"from_name": "preference", "type": kind[0], "value": kind[1]}
        return {
            "data": {
                "prompt": PROMPTS[vote.prompt],
                "image_2": image(vote.right, vote.prompt),
                "image_1": image(vote.left, vote.prompt),
            },
            "annotations": [{"completed_by": vote.rater, "result": [result]}],
        }

    return json.dumps([task(vote) for vote in votes])


def label_studio_csv(votes: list[Vote]) -> str:
    return table(
        [
            {
                "annotation_id": at,
                "annotator": vote.rater,
                "caption": PROMPTS[vote.prompt],
                "model_left": vote.left,
                "model_right": vote.right,
                "preference": vote.answer,
            }
            for at, vote in enumerate(votes)
        ]
    )


def appen(votes: list[Vote]) -> str:
    return table(
        [
            {
                "_unit_id": at,
                "_worker_id": vote.rater,
                "_golden": "false",
                "preference": vote.answer,
                "preference_gold": "",
                "image_a": image(vote.left, vote.prompt),
                "image_b": image(vote.right, vote.prompt),
            }
            for at, vote in enumerate(votes)
        ]
    )


@pytest.mark.parametrize("written", [mturk, arena, label_studio, label_studio_csv, appen])
@given(votes=VOTES)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_votes_keep_their_rater_pair_side_and_winner(
    tmp_path_factory: pytest.TempPathFactory,
    written: Callable[[list[Vote]], str],
    votes: list[Vote],
) -> None:
    run = rated_run(Path(tmp_path_factory.mktemp("run")) / "run")
    path = write(run.path.parent / "votes.txt", written(votes))
    evalkit.rate_import(path, run=run.path)
    found = {
        (rating.rater, rating.prompt_id, frozenset(rating.item.split(":")[1:])): rating
        for rating in ratings_of(Run(run.path))
    }
    assert len(found) == len(votes)
    for vote in votes:
        rating = found[vote.rater, f"{vote.prompt:05d}", frozenset(vote[2:4])]
        expected = {"left": vote.left, "right": vote.right, "tie": "tie"}[vote.answer]
        assert (rating.response, rating.shown_left) == (expected, vote.left)
        assert (rating.question, rating.kind, rating.check) == ("preference", "human", "")
