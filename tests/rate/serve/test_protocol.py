"""What the page and the server say to each other, through a server process."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from rating_server import MODELS, TIME, Rater, Server, make_rated_run, serving

from evalkit.ratings.files import ratings_of, read_ratings
from evalkit.ratings.rating import COLUMNS
from evalkit.ratings.study_file import read_study
from evalkit.run_folder import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_rated_run(tmp_path_factory.mktemp("runs") / "first", prompts=20)


@pytest.fixture(scope="module")
def server(run: Run) -> Iterator[Server]:
    names = "anna,ben,cleo,dora,emil,finn,gina,hugo"
    with serving(run.path, "--raters", names, links=8) as server:
        yield server


def test_one_command_makes_a_sensible_study(run: Run, server: Server) -> None:
    study = read_study(run, "preference")
    assert (study.mode, study.models, len(study.prompts)) == ("pairwise", MODELS, 20)
    assert (study.repeat_items, study.attention_items, study.items_per_rater) == (2, 2, 0)
    assert study.created_at.endswith("Z")
    state = Rater(server.links[0]).state()
    assert state["progress"] == {"done": 0, "total": 24}
    assert state["finished"] is None
    assert state["answered"] == []
    assert state["study"]["questions"][0]["name"] == "preference"
    assert [item["position"] for item in state["items"]] == [1, 2, 3, 4, 5]
    assert all(len(item["images"]) == 2 for item in state["items"])


def test_a_vote_is_on_disk_when_it_is_accepted(run: Run, server: Server) -> None:
    rater = Rater(server.links[1])
    item = rater.state()["items"][0]
    vote = rater.make_vote(item, "left", ms=4321)
    answer = rater.vote(vote)
    assert (answer["accepted"], answer["rejected"]) == ([vote["id"]], [])
    assert answer["progress"]["done"] == 1
    assert answer["items"][0]["position"] == 2
    [row], damaged = read_ratings(run.rater_path("ben"))
    assert not damaged
    assert (row.study, row.rater, row.kind) == ("preference", "ben", "human")
    assert row.response == row.shown_left in MODELS
    assert (row.position, row.started_at, row.ms, row.revision) == (1, TIME, 4321, 0)
    assert run.rater_path("ben").read_text().startswith(",".join(COLUMNS) + "\n")


def test_a_vote_counts_once_and_a_change_is_a_revision(run: Run, server: Server) -> None:
    rater = Rater(server.links[2])
    item = rater.state()["items"][0]
    first, changed = rater.make_vote(item, "left"), rater.make_vote(item, "tie")
    for votes in ((first,), (first, first), (changed,), (first,), (changed, first)):
        answer = rater.vote(*votes)
        assert answer["accepted"] == [vote["id"] for vote in votes]
        assert answer["progress"]["done"] == 1
    rows, _ = read_ratings(run.rater_path("cleo"))
    assert [(row.response, row.revision) for row in rows] == [(rows[0].shown_left, 0), ("tie", 1)]
    [shown] = Rater(server.links[2]).state()["answered"]
    assert (shown["answers"], shown["revision"]) == ({"preference": "tie"}, 1)
    later = rater.make_vote(item, "tie", started_at="2026-01-31T13:00:00Z")
    assert rater.vote(later)["accepted"]
    assert len(read_ratings(run.rater_path("cleo"))[0]) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"item": "nothing"}, "no such item"),
        ({"item": ["x"]}, "no such item"),
        ({"question": "realism"}, "does not ask"),
        ({"question": {}}, "does not ask"),
        ({"response": MODELS[0]}, "no such answer"),
        ({"response": "5"}, "no such answer"),
        ({"response": None}, "no such answer"),
        ({"started_at": "yesterday"}, "not a time"),
        ({"started_at": "2026-13-01T00:00:00Z"}, "not a time"),
        ({"started_at": "2026-01-31T12:00:00"}, "not a time"),
        ({"ms": -1}, "milliseconds"),
        ({"ms": 1.5}, "milliseconds"),
        ({"ms": True}, "milliseconds"),
        ({"ms": 10**30}, "milliseconds"),
        ({"id": "a b"}, "The id"),
        ({"id": "\ud800"}, "The id"),
        ({"id": 7}, "The id"),
    ],
)
def test_a_wrong_vote_is_rejected_and_its_neighbour_stored(
    run: Run, server: Server, change: dict, reason: str
) -> None:
    rater = Rater(server.links[3])
    items = rater.state()["items"]
    before = len(ratings_of(run))
    good = rater.make_vote(items[0])
    wrong = rater.make_vote(items[1]) | change
    answer = rater.vote(wrong, good)
    assert answer["accepted"] == [good["id"]]
    [rejected] = answer["rejected"]
    assert reason in rejected["reason"]
    assert len(ratings_of(run)) == before + 1


def test_a_whole_list_is_rated_and_ends(run: Run, server: Server) -> None:
    rater = Rater(server.links[4])
    state = rater.state()
    positions = []
    while state["items"]:
        positions.append(state["items"][0]["position"])
        state = rater.vote(rater.make_vote(state["items"][0], "left"))
    assert positions == list(range(1, 25))
    assert state["finished"] == {"code": ""}
    state = Rater(server.links[4]).state()
    assert [item["position"] for item in state["answered"]] == positions
    assert all(item["answers"] == {"preference": "left"} for item in state["answered"])
    rows, _ = read_ratings(run.rater_path("emil"))
    assert Counter(row.check for row in rows) == {"": 20, "repeat": 2, "attention": 2}
    assert Counter(row.shown_left for row in rows if not row.check) == dict.fromkeys(MODELS, 10)
    for row in rows:
        if row.check == "attention":
            assert row.item.endswith(":known-bad")
            assert row.response in (*MODELS, "known-bad")


def test_two_tabs_of_one_rater(run: Run, server: Server) -> None:
    one, two = Rater(server.links[5]), Rater(server.links[5])
    first, second = one.state()["items"][:2]
    one.vote(one.make_vote(first, "left"))
    assert two.vote(two.make_vote(second, "right"))["progress"]["done"] == 2
    assert two.vote(two.make_vote(first, "right", started_at="2026-01-31T12:00:01Z"))["accepted"]
    rows, _ = read_ratings(run.rater_path("finn"))
    assert [row.revision for row in rows] == [0, 0, 1]


def test_images_are_pixels_of_one_size_with_opaque_names(run: Run, server: Server) -> None:
    rater, other = Rater(server.links[6]), Rater(server.links[7])
    images = [image for item in rater.state()["items"] for image in item["images"]]
    assert len({image["url"] for image in images}) == len(images)
    for image in images:
        answer = rater.ask(image["url"])
        assert answer.status == 200
        assert answer.header("content-type") == "image/png"
        assert "immutable" in answer.header("cache-control")
        with Image.open(io.BytesIO(answer.body)) as shown:
            assert shown.size == (image["width"], image["height"]) == (24, 16)
            assert not shown.info
        assert other.ask(image["url"]).status == 404
        assert Rater(port=server.port).ask(image["url"]).status == 401


def test_votes_of_another_session_are_not_taken(run: Run, server: Server) -> None:
    rater, other = Rater(server.links[6]), Rater(server.links[7])
    votes = [rater.make_vote(rater.state()["items"][0])]
    wrong = {"session": other.state()["session"], "votes": votes}
    assert rater.ask("/api/votes", wrong).status == 409
    assert not run.rater_path("gina").exists()
    right = {"session": rater.state()["session"], "votes": votes}
    assert rater.ask("/api/votes", right).json["accepted"]


def test_nothing_was_stored_that_is_not_a_row(run: Run) -> None:
    for path in run.ratings_path.glob("*.csv"):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        keys = [
            tuple(row[name] for name in ("item", "question", "check", "revision")) for row in rows
        ]
        assert len(set(keys)) == len(keys)
    assert not list(Path(run.path).rglob("*.tmp"))
