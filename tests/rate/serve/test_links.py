"""Links of raters and of participants of Prolific, hosts, and coming back another day."""

import signal
import socket
from pathlib import Path

import pytest
from rating_server import MODELS, Rater, make_rated_run, serving

from evalkit.ratings.files import read_ratings

PID = "5f3c0e9a7b1d2c4e6f8a0b1c"


def test_a_restart_shows_the_same_list_and_goes_on(tmp_path: Path) -> None:
    run = make_rated_run(tmp_path / "run", prompts=20)
    with serving(run.path) as server:
        rater = Rater(server.links[0])
        before = rater.state()
        rater.vote(rater.make_vote(before["items"][0], "right"))
        (link,) = server.links
    moved = tmp_path / "moved"
    run.path.rename(moved)
    with serving(moved) as server:
        assert server.links[0].partition("/r/")[2] == link.partition("/r/")[2]
        after = Rater(server.links[0]).state()
    assert after["progress"]["done"] == 1
    assert after["items"][:4] == before["items"][1:]
    assert after["answered"][0]["answers"] == {"preference": "right"}


def test_raters_of_a_part_get_other_items(tmp_path: Path) -> None:
    run = make_rated_run(tmp_path / "run", prompts=8)
    with serving(run.path, "--raters", "a,b", "--items", "4", links=2) as server:
        prompts = [
            {item["prompt"] for item in Rater(link).state()["items"]} for link in server.links
        ]
    assert len(prompts[0] | prompts[1]) == 8


def test_participants_of_prolific_join_by_one_link(tmp_path: Path) -> None:
    run = make_rated_run(tmp_path / "run", prompts=2)
    with serving(run.path, "--prolific", "C0DE", "--raters", "a" * 20, links=2) as server:
        join = server.links[1].partition("/join")[2].partition("&")[0]
        assert "{{%PROLIFIC_PID%}}" in server.links[1]
        rest = f"&STUDY_ID=s&SESSION_ID=t&PROLIFIC_PID={PID}"
        rater = Rater(f"{server.links[1].partition('/join')[0]}/join{join}{rest}")
        state = rater.state()
        while state["items"]:
            assert state["finished"] is None
            state = rater.vote(rater.make_vote(state["items"][0]))
        assert state["finished"] == {"code": "C0DE"}
        stranger = Rater(port=server.port)
        page = stranger.ask(f"/join{join}", accept="text/html,*/*")
        assert page.status == 400
        assert page.header("content-type").startswith("text/html")
        assert page.header("content-security-policy").startswith("default-src 'none'")
        assert b"no participant id" in page.body
        for path, status in (
            (f"/join?t=wrong{rest}", 403),
            (f"/join?{rest}", 403),
            (f"/join{join}", 400),
            (f"/join{join}&PROLIFIC_PID=../../x", 400),
            (f"/join{join}&PROLIFIC_PID=anna", 400),
        ):
            assert stranger.ask(path).status == status, path
        assert stranger.ask(f"/join{join}&PROLIFIC_PID={'a' * 20}").status == 403
        Rater(server.links[0]).state()
    assert len(read_ratings(run.rater_path(PID))[0]) == 2
    with serving(run.path, "--prolific", "C0DE") as server:  # a name of another day is taken, too
        assert Rater(port=server.port).ask(f"/join{join}&PROLIFIC_PID={'a' * 20}").status == 403


def test_a_click_in_a_mail_works_with_a_strict_cookie(tmp_path: Path) -> None:
    """Browsers leave the cookie out until a page of the server itself asks again."""
    with serving(make_rated_run(tmp_path / "run").path) as server:
        rater = Rater(server.links[0])
        first = rater.ask("/", cookie=None, sec_fetch_site="cross-site")
        assert first.status == 200
        assert b'http-equiv="refresh"' in first.body
        assert rater.ask("/", cookie=None, sec_fetch_site="same-origin").status == 401
        assert b"page.js" in rater.ask("/").body


