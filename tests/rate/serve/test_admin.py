"""The admin page: progress, care, agreement and precision, without a name."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import krippendorff
import pytest
from rating_server import MODELS, TIME, Rater, Server, make_rated_run, serving

from evalkit.rate.serve.admin import admin_facts
from evalkit.rate.serve.new_study import open_study
from evalkit.rate.serve.pool import read_pool
from evalkit.rate.serve.rated_study import RatedStudy
from evalkit.rate.serve.secret import read_secret
from evalkit.rate.serve.shown_images import ShownImages
from evalkit.ratings.files import ratings_of, read_ratings
from evalkit.run_folder import Run

BEST = MODELS[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_rated_run(tmp_path_factory.mktemp("runs") / "first", prompts=24)


@pytest.fixture(scope="module")
def server(run: Run) -> Iterator[Server]:
    """anna and ben mostly prefer the first model, cleo clicks at random, dora does not come."""
    with serving(run.path, "--raters", "anna,ben,cleo,dora", links=4) as server:
        for name, link in zip(("anna", "ben"), server.links, strict=False):
            rate(run, Rater(link), name)
        rater, chance = Rater(server.links[2]), random.Random(0)
        state = rater.state()
        while state["items"]:
            response = chance.choice(("left", "right", "both_bad"))
            state = rater.vote(rater.make_vote(state["items"][0], response, ms=200))
        yield server


def rate(run: Run, rater: Rater, name: str) -> None:
    """Prefer BEST in three of four prompts. To find its side, vote once and read the file."""
    state = rater.state()
    while state["items"]:
        item = state["items"][0]
        rater.vote(rater.make_vote(item, "tie"))
        row = next(r for r in read_ratings(run.rater_path(name))[0][::-1] if r.response == "tie")
        better = BEST if int(row.prompt_id) % 4 else MODELS[1]
        if row.check == "attention":
            better = row.item.split(":")[1]
        side = "left" if row.shown_left == better else "right"
        state = rater.vote(rater.make_vote(item, side))


@pytest.fixture(scope="module")
def admin(server: Server) -> Rater:
    assert server.process.stderr
    line = [server.process.stderr.readline() for _ in range(2)][-1]
    return Rater(line.split()[-1])


@pytest.fixture(scope="module")
def facts(admin: Rater) -> dict[str, Any]:
    return admin.ask("/api/admin").json


def test_progress_and_flags_of_each_rater(facts: dict[str, Any]) -> None:
    raters = {row["rater"]: row for row in facts["raters"]}
    assert {name: row["done"] for name, row in raters.items()} == {
        "anna": 28, "ben": 28, "cleo": 28, "dora": 0,
    }  # fmt: skip
    assert {row["total"] for row in raters.values()} == {28}
    assert raters["anna"]["flags"] == raters["ben"]["flags"] == raters["dora"]["flags"] == ""
    assert "28 of 28 answers in less than 700 ms" in raters["cleo"]["flags"]
    assert facts["excluded"] == 1


def test_agreement_and_precision_are_those_of_the_ratings(run: Run, facts: dict[str, Any]) -> None:
    [question] = facts["questions"]
    rows = [row for row in ratings_of(run) if not row.check and row.rater != "cleo"]
    assert question["answers"] == len(rows) == 48
    items = sorted({row.item for row in rows})
    table = [
        [MODELS.index(next(r.response for r in rows if (r.rater, r.item) == (rater, item)))
         for item in items]
        for rater in ("anna", "ben")
    ]  # fmt: skip
    expected = krippendorff.alpha(table, level_of_measurement="nominal")
    assert question["alpha"]["value"] == pytest.approx(expected, abs=1e-9)
    found = sorted(model["value"] for model in question["models"])
    assert found == pytest.approx([0.25, 0.75])
    for model in question["models"]:
        assert model["low"] < model["value"] < model["high"]
        assert model["more_votes"] > 0
        assert model["votes"] == 48


def test_the_page_is_blind(admin: Rater, facts: dict[str, Any]) -> None:
    page = admin.ask("/admin").body.decode()
    assert "Model 1" in page
    assert "anna" in page
    assert admin.ask("/static/admin.js").status == 200
    for text in (page, str(facts)):
        assert not any(name in text for name in (*MODELS, "zebra", "quagga"))


def test_it_is_not_for_raters(server: Server) -> None:
    rater = Rater(server.links[0])
    assert {rater.ask(path).status for path in ("/admin", "/api/admin")} == {401}


@pytest.mark.parametrize(
    ("mode", "responses", "low", "high"),
    [("scale", ("2", "4", "5", "cannot_tell"), 2, 5), ("checklist", ("yes", "no"), 0, 1)],
)
def test_other_modes(
    tmp_path: Path, mode: str, responses: tuple[str, ...], low: float, high: float
) -> None:
    run = make_rated_run(tmp_path / "run", prompts=8)
    pool = read_pool([run])
    study = open_study(run, pool, {"mode": mode}, "The study")
    images = ShownImages(pool.of(study), study.seed)
    rated = RatedStudy(run, study, read_secret(run), images, pool.prompts)
    assert admin_facts(rated)["questions"] == []  # before the first vote
    chance = random.Random(0)
    for name in ("anna", "ben"):
        ballot = rated.ballot(name)
        assert ballot
        while items := rated.state(ballot)["items"]:
            votes = [
                {
                    "id": "v",
                    "item": items[0]["id"],
                    "question": question.name,
                    "response": chance.choice(responses),
                    "started_at": TIME,
                    "ms": 2000,
                }
                for question in study.questions
            ]
            rated.vote(ballot, votes)
    facts = admin_facts(rated)
    assert len(facts["questions"]) == len(study.questions)
    for question in facts["questions"]:
        assert question["answers"] == 32
        assert all(low <= model["value"] <= high for model in question["models"])
        assert question["alpha"]["value"] < 0.8
