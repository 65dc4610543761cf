"""The OpenAI Images API over one local generator: POST /v1/images/generations, GET /v1/models, GET
/health.

Requests and errors have the shapes of the API, so that any client of it works. Beyond the API:
`seed` is taken, and every image comes with the seed that it was drawn with; image i of one request
has the seed `seed + i`. Only base64 PNG is answered. One lock stands around the model; more than 32
waiting requests are answered 429.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evalkit.core import Generator, Refusal
from evalkit.images import encode_png

log = logging.getLogger(__name__)
BODY_LIMIT, PROMPT_LIMIT, IMAGE_LIMIT, WAITING_LIMIT = (
    256 * 1024,
    32_000,
    10,
    32,
)  # bytes, letters, images, requests
BODY_SECONDS = 30
# Parameters of the API that change nothing here: the values that say so are taken, all others are
# refused.
_HARMLESS: Mapping[str, tuple[object, ...]] = {
    "response_format": ("b64_json",),
    "output_format": ("png",),
    "background": ("auto", "opaque"),
    "quality": ("auto", "standard"),
    "moderation": ("auto", "low"),
    "stream": (False,),
}
_FREE = ("user", "safety_identifier")  # said about the caller, not read
_REFUSALS = {  # status of a Refusal -> HTTP status, type and code of the error
    "refused_input": (400, "image_generation_user_error", "moderation_blocked"),
    "refused_output": (400, "image_generation_user_error", "moderation_blocked"),
    "bad_request": (400, "invalid_request_error", "invalid_value"),
    "rate_limited": (429, "rate_limit_error", "rate_limit_exceeded"),
    "quota": (429, "insufficient_quota", "insufficient_quota"),
}


class ApiError(Exception):
    """An answer other than 200, in the API's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "",
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
        self.more: dict[str, object] = {}

    def response(self) -> JSONResponse:
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
            **self.more,
        }
        headers = {
            "x-should-retry": "true"
            if self.status == 429 and self.kind == "rate_limit_error"
            else "false"
        }
        headers |= {"retry-after": "1"} if self.status == 429 else {}
        headers |= {"www-authenticate": "Bearer"} if self.status == 401 else {}
        return JSONResponse({"error": error}, self.status, headers)


class Order(NamedTuple):
    """One request that was understood."""

    prompt: str
    seeds: list[int]


