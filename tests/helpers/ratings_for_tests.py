"""Hypothesis strategies of studies and answers, and small runs that can be rated."""

import dataclasses
from pathlib import Path

from hypothesis import strategies as st

from evalkit.core import Prompt, Record
from evalkit.ratings.rating import Rating, pair
from evalkit.ratings.study import PREFERENCE, Exclusion, Question, Study
from evalkit.run_folder import Run

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
# What a label of a model or an id of a prompt may hold: a line without control characters.
LINES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
NUMBERS = st.integers(0, 10**9)


@st.composite
def studies(draw: st.DrawFn) -> Study:
    mode = draw(st.sampled_from(["pairwise", "scale", "checklist"]))
    anchors = st.lists(TEXTS, min_size=2, max_size=9) if mode == "scale" else st.just([])
    questions = st.builds(Question, NAMES, TEXTS, anchors.map(tuple))
    share = st.floats(0, 1)
    distinct = st.lists(LINES, min_size=2, max_size=4, unique=True).map(tuple)
    return Study(
        draw(NAMES),
        mode,
        draw(distinct),
        draw(distinct),
        tuple(draw(st.lists(questions, min_size=1, max_size=3, unique_by=lambda q: q.name))),
        *draw(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), TEXTS)),
        *draw(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS)),
        draw(st.builds(Exclusion, NUMBERS, share, NUMBERS, share)),
    )


ANSWERS = st.builds(
    Rating,
    study=NAMES,
    rater=NAMES,
    kind=st.sampled_from(["human", "model"]),
    item=LINES,
    prompt_id=LINES,
    model=LINES | st.just(""),
    question=NAMES,
    response=LINES,
    shown_left=LINES | st.just(""),
    position=NUMBERS,
    started_at=st.datetimes().map(lambda time: f"{time.isoformat()}Z"),
    ms=NUMBERS,
    revision=st.integers(0, 9),
    check=st.sampled_from(["", "repeat", "attention"]),
)


def make_run(
    path: Path,
    prompts: tuple[str, ...] = ("a cat", "two dogs"),
    models: tuple[str, ...] = ("a", "b"),
) -> Run:
    """A run folder with one image of each model for each prompt; the files hold no pixels."""
    run = Run(path)
    run.write_prompts([Prompt(f"{at:05d}", text) for at, text in enumerate(prompts)])
    for order, model in enumerate(models):
        run.register_model(model, model, order)
        run.append_records(
            model,
            [
                Record(f"{at:05d}", at, 0, at, "ok", f"{at:05d}-0.png", "0" * 64)
                for at in range(len(prompts))
            ],
        )
    return run


def preference(models: tuple[str, ...] = ("a", "b"), **more: object) -> Study:
    """A pairwise study of two prompts."""
    study = Study("preference", "pairwise", models, ("00000", "00001"), (PREFERENCE,))
    return dataclasses.replace(study, **more)


def vote(rater: str = "r1", prompt: str = "00000", response: str = "a", **more: object) -> Rating:
    """An answer to `preference()`."""
    item = pair(prompt, "a", "b")
    found = Rating("preference", rater, "human", item, prompt, "", "preference", response)
    return dataclasses.replace(found, **more)
