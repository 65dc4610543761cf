"""A real HTTP server on the loopback with the OpenAI Images API and faults on demand.

    with FakeService() as service:  # answers every request with an image
        post(f"{service.url}/images/generations", {"prompt": "a cat"})  # http://127.0.0.1:<port>/v1
    with FakeService(lambda call: "rate_limited" if call.attempt == 0 else "ok") as service: ...

`service.received` is every request in order of arrival, `service.accepted` those that a real
service would have charged for.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

import numpy
from PIL import Image

Fault = Literal[
    "ok",
    "rate_limited",  # 429 with Retry-After
    "server_error",  # 500
    "overloaded",  # 503 with Retry-After
    # The connection is closed before the service accepts the request, which the caller cannot know.
    "dropped_before",
    "dropped_after",  # the service accepts (and charges) the request, then closes the connection
    "malformed",  # 200, half of the JSON
    "truncated",  # 200, half of the bytes of the image
    "html",  # 200, a page of a proxy
    "refused_input",  # 400 moderation_blocked, stage input
    "refused_output",  # 400 moderation_blocked, stage output
    "quota",  # 429 insufficient_quota
    "auth",  # 401
    "bad_request",  # 400
    "unknown_model",  # 404
]
CHARGED = ("ok", "dropped_after", "malformed", "truncated")
_ERRORS: dict[str, tuple[int, dict[str, Any]]] = {
    "rate_limited": (
        429,
        {"message": "Rate limit reached.", "type": "requests", "code": "rate_limit_exceeded"},
    ),
    "server_error": (
        500,
        {"message": "The server had an error.", "type": "server_error", "code": None},
    ),
    "overloaded": (
        503,
        {"message": "The engine is overloaded.", "type": "server_error", "code": None},
    ),
    "quota": (
        429,
        {
            "message": "You exceeded your current quota.",
            "type": "insufficient_quota",
            "code": "insufficient_quota",
        },
    ),
    "auth": (
        401,
        {
            "message": "Incorrect API key provided.",
            "type": "invalid_request_error",
            "code": "invalid_api_key",
        },
    ),
    "bad_request": (
        400,
        {
            "message": "Invalid size.",
            "type": "invalid_request_error",
            "code": "invalid_value",
            "param": "size",
        },
    ),
    "unknown_model": (
        404,
        {
            "message": "The model does not exist.",
            "type": "invalid_request_error",
            "code": "model_not_found",
        },
    ),
    **{
        f"refused_{stage}": (
            400,
            {
                "message": "Your request was rejected by the safety system. "
                "safety_violations=[violence].",
                "type": "image_generation_user_error",
                "code": "moderation_blocked",
                "moderation_details": {"moderation_stage": stage, "categories": ["violence"]},
            },
        )
        for stage in ("input", "output")
    },
}


@dataclasses.dataclass(frozen=True)
class Call:
    """One request. attempt: the number of earlier requests for the same prompt."""

    prompt: str
    attempt: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    path: str
    at: float  # time.monotonic()


def image_for(text: str, size: int = 16) -> Image.Image:
    """The image that the service makes for a prompt."""
    words = list(hashlib.sha256(text.encode()).digest())
    return Image.fromarray(
        numpy.random.default_rng(words).integers(0, 256, (size, size, 3), numpy.uint8)
    )


def png(text: str, size: int = 16, draw: Callable[[str, int], Image.Image] = image_for) -> bytes:
    """The same image as a PNG file."""
    buffer = io.BytesIO()
    draw(text, size).save(buffer, "PNG")
    return buffer.getvalue()


def shares(
    faults: Mapping[Fault, float], seed: int = 0, repeat: bool = True
) -> Callable[[Call], Fault]:
    """A random plan: each fault has its share of the requests, by (seed, prompt, attempt) only.

    Without `repeat`, only the first attempt of each prompt can fail.
    """

    def plan(call: Call) -> Fault:
        if call.attempt and not repeat:
            return "ok"
        drawn, total = random.Random(f"{seed}\0{call.prompt}\0{call.attempt}").random(), 0.0
        for fault, share in faults.items():
            total += share
            if drawn < total:
                return fault
        return "ok"

    return plan


class FakeService:
    """The server. Start and stop it as a context manager.

    Args:
        plan: the fault of a request.
        latency: seconds per image, or a function of the request.
        rate: images per second; further requests get a 429. None: no limit.
        burst: images that may be made at once after a pause.
        slots: requests in progress at once; further requests get a 429. None: no limit.
        retry_after: the value of Retry-After; None for the time until there is room (in whole
            milliseconds), "" for no header.
        size: of the images, in pixels.
        draw: the image of a prompt and a size.
        port: 0 for any that is free.
    """

    def __init__(
        self,
        plan: Callable[[Call], Fault] = lambda call: "ok",
        *,
        latency: float | Callable[[Call], float] = 0.0,
        rate: float | None = None,
        burst: int = 10,
        slots: int | None = None,
        retry_after: str | None = None,
        size: int = 16,
        draw: Callable[[str, int], Image.Image] = image_for,
        port: int = 0,
    ) -> None:
        self.draw, self.port = draw, port
        self.plan, self.latency, self.rate, self.burst, self.slots = (
            plan,
            latency,
            rate,
            burst,
            slots,
        )
        self.retry_after, self.size = retry_after, size
        self.received: list[Call] = []
        self.accepted: list[Call] = []
        self.outcomes: list[tuple[Call, Fault]] = []
        self.working = self.most_working = 0
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._room, self._room_at = float(burst), time.monotonic()

    @property
    def url(self) -> str:
        """The base URL for OpenAI clients."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    endpoint = "/images/generations"

    def key(self, body: Mapping[str, Any]) -> str:
        """By which requests are counted: `Call.prompt`."""
        return str(body.get("prompt", ""))

    def made(self, call: Call, fault: Fault) -> dict[str, Any]:
        """The content of an answer with status 200."""
        data = png(call.prompt, self.size, self.draw)
        if fault == "truncated":
            data = data[: len(data) // 2]
        item = {"b64_json": base64.b64encode(data).decode()}
        if call.body.get("response_format") == "url":
            item = {"url": f"{self.url.removesuffix('/v1')}/files/{call.prompt.encode().hex()}.png"}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        return {"created": 0, "data": [item], "usage": usage}

    def __enter__(self) -> Self:
        service = self

        class Server(ThreadingHTTPServer):
            request_queue_size, daemon_threads = 256, True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Print nothing when a caller was killed."""

        class Handler(_Handler):
            fake = service

        self._server = Server(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def counts(self) -> Counter[str]:
        """How often each prompt was accepted."""
        with self._lock:
            return Counter(call.prompt for call in self.accepted)

    def begin(
        self, body: Mapping[str, Any], headers: Mapping[str, str], path: str
    ) -> tuple[Call, Fault, float]:
        """Record a request. Returns it with its fault and the seconds until there is room."""
        prompt = self.key(body)
        with self._lock:
            now = time.monotonic()
            call = Call(prompt, self._seen[prompt], body, headers, path, now)
            self._seen[prompt] += 1
            self.received.append(call)
            fault, wait = self.plan(call), 1.0
            if self.rate:
                self._room = min(self.burst, self._room + (now - self._room_at) * self.rate)
                self._room_at = now
                wait = max(0.0, (1 - self._room) / self.rate)
                if wait > 0:
                    fault = "rate_limited"
                elif fault not in ("rate_limited", "dropped_before"):
                    self._room -= 1
            if self.slots and self.working >= self.slots:
                fault, wait = "rate_limited", 0.05
            if fault in CHARGED:
                self.accepted.append(call)
            self.outcomes.append((call, fault))
            self.working += 1
            self.most_working = max(self.most_working, self.working)
        return call, fault, wait

    def end(self) -> None:
        with self._lock:
            self.working -= 1

    def seconds(self, call: Call) -> float:
        return self.latency(call) if callable(self.latency) else self.latency


class _Handler(BaseHTTPRequestHandler):
    fake: FakeService
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            body = json.loads(data)
        except ValueError:
            return self._send(
                400, {"error": {"message": "The body is not JSON.", "code": "invalid_json"}}
            )
        if not self.path.partition("?")[0].endswith(self.fake.endpoint):
            return self._send(
                404, {"error": {"message": f"There is no {self.path}.", "code": "not_found"}}
            )
        call, fault, wait = self.fake.begin(body, dict(self.headers.items()), self.path)
        try:
            if fault in CHARGED or fault.startswith("refused"):
                time.sleep(self.fake.seconds(call))
        finally:
            self.fake.end()  # before the answer, as the caller may send the next request at once
        self._answer(call, fault, wait)

    def do_GET(self) -> None:
        """`/files/<prompt in hex>.png`, the target of `"response_format": "url"`."""
        name = self.path.rpartition("/")[2].removesuffix(".png")
        data = png(bytes.fromhex(name).decode(), self.fake.size, self.fake.draw)
        self._send_bytes(200, data, "image/png")

    def _answer(self, call: Call, fault: Fault, wait: float) -> None:
        if fault.startswith("dropped"):
            # RST rather than FIN, as from a machine that crashed
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if fault in _ERRORS:
            status, error = _ERRORS[fault]
            after = f"{wait:.3f}" if self.fake.retry_after is None else self.fake.retry_after
            headers = (
                {"Retry-After": after} if fault in ("rate_limited", "overloaded") and after else {}
            )
            return self._send(status, {"error": error}, headers)
        if fault == "html":
            return self._send_bytes(200, b"<html><body>Please wait</body></html>", "text/html")
        text = json.dumps(self.fake.made(call, fault))
        if fault == "malformed":
            text = text[: len(text) // 2]
        self._send_bytes(200, text.encode(), "application/json")

    def _send(
        self, status: int, answer: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        self._send_bytes(status, json.dumps(answer).encode(), "application/json", headers)

    def _send_bytes(
        self, status: int, data: bytes, kind: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing: tests read `received`."""