@pytest.mark.parametrize(
    ("arguments", "allowed", "forbidden"),
    [
        ((), ("localhost:{}", "LOCALHOST:{}", "[::1]:{}"), ("192.0.2.1", "rate.example.org")),
        (("--host", "0.0.0.0", "--raters", "a"), ("192.0.2.1:{}", "localhost"), ("evil.example",)),
        (("--url", "https://rate.example.org"), ("rate.example.org",), ("192.0.2.1",)),
    ],
)
def test_names_of_the_server(
    tmp_path: Path, arguments: tuple, allowed: tuple, forbidden: tuple
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serving(make_rated_run(tmp_path / "run").path, *arguments, port=port) as server:
        token = server.links[0].partition("/r/")[2]
        rater = Rater(port=port)
        for host in allowed:
            answer = rater.ask(f"/r/{token}", host=host.format(port))
            assert answer.status == 303, host
            assert ("secure" in answer.header("set-cookie").lower()) == ("--url" in arguments)
        for host in forbidden:
            assert rater.ask(f"/r/{token}", host=host).status == 403, host


def test_a_disk_that_is_full_is_said_and_the_vote_stays_open(tmp_path: Path) -> None:
    run = make_rated_run(tmp_path / "run")
    run.rater_path("rater-1").mkdir(parents=True)  # in place of the file: writing fails
    with serving(run.path) as server:
        rater = Rater(server.links[0])
        vote = rater.make_vote(rater.state()["items"][0])
        answer = rater.ask("/api/votes", {"votes": [vote]})
        assert answer.status == 503
        assert "could not be stored" in answer.json["error"]
        assert str(run.path) not in answer.body.decode()
        assert rater.state()["progress"]["done"] == 0
        run.rater_path("rater-1").rmdir()
        assert rater.vote(vote)["accepted"]
        assert rater.state()["progress"]["done"] == 1


def test_a_scale_and_a_checklist(tmp_path: Path) -> None:
    run = make_rated_run(tmp_path / "run", prompts=2)
    for mode, name, good, wrong in (
        ("scale", "alignment", "5", "6"),
        ("checklist", "objects", "no", "left"),
    ):
        with serving(run.path, "--mode", mode, "--raters", mode) as server:
            rater = Rater(server.links[0])
            item = rater.state()["items"][0]
            assert len(item["images"]) == 1
            answer = rater.vote(rater.make_vote(item, good, question=name))
            assert answer["progress"] == {"done": 0, "total": 4}
            assert answer["items"][0]["answers"] == {name: good}
            assert rater.vote(rater.make_vote(item, wrong, question=name))["rejected"]
            for question in rater.state()["study"]["questions"]:
                vote = rater.make_vote(item, "cannot_tell", question=question["name"])
                answer = rater.vote(vote)
            assert answer["progress"] == {"done": 1, "total": 4}
        rows, _ = read_ratings(run.rater_path(mode))
        assert (rows[0].model in MODELS, rows[0].response, rows[0].shown_left) == (True, good, "")
        assert rows[0].item == f"{rows[0].prompt_id}:{rows[0].model}"


def test_everybody_who_rated_has_a_link_when_the_study_continues(tmp_path: Path) -> None:
    run = make_rated_run(tmp_path / "run")
    with serving(run.path, "--raters", "anna,ben", links=2) as server:
        for link in server.links:
            Rater(link).state()
    with serving(run.path, "--raters", "carl", links=3) as server:
        printed = server.links[1:]
        names = [Rater(link).state()["session"] for link in server.links]
        assert len(set(names)) == 3
    with serving(run.path, links=3) as server:  # without a name, nobody new is invited
        assert [link.rpartition("/r/")[2] for link in server.links[:2]] == [
            link.rpartition("/r/")[2] for link in printed
        ]


def test_the_end_says_how_many_answers_there_are_and_what_is_next(tmp_path: Path) -> None:
    run = make_rated_run(tmp_path / "run")
    with serving(run.path, "--raters", "Chlo\u00e9") as server:
        rater = Rater(server.links[0])
        rater.vote(rater.make_vote(rater.state()["items"][0], "right"))
        server.process.send_signal(signal.SIGINT)
        _, said = server.process.communicate(timeout=20)
    assert "Chlo\u00e9 = Chlo-" in said
    assert "stopped with 1 answer of 1 rater; the same command continues the study" in said
    assert f"next: evalkit rate summary {run.path}" in said
