"""A request for images: its body is read within limits, and every parameter is checked."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import anyio
from starlette.requests import ClientDisconnect, Request

from evalkit.serve.api_error import ApiError

BODY_LIMIT = 256 * 1024  # bytes
BODY_SECONDS = 30
PROMPT_LIMIT = 32_000  # characters
IMAGE_LIMIT = 10
# Parameters of the API without an effect here: only the values that ask for nothing are accepted.
_WITHOUT_EFFECT: Mapping[str, tuple[object, ...]] = {
    "response_format": ("b64_json",),
    "output_format": ("png",),
    "background": ("auto", "opaque"),
    "quality": ("auto", "standard"),
    "moderation": ("auto", "low"),
    "stream": (False,),
}
_IGNORED = ("user", "safety_identifier")  # about the caller
_KNOWN = {"model", "prompt", "n", "seed", "size", *_IGNORED}


class ImageRequest(NamedTuple):
    prompt: str
    seeds: list[int]


async def read_body(request: Request) -> Mapping[str, Any]:
    """The JSON object of a request, at most BODY_LIMIT bytes that arrive within BODY_SECONDS."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise ApiError(415, "The body is not application/json.", code="unsupported_media_type")
    content = bytearray()
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > BODY_LIMIT:
                    message = f"The body has more than {BODY_LIMIT} bytes."
                    raise ApiError(413, message, code="request_too_large")
    except (TimeoutError, ClientDisconnect) as error:
        message = f"The body did not arrive within {BODY_SECONDS} seconds."
        raise ApiError(408, message, code="timeout") from error
    try:
        value = json.loads(bytes(content))
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "The body is not valid JSON.", code="invalid_json") from error
    if not isinstance(value, dict):
        raise ApiError(400, "The body is not a JSON object.", code="invalid_json")
    return value


def checked_request(
    given: Mapping[str, Any], label: str, size: tuple[int, int] | None
) -> ImageRequest:
    """The prompt and the seeds of a request. A parameter that has no effect here is an error."""
    given = {name: value for name, value in given.items() if value is not None}
    check_model(given.get("model", label), label)
    prompt = _prompt(given.get("prompt"))
    count, seed = given.get("n", 1), given.get("seed")
    if type(count) is not int or not 1 <= count <= IMAGE_LIMIT:
        _refuse("n", f"n is {count!r:.50}; expected an integer from 1 to {IMAGE_LIMIT}.")
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**63):
        _refuse("seed", "seed is not an integer from 0 to 2**63 - 1.")
    sizes = ("auto", *([f"{size[0]}x{size[1]}"] if size else []))
    if given.get("size", "auto") not in sizes:
        _refuse("size", f"size is {given['size']!r:.50}; expected {' or '.join(sizes)}.")
    for name in sorted(set(given) - _KNOWN):
        if name not in _WITHOUT_EFFECT:
            _refuse(name[:100], f"Unknown parameter: {name!r:.100}.", "unknown_parameter")
        accepted = _WITHOUT_EFFECT[name]
        if not any(type(given[name]) is type(value) and given[name] == value for value in accepted):
            expected = " or ".join(map(repr, accepted))
            _refuse(name, f"{name} is {given[name]!r:.50}; expected {expected}.")
    first = secrets.randbelow(2**63 - IMAGE_LIMIT) if seed is None else seed
    return ImageRequest(prompt, [(first + at) % 2**63 for at in range(count)])


def check_model(name: object, label: str) -> None:
    if name != label:
        message = f"There is no model {name!r:.100}; expected {label!r}."
        raise ApiError(404, message, param="model", code="model_not_found")


def _prompt(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        message = "The prompt is missing, empty or not a string."
        raise ApiError(400, message, param="prompt", code="missing_required_parameter")
    if len(text) > PROMPT_LIMIT:
        message = f"The prompt has {len(text)} characters; expected at most {PROMPT_LIMIT}."
        _refuse("prompt", message, "too_long")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        _refuse("prompt", "The prompt is not valid Unicode.")
    return text


def _refuse(param: str, message: str, code: str = "invalid_value") -> NoReturn:
    raise ApiError(400, message, param=param, code=code)