@dataclass
class ServedModel:
    """The generator behind the API."""

    label: str
    generator: Generator
    size: tuple[int, int] | None  # width and height of its pictures, where known
    token: str = ""  # asked for as a bearer token; "" asks for none
    hosts: tuple[str, ...] = ()  # names that a Host header may have; () takes any
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0

    def app(self) -> Starlette:
        """The application."""
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
        """A page in a browser that points its own name at this address is stopped by the Host
        header, anybody else by the token.
        """
        host = request.headers.get("host", "").lower()
        if self.hosts and _without_port(host) not in self.hosts:
            raise ApiError(
                403,
                f"The Host header names {host!r:.100}; expected one of {', '.join(self.hosts)}.",
                code="host_not_allowed",
            )
        given = request.headers.get("authorization", "").encode()
        if (
            private
            and self.token
            and not hmac.compare_digest(given, f"Bearer {self.token}".encode())
        ):
            raise ApiError(401, "The API key is missing or wrong.", code="invalid_api_key")

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def _model(self, request: Request) -> Response:
        self._check_name(request.path_params["name"])
        return JSONResponse(self._card())

    async def _images(self, request: Request) -> Response:
        order = self._order(await _body(request))
        if self.waiting >= WAITING_LIMIT:
            raise ApiError(
                429,
                f"{self.waiting} requests are waiting already.",
                code="rate_limit_exceeded",
                kind="rate_limit_error",
            )
        self.waiting += 1
        try:
            return JSONResponse(await run_in_threadpool(self._draw, order))
        finally:
            self.waiting -= 1

    def _card(self) -> dict[str, object]:
        return {"id": self.label, "object": "model", "created": 0, "owned_by": "evalkit"}

    def _check_name(self, name: object) -> None:
        if name != self.label:
            raise ApiError(
                404,
                f"There is no model {name!r:.100}; expected {self.label!r}.",
                param="model",
                code="model_not_found",
            )

    def _order(self, given: Mapping[str, Any]) -> Order:
        """Every parameter checked; nothing that was asked for is passed over in silence."""
        given = {name: value for name, value in given.items() if value is not None}
        self._check_name(given.get("model", self.label))
        prompt, count, seed, size = (
            given.get("prompt"),
            given.get("n", 1),
            given.get("seed"),
            given.get("size", "auto"),
        )
        if not isinstance(prompt, str) or not prompt.strip():
            raise ApiError(
                400,
                "The prompt is missing or no text.",
                param="prompt",
                code="missing_required_parameter",
            )
        if len(prompt) > PROMPT_LIMIT:
            raise ApiError(
                400,
                f"The prompt has {len(prompt)} letters; expected at most {PROMPT_LIMIT}.",
                param="prompt",
                code="too_long",
            )
        if any("\ud800" <= letter <= "\udfff" for letter in prompt):
            raise ApiError(
                400, "The prompt is not valid Unicode.", param="prompt", code="invalid_value"
            )
        if type(count) is not int or not 1 <= count <= IMAGE_LIMIT:
            raise ApiError(
                400,
                f"n is {count!r:.50}; expected a whole number from 1 to {IMAGE_LIMIT}.",
                param="n",
                code="invalid_value",
            )
        if seed is not None and (type(seed) is not int or not 0 <= seed < 2**63):
            raise ApiError(
                400,
                "seed is no whole number from 0 to 2**63 - 1.",
                param="seed",
                code="invalid_value",
            )
        sizes = ("auto", *([f"{self.size[0]}x{self.size[1]}"] if self.size else []))
        if size not in sizes:
            raise ApiError(
                400,
                f"size is {size!r:.50}; this model makes {' and '.join(sizes)}.",
                param="size",
                code="invalid_value",
            )
        for name in sorted(set(given) - {"model", "prompt", "n", "seed", "size", *_FREE}):
            if name not in _HARMLESS:
                raise ApiError(
                    400,
                    f"Unknown parameter: {name!r:.100}.",
                    param=name[:100],
                    code="unknown_parameter",
                )
            if (type(given[name]), given[name]) not in [
                (type(value), value) for value in _HARMLESS[name]
            ]:
                known = " or ".join(map(repr, _HARMLESS[name]))
                raise ApiError(
                    400,
                    f"{name} is {given[name]!r:.50}; this server knows {known}.",
                    param=name,
                    code="invalid_value",
                )
        first = secrets.randbelow(2**63 - IMAGE_LIMIT) if seed is None else seed
        return Order(prompt, [(first + at) % 2**63 for at in range(count)])

    def _draw(self, order: Order) -> dict[str, object]:
        """Runs in a worker thread; the lock lets one request at a time to the model."""
        with self.lock:
            started = time.perf_counter()
            try:
                results = list(self.generator([order.prompt] * len(order.seeds), order.seeds))
            except (
                Exception
            ) as error:  # somebody else's code; the details belong to whoever runs the server
                log.exception("%s failed", self.label)
                raise ApiError(
                    500, f"The model failed: {type(error).__name__}.", code="model_failed"
                ) from error
            log.info(
                "%s: %d images in %.2f s", self.label, len(results), time.perf_counter() - started
            )
        for result in results:
            if isinstance(result, Refusal):
                raise _refused(result)
        images = [result for result in results if not isinstance(result, Refusal)]
        data = [
            {"b64_json": base64.b64encode(encode_png(image)).decode(), "seed": seed}
            | ({"note": str(image.info["note"])} if image.info.get("note") else {})
            for image, seed in zip(images, order.seeds, strict=True)
        ]
        width, height = images[0].size
        return {
            "created": int(time.time()),
            "data": data,
            "output_format": "png",
            "size": f"{width}x{height}",
        }


def _refused(refusal: Refusal) -> ApiError:
    status, kind, code = _REFUSALS.get(
        refusal.status, (500, "server_error", f"model_{refusal.status}")
    )
    error = ApiError(
        status, refusal.detail or f"The model answered {refusal.status}.", code=code, kind=kind
    )
    if code == "moderation_blocked":
        error.more = {
            "moderation_details": {"moderation_stage": refusal.status.removeprefix("refused_")}
        }
    return error


async def _body(request: Request) -> Mapping[str, Any]:
    """The JSON object of a request, of at most BODY_LIMIT bytes that come within BODY_SECONDS."""
    if (
        request.headers.get("content-type", "").partition(";")[0].strip().lower()
        != "application/json"
    ):
        raise ApiError(415, "The body is not application/json.", code="unsupported_media_type")
    parts = bytearray()
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for part in request.stream():
                parts += part
                if len(parts) > BODY_LIMIT:
                    raise ApiError(
                        413, f"The body has more than {BODY_LIMIT} bytes.", code="request_too_large"
                    )
    except (TimeoutError, ClientDisconnect) as error:
        raise ApiError(
            408, f"The body did not come within {BODY_SECONDS} seconds.", code="timeout"
        ) from error
    try:
        given = json.loads(bytes(parts))
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "The body is not valid JSON.", code="invalid_json") from error
    if not isinstance(given, dict):
        raise ApiError(400, "The body is no JSON object.", code="invalid_json")
    return given


async def _unknown_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return ApiError(
        status, f"There is no {request.method} {request.url.path!r:.100}.", code="unknown_url"
    ).response()


def _without_port(host: str) -> str:
    """`[::1]:8000` -> `[::1]`, `localhost:8000` -> `localhost`."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
