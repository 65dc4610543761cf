"""The OpenAI Images API for one local generator.

POST /v1/images/generations, GET /v1/models, GET /v1/models/NAME, GET /health. Requests and errors
have the shapes of the API, so that any of its clients works. In addition, the API reads a `seed`,
and every image is returned with its seed: image i of a request has the seed `seed + i`. Images are
base64 PNG only. The model makes the images of one request at a time; further requests wait, and
with 32 waiting requests the next one gets a 429.
"""

from __future__ import annotations

import base64
import hmac
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evalkit.core import EvalkitError, Generator, Refusal
from evalkit.generators.calls import images_of
from evalkit.images import encode_png
from evalkit.serve.api_error import ApiError, refusal_error
from evalkit.serve.image_request import ImageRequest, check_model, checked_request, read_body

log = logging.getLogger(__name__)
WAITING_LIMIT = 32


@dataclass
class ServedModel:
    """A generator and its HTTP application."""

    label: str
    generator: Generator
    size: tuple[int, int] | None  # width and height of its images, where known
    token: str = ""  # that callers must send as a bearer token; "" for none
    hosts: tuple[str, ...] = ()  # allowed names in the Host header; () allows any
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0

    def app(self) -> Starlette:
        routes = [
            Route("/health", self._guarded(self._health, private=False), methods=["GET"]),
            Route("/v1/models", self._guarded(self._models), methods=["GET"]),
            Route("/v1/models/{name:path}", self._guarded(self._model), methods=["GET"]),
            Route("/v1/images/generations", self._guarded(self._images), methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _unknown_route})

    def _guarded(
        self, handler: Callable[[Request], Awaitable[Response]], private: bool = True
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                self._check_caller(request, private)
                return await handler(request)
            except ApiError as error:
                return error.response()

        return answer

    def _check_caller(self, request: Request, private: bool) -> None:
        """Check the Host header against DNS rebinding by web pages, and the token."""
        host = request.headers.get("host", "").lower()
        if self.hosts and _without_port(host) not in self.hosts:
            expected = ", ".join(self.hosts)
            message = f"The Host header is {host!r:.100}; expected one of {expected}."
            raise ApiError(403, message, code="host_not_allowed")
        if not private or not self.token:
            return
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            raise ApiError(401, "The API key is missing or wrong.", code="invalid_api_key")

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def _model(self, request: Request) -> Response:
        check_model(request.path_params["name"], self.label)
        return JSONResponse(self._card())

    def _card(self) -> dict[str, object]:
        return {"id": self.label, "object": "model", "created": 0, "owned_by": "evalkit"}

    async def _images(self, request: Request) -> Response:
        wanted = checked_request(await read_body(request), self.label, self.size)
        if self.waiting >= WAITING_LIMIT:
            raise ApiError(
                429,
                f"{self.waiting} requests are already waiting.",
                code="rate_limit_exceeded",
                error_type="rate_limit_error",
            )
        self.waiting += 1
        try:
            return JSONResponse(await run_in_threadpool(self._generate, wanted))
        finally:
            self.waiting -= 1

    def _generate(self, wanted: ImageRequest) -> dict[str, object]:
        """Runs in a worker thread; the lock gives the model one request at a time."""
        with self.lock:
            started = time.perf_counter()
            try:
                prompts = [wanted.prompt] * len(wanted.seeds)
                results, _ = images_of(self.generator, prompts, wanted.seeds, self.label)
            except EvalkitError as error:  # details go to the log of the server only
                log.exception("%s failed", self.label)
                message = f"The model failed: {type(error.__cause__ or error).__name__}."
                raise ApiError(500, message, code="model_failed") from error
            seconds = time.perf_counter() - started
            made = "1 image" if len(results) == 1 else f"{len(results)} images"
            log.info("%s: %s in %.2f s", self.label, made, seconds)
        for result in results:
            if isinstance(result, Refusal):
                raise refusal_error(result)
        images = [result for result in results if not isinstance(result, Refusal)]
        data = [
            {"b64_json": base64.b64encode(encode_png(image)).decode(), "seed": seed}
            | ({"note": str(image.info["note"])} if image.info.get("note") else {})
            for image, seed in zip(images, wanted.seeds, strict=True)
        ]
        width, height = images[0].size
        return {
            "created": int(time.time()),
            "data": data,
            "output_format": "png",
            "size": f"{width}x{height}",
        }


async def _unknown_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = f"There is no {request.method} {request.url.path!r:.100}."
    return ApiError(status, message, code="unknown_url").response()


def _without_port(host: str) -> str:
    """`[::1]:8000` -> `[::1]`, `localhost:8000` -> `localhost`."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
