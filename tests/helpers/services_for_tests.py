"""Services for tests, as plug-ins `services_for_tests:NAME`: one over HTTP, and one in memory."""

from __future__ import annotations

import base64
import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from fake_service import image_for
from PIL import Image

from evalkit.core import Answer, Service

Script = Callable[[str, int], Answer]  # prompt, number of earlier requests for it


class Urllib:
    """A small client of the Images API with one connection per request."""

    def __init__(self, url: str, size: int, price: float | None, timeout: float = 10.0) -> None:
        self.url, self.price, self.timeout = url, price, timeout
        self.fingerprint = f"test-images/1 {url} model=m size={size}"

    def request(self, prompt: str, seed: int, sample: int) -> Answer:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=self.timeout
        )
        try:
            connection.connect()
        except OSError as error:
            return Answer("transient", detail=f"no connection: {error}")
        try:
            body = json.dumps({"prompt": prompt, "model": "m", "n": 1, "seed": seed})
            connection.request(
                "POST",
                f"{parts.path}/images/generations",
                body,
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            return self._answer(response.status, dict(response.headers.items()), response.read())
        except (OSError, http.client.HTTPException) as error:
            return Answer("ambiguous", detail=f"sent without an answer: {type(error).__name__}")
        finally:
            connection.close()

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            value = json.loads(body)
        except ValueError:
            return Answer("malformed", detail="the answer is not JSON")
        if status == 200:
            try:
                image = Image.open(io.BytesIO(base64.b64decode(value["data"][0]["b64_json"])))
                image.load()
            except (OSError, KeyError):
                return Answer("malformed", detail="the image is damaged")
            return Answer("ok", image.convert("RGB"), cost=self.price)
        error = value["error"]
        wait = headers.get("Retry-After")
        after = float(wait) if wait else None
        if error["code"] == "moderation_blocked":
            stage = error["moderation_details"]["moderation_stage"]
            return Answer(
                "refused_input" if stage == "input" else "refused_output", detail=error["message"]
            )
        if error["code"] == "insufficient_quota":
            return Answer("quota", detail=error["message"])
        if status == 401:
            return Answer("auth", detail=error["message"])
        if status == 429:
            return Answer("rate_limited", retry_after=after)
        if status >= 500:
            return Answer("transient", detail=error["message"], retry_after=after)
        return Answer("bad_request", detail=error["message"])


def http_service(
    *,
    url: str,
    size: int = 16,
    price: float | None = None,
    timeout: float = 10.0,
    wait: float = 0.0,
) -> Service:
    """A service at a URL; loading it takes `wait` seconds."""
    time.sleep(wait)
    return Urllib(url, size, price, timeout)


class Memory:
    """Answers by a script; counts its requests and the largest number in flight."""

    fingerprint = "memory/1 script=a"

    def __init__(
        self, script: Script | None = None, price: float | None = None, seconds: float = 0.0
    ) -> None:
        self.script, self.price, self.seconds = (
            script or (lambda prompt, earlier: Answer("ok", image_for(prompt), cost=price)),
            price,
            seconds,
        )
        self.asked: list[str] = []
        self.calls: list[tuple[str, int, int]] = []
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()

    def request(self, prompt: str, seed: int, sample: int) -> Answer:
        with self.lock:
            earlier = self.asked.count(prompt)
            self.asked.append(prompt)
            self.calls.append((prompt, seed, sample))
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        time.sleep(self.seconds)
        with self.lock:
            self.in_flight -= 1
        return self.script(prompt, earlier)


memory: list[Memory] = [Memory()]  # what `load` returns; tests replace it


def load(*, price: float | None = None, size: int = 16, requests: Sequence[object] = ()) -> Service:
    return memory[0]
