"""`evalkit rate serve` as a process, and a rater's browser without a window."""

import contextlib
import http.client
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from PIL import Image

from evalkit.core import Prompt, Record
from evalkit.images import encode_png
from evalkit.run_folder import Run

MODELS = ("zebra-model-7", "quagga-model-8")  # in no other word of a response
TIME = "2026-01-31T12:00:00.000Z"


class Answer(NamedTuple):
    """A response of the server."""

    status: int
    headers: list[tuple[str, str]]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str:
        return dict(self.headers).get(name, "")


def make_rated_run(
    path: Path, prompts: int = 4, models: Sequence[str] = MODELS, size: tuple[int, int] = (24, 16)
) -> Run:
    """A run folder with an image of each model for each prompt; no two images are equal."""
    run = Run(path)
    run.write_prompts([Prompt(f"{at:05d}", f"text {at}") for at in range(prompts)])
    for order, model in enumerate(models):
        run.register_model(model, model, order)
        for at in range(prompts):
            image = Image.linear_gradient("L").resize(size).rotate(90 * order)
            colour = Image.new("L", size, 7 * at % 256)
            png = encode_png(Image.merge("RGB", (image, colour, image)))
            record = Record(f"{at:05d}", at, 0, at, "ok")
            run.append_records(model, [run.save_image(model, record, png)])
    return run


class Server:
    """A running server. Its links are those that it printed."""

    def __init__(self, process: subprocess.Popen[str], links: list[str]) -> None:
        self.process, self.links = process, links
        self.port = int(urlsplit(links[-1]).port or 0)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serving(*arguments: str | Path, links: int = 1, port: int = 0) -> Iterator[Server]:
    """The server of `evalkit rate serve ARGUMENTS`, which prints so many links."""
    command = [sys.executable, "-m", "evalkit", "rate", "serve", *map(str, arguments)]
    process = subprocess.Popen(
        [*command, "--no-open", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout
    assert process.stderr
    try:
        lines = [line.strip() for line in itertools.islice(process.stdout, links)]
        if len(lines) < links:
            raise AssertionError(process.stderr.read())
        yield Server(process, [line.split("\t")[-1] for line in lines])
    finally:
        process.terminate()
        process.communicate(timeout=20)


class Rater:
    """A browser of one rater: it follows the link and keeps the cookie."""

    def __init__(self, link: str = "", port: int = 0) -> None:
        self.port = port or int(urlsplit(link).port or 0)
        self.cookie = ""
        self._ids = itertools.count()
        if link:
            place = urlsplit(link)
            answer = self.ask(f"{place.path}?{place.query}")
            assert answer.status == 303, answer
            self.cookie = answer.header("set-cookie").partition(";")[0]

    def ask(
        self, path: str, body: object = None, method: str = "", **headers: str | None
    ) -> Answer:
        """A request; headers are written with _ for -, and None leaves one out."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        known = {
            "host": f"127.0.0.1:{self.port}",
            "origin": f"http://127.0.0.1:{self.port}" if body is not None else None,
            "content-type": "application/json" if body is not None else None,
            "cookie": self.cookie or None,
        }
        known |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.putrequest(
                method or ("GET" if body is None else "POST"), path, skip_host=True
            )
            if data is not None:
                connection.putheader("content-length", str(len(data)))
            for name, value in known.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(data)
            response = connection.getresponse()
            given = [(name.lower(), value) for name, value in response.getheaders()]
            return Answer(response.status, given, response.read())

    def state(self) -> dict[str, Any]:
        answer = self.ask("/api/state")
        assert answer.status == 200, answer
        return answer.json

    def vote(self, *votes: dict[str, Any]) -> dict[str, Any]:
        answer = self.ask("/api/votes", {"votes": list(votes)})
        assert answer.status == 200, answer
        return answer.json

    def make_vote(self, item: dict[str, Any], response: str = "left", **more: Any) -> dict:
        question = more.pop("question", "preference")
        made = {"id": f"vote-{next(self._ids)}", "item": item["id"], "question": question}
        return {**made, "response": response, "started_at": TIME, "ms": 1500, **more}
