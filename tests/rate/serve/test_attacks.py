"""Requests of somebody who must not rate, read or change anything. All are refused."""

import contextlib
import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rating_server import MODELS, Answer, Rater, Server, make_rated_run, serving

import evalkit
from evalkit.core import Prompt
from evalkit.ratings.files import ratings_of
from evalkit.run_folder import Run

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_rated_run(tmp_path_factory.mktemp("runs") / "first", prompts=6)
    prompts = run.prompts()
    run.write_prompts([Prompt(prompts[0].id, SCRIPT), *prompts[1:]])
    return run


@pytest.fixture(scope="module")
def server(run: Run) -> Iterator[Server]:
    config = run.path / "study.toml"
    config.write_text(f"title = '{SCRIPT}'\ninstructions = '{SCRIPT}'\n")
    with serving(run.path, "--raters", "anna,ben", "--config", config, links=2) as server:
        yield server


def token(link: str) -> str:
    return link.rpartition("/")[2]


def votes(rater: Rater) -> dict:
    return {"votes": [rater.make_vote(rater.state()["items"][0])]}


def with_cookie(value: str) -> Callable[[Rater, Server], Answer]:
    return lambda rater, server: rater.ask("/api/state", cookie=f"evalkit-rater={value}")


ATTACKS: dict[str, tuple[Callable[[Rater, Server], Answer], set[int]]] = {
    "another host": (lambda r, s: r.ask("/api/state", host="evil.example"), {403}),
    "another host with our port": (
        lambda r, s: r.ask("/api/state", host=f"evil.example:{s.port}"),
        {403},
    ),
    "a host that begins as ours": (
        lambda r, s: r.ask("/api/state", host="127.0.0.1.evil.example"),
        {403},
    ),
    "no host": (lambda r, s: r.ask("/api/state", host=None), {400, 403}),
    "another origin": (
        lambda r, s: r.ask("/api/votes", votes(r), origin="https://evil.example"),
        {403},
    ),
    "another port of ours as origin": (
        lambda r, s: r.ask("/api/votes", votes(r), origin="http://127.0.0.1:1"),
        {403},
    ),
    "no origin": (lambda r, s: r.ask("/api/votes", votes(r), origin=None), {403}),
    "a null origin": (lambda r, s: r.ask("/api/votes", votes(r), origin="null"), {403}),
    "a form of another site": (
        lambda r, s: r.ask("/api/votes", votes(r), content_type="text/plain"),
        {415},
    ),
    "a fetch of another site": (
        lambda r, s: r.ask("/api/state", sec_fetch_site="cross-site"),
        {403},
    ),
    "an image on another site": (
        lambda r, s: r.ask(r.state()["items"][0]["images"][0]["url"], sec_fetch_site="same-site"),
        {403},
    ),
    "no cookie": (lambda r, s: r.ask("/api/state", cookie=None), {401}),
    "no cookie for a vote": (lambda r, s: r.ask("/api/votes", votes(r), cookie=None), {401}),
    "a token with one letter changed": (
        lambda r, s: with_cookie(token(s.links[0])[:-2] + "xx")(r, s),
        {403},
    ),
    "a token with another name": (
        lambda r, s: with_cookie("ben." + token(s.links[0]).partition(".")[2])(r, s),
        {403},
    ),
    "a rater's token on the admin page": (
        lambda r, s: r.ask("/api/admin", cookie=f"evalkit-admin={token(s.links[0])}"),
        {403},
    ),
    "a token of a path": (with_cookie("../../private.json.x"), {403}),
    "a name of a path": (lambda r, s: r.ask("/r/..%2fx.abc"), {403, 404}),
    "a file of the run": (lambda r, s: r.ask("/static/../../../run.toml"), {404}),
    "an encoded path": (lambda r, s: r.ask("/static/%2e%2e%2f%2e%2e%2fserve.py"), {404}),
    "a path with backslashes": (lambda r, s: r.ask("/static/..%5c..%5cserve.py"), {404}),
    "an absolute path": (lambda r, s: r.ask("//etc/passwd"), {404}),
    "the secret": (lambda r, s: r.ask("/ratings/private.json"), {404}),
    "a listing of images": (lambda r, s: r.ask("/images/"), {404}),
    "a listing of static files": (lambda r, s: r.ask("/static/"), {404}),
    "an image by its file name": (lambda r, s: r.ask("/images/00000-0.png"), {404}),
    "an image with a path": (lambda r, s: r.ask("/images/..%2f..%2fx.png"), {404}),
    "joining without the option": (lambda r, s: r.ask("/join?PROLIFIC_PID=" + "a" * 24), {404}),
    "another method": (lambda r, s: r.ask("/api/votes", method="DELETE"), {405}),
    "a method of proxies": (lambda r, s: r.ask("/api/state", method="TRACE"), {405}),
    "a preflight": (lambda r, s: r.ask("/api/votes", method="OPTIONS"), {405}),
    "votes by GET": (lambda r, s: r.ask("/api/votes"), {405}),
    "a large body": (lambda r, s: r.ask("/api/votes", b"[" * 70_000), {413}),
    "a deep body": (lambda r, s: r.ask("/api/votes", b"[" * 60_000), {400}),
    "a list as body": (lambda r, s: r.ask("/api/votes", []), {400}),
    "votes that are none": (lambda r, s: r.ask("/api/votes", {"votes": {}}), {400}),
    "many votes": (lambda r, s: r.ask("/api/votes", {"votes": [0] * 51}), {400}),
    "bytes that are no text": (lambda r, s: r.ask("/api/votes", b"\xff\xfe"), {400}),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused(run: Run, server: Server, name: str) -> None:
    attack, expected = ATTACKS[name]
    answer = attack(Rater(server.links[0]), server)
    assert answer.status in expected, answer
    assert "set-cookie" not in dict(answer.headers)
    assert len(answer.body) < 200
    if answer.status != 400 or answer.body.startswith(b"{"):  # 400: the HTTP parser's own words
        assert set(json.loads(answer.body)) == {"error"}
    assert not ratings_of(run)


def test_two_host_headers(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nHost: evil\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith((b"HTTP/1.1 400", b"HTTP/1.1 403"))


def test_a_body_that_does_not_state_its_size(run: Run, server: Server) -> None:
    rater = Rater(server.links[0])
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {
        "Origin": f"http://127.0.0.1:{server.port}",
        "Content-Type": "application/json",
        "Cookie": rater.cookie,
    }
    parts = (b" " * 1000 for _ in range(100))
    with contextlib.closing(connection):
        connection.request("POST", "/api/votes", parts, headers, encode_chunked=True)
        with connection.getresponse() as response:
            assert response.status == 413


def test_scripts_in_texts_are_text(server: Server) -> None:
    rater = Rater(server.links[0])
    page = rater.ask("/").body.decode()
    assert SCRIPT not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"<script(?! [^>]*src=\"/static/)", page)
    state = rater.ask("/api/state")
    assert state.header("content-type") == "application/json"
    assert SCRIPT in [item["prompt"] for item in state.json["items"]] + [
        state.json["study"]["title"]
    ]


def test_headers_of_every_response(server: Server) -> None:
    rater = Rater(server.links[0])
    image = rater.state()["items"][0]["images"][0]["url"]
    for path in ("/", "/static/page.js", "/api/state", image, "/nothing", "/r/wrong.token"):
        answer = rater.ask(path)
        assert "default-src 'none'" in answer.header("content-security-policy")
        assert "unsafe" not in answer.header("content-security-policy")
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("referrer-policy") == "no-referrer"
        assert answer.header("cross-origin-resource-policy") == "same-origin"
        assert ("no-store" in answer.header("cache-control")) == (path != image)
        names = {name for name, _ in answer.headers}
        assert not names & {"server", "etag", "last-modified", "access-control-allow-origin"}
    cookie = Rater(port=server.port).ask(f"/r/{token(server.links[0])}").header("set-cookie")
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()


def test_the_secret_is_for_its_owner_only(run: Run, server: Server) -> None:
    assert run.private_path.stat().st_mode & 0o777 == 0o600


def test_no_response_names_a_model(run: Run, server: Server) -> None:
    """Every response of a whole list, and every kind of error."""
    rater = Rater(server.links[1])
    seen = [rater.ask("/"), rater.ask("/join"), rater.ask("/r/x"), rater.ask("/admin")]
    names = [path.name for path in (Path(evalkit.__path__[0]) / "rate/serve/static").iterdir()]
    seen += [rater.ask(f"/static/{name}") for name in names]
    state = rater.state()
    while state["items"]:
        seen.append(rater.ask("/api/state"))
        item = state["items"][0]
        seen += [rater.ask(image["url"]) for image in item["images"]]
        answer = rater.ask("/api/votes", {"votes": [rater.make_vote(item), {"item": "x"}]})
        state = answer.json
        seen.append(answer)
    seen += [rater.ask("/api/state"), rater.ask("/images/none.png")]
    assert len(seen) > 30
    text = "\n".join(f"{answer.headers} {answer.body!r}" for answer in seen).lower()
    for name in (*MODELS, "zebra", "quagga", str(run.path)):
        assert name.lower() not in text


def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(server: Server) -> None:
    stranger = Rater(port=server.port)
    statuses = [stranger.ask(f"/r/anna.{at}").status for at in range(60)]
    assert set(statuses) == {403, 429}
    assert Rater(server.links[0]).ask("/api/state").status == 200


def test_a_slow_client_does_not_stop_the_others(server: Server) -> None:
    rater = Rater(server.links[0])
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"POST /api/votes HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n")
        started = time.monotonic()
        rater.state()
        assert time.monotonic() - started < 5
