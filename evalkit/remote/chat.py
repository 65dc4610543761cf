"""Chat completions about images: OpenAI, vLLM, SGLang and every service with this API.

One POST to `<base_url>/chat/completions` per question. As for images, evalkit does not use the
official client, which sends a failed request again (docs/remote.md): whoever calls decides on that
with retry.py.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL.Image import Image, Resampling

from evalkit.core import EvalkitError, Status
from evalkit.images import encode_png
from evalkit.remote.addresses import Target
from evalkit.remote.base_url import DEFAULT_URL, base_of, key_for
from evalkit.remote.extra import json_object
from evalkit.remote.keys import redacted, refuse_keys
from evalkit.remote.openai_errors import answer_of
from evalkit.remote.outcomes import parse_json
from evalkit.remote.transport import Failed, Limits, Reply, exchange

VERSION = 1  # of the request and of the meaning of answers; part of the fingerprint
Part = str | Image  # of a question, in the order in which the model gets it
_MOST_COST = 1e6  # US dollars of one answer, and tokens: more is no number of a service
_MOST_TOKENS = 10**9
_LEAST = -1e4  # of logarithms; a service may send an integer that no float can hold
_RESERVED = ("model", "messages", "n", "stream", "logprobs", "top_logprobs")


@dataclass(frozen=True)
class ChatOptions:
    """A model, and how it is asked.

    Args:
        model: its name at the service.
        base_url: up to and including `/v1`; default: OPENAI_BASE_URL, else OpenAI.
        api_key_env: the NAME of the environment variable with the key. Default: OPENAI_API_KEY for
            OpenAI and OPENAI_BASE_URL, and no key for a service on this machine. Any other service
            needs a name, or `none`.
        temperature, seed: sent as they are; None: not sent.
        max_tokens: of an answer.
        max_side: images with a longer side are scaled down to it (Lanczos), their aspect kept.
        extra: further fields of the request, a JSON object; null leaves out a field. With
            max_completion_tokens, max_tokens is not sent.
        timeout: seconds for one answer.
        input_price, output_price: US dollars per million tokens.
    """

    model: str
    base_url: str = ""
    api_key_env: str = ""
    temperature: float | None = 0.0
    seed: int | None = None
    max_tokens: int = 512
    max_side: int = 1024
    extra: str = ""
    timeout: float = 120.0
    input_price: float | None = None
    output_price: float | None = None


@dataclass(frozen=True)
class ChatAnswer:
    """The answer to one request; see remote.jobs.Answer."""

    status: Status
    text: str = ""  # as the model wrote it
    detail: str = ""  # why there is no text: one sentence, without keys
    retry_after: float | None = None
    cost: float | None = None  # US dollars; None if unknown
    first: Mapping[str, float] = field(default_factory=dict)  # first token: its probability
    model: str = ""  # as the service reports it
    system_fingerprint: str = ""


class Chat:
    """One model at one service. Many threads call it, so it has no state that changes.

    Args:
        scorer: the name of the scorer whose options these are; "" for those of a command.

    Raises EvalkitError for options that no request can have, and for a key that is not set.
    """

    def __init__(self, options: ChatOptions, scorer: str = "") -> None:
        self.options = options
        _check(options)

        def written(name: str, value: str) -> str:
            option = f"--{name.replace('_', '-')} {value}"
            return f"`--set {scorer}.{name}={value}`" if scorer else f"`{option}`"

        given = options.base_url
        self.url = (given or os.environ.get("OPENAI_BASE_URL", "") or DEFAULT_URL).strip()
        self.url = self.url.rstrip("/")
        example = f"For example {written('base_url', 'http://127.0.0.1:8000/v1')}."
        base = base_of(self.url, "/chat/completions", example)
        hint = f"Name the variable with its key: {written('api_key_env', 'NAME')}, or `none`."
        key = key_for(options.api_key_env, base, bool(given), hint)
        self._keys = (key,) if key else ()
        refuse_keys({"base_url": self.url, "extra": options.extra}, self._keys)
        self._target = Target(base.origin, f"{base.path.rstrip('/')}/chat/completions")
        self._limits = Limits(total=options.timeout, idle=options.timeout)
        self.parameters = _parameters(options)  # of each request, as they are sent
        settings = {"model": options.model, "max_side": options.max_side, **self.parameters}
        named = " ".join(f"{name}={json.dumps(value)}" for name, value in settings.items())
        self.fingerprint = f"chat/{VERSION} {self.url} {named}"

    @property
    def place(self) -> str:
        """The host of the service, for messages."""
        return str(self._target.origin)

    def ask(self, parts: Sequence[Part], *, system: str = "", top_logprobs: int = 0) -> ChatAnswer:
        """Ask one question, once.

        Args:
            parts: texts and RGB images of the user's message.
            system: the system message; "" for none.
            top_logprobs: how many tokens `ChatAnswer.first` is to have; 0 for none.
        """
        body = {
            "model": self.options.model,
            "messages": [
                *([{"role": "system", "content": system}] if system else []),
                {"role": "user", "content": [self._content(part) for part in parts]},
            ],
            **self.parameters,
        }
        if top_logprobs:
            body |= {"logprobs": True, "top_logprobs": top_logprobs}
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        for key in self._keys:
            headers["Authorization"] = f"Bearer {key.value}"
        try:
            reply = exchange("POST", self._target, headers, json.dumps(body).encode(), self._limits)
        except Failed as failure:
            return ChatAnswer(failure.status, detail=redacted(failure.detail, self._keys))
        value = parse_json(reply)
        value = value if isinstance(value, dict) else {}
        error = value.get("error")
        if reply.status >= 300 or (error and not value.get("choices")):
            found = answer_of(reply, error, self._keys)
            return ChatAnswer(found.status, detail=found.detail, retry_after=found.retry_after)
        return self._answer(reply, value)

    def estimate(self, texts: Sequence[str], sizes: Sequence[tuple[int, int]]) -> float | None:
        """US dollars that a request with these texts and images may cost; None without prices.

        Services count tokens differently. The estimate takes one token for two bytes of text, and
        for an image the larger of one per 28 x 28 pixels and 85 + 170 per 512 x 512 pixels.
        """
        options = self.options
        if options.input_price is None or options.output_price is None:
            return None
        limit = self.parameters.get("max_completion_tokens", options.max_tokens)
        tokens = sum(len(text.encode()) / 2 for text in texts)
        for size in sizes:
            width, height = self._sent(size)
            patches = math.ceil(width / 28) * math.ceil(height / 28)
            tiles = math.ceil(width / 512) * math.ceil(height / 512)
            tokens += max(patches, 85 + 170 * tiles)
        return (tokens * options.input_price + limit * options.output_price) / 1e6

    def _content(self, part: Part) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        size = self._sent(part.size)
        image = part if size == part.size else part.resize(size, Resampling.LANCZOS)
        data = base64.b64encode(encode_png(image)).decode()
        return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}

    def _sent(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height as sent."""
        scale = min(1.0, self.options.max_side / max(size))
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

    def _answer(self, reply: Reply, value: Mapping[str, Any]) -> ChatAnswer:
        """The text of a 2xx answer. Whatever it lacks, it was most likely charged."""
        choice = _first(value.get("choices"))
        message = _first([choice.get("message")])
        text, detail = _text(message.get("content")), ""
        status: Status = "ok"
        reason = str(choice.get("finish_reason") or "")
        first = _probabilities(choice.get("logprobs"))
        if message.get("refusal") or reason == "content_filter":
            status, text = "refused_output", ""
            detail = str(message.get("refusal") or "the service filtered the answer")
        elif not text.strip() and not first:
            status, detail = "malformed", _no_text(reply, choice, reason)
        return ChatAnswer(
            status,
            text,
            redacted(detail, self._keys),
            cost=self._cost(value.get("usage")),
            first=first,
            model=self.redacted(value.get("model") or "", 200),
            system_fingerprint=self.redacted(value.get("system_fingerprint") or "", 200),
        )

    def redacted(self, text: object, limit: int = 300) -> str:
        """A text of the service in one line and without the key."""
        return redacted(text, self._keys, limit)

    def has_key(self, text: str) -> bool:
        """Whether a text of the service repeats the key."""
        return any(key.redact(text) != text for key in self._keys)

    def _cost(self, usage: object) -> float | None:
        """The cost that a router reports, else by tokens and their prices."""
        if not isinstance(usage, dict):
            return None
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            if isinstance(usage.get("cost"), bool):
                raise TypeError
            number = float(usage["cost"]) if "cost" in usage else math.nan  # OpenRouter
            if 0 <= number < _MOST_COST:
                return number
        sent, made = usage.get("prompt_tokens"), usage.get("completion_tokens")
        prices = self.options.input_price, self.options.output_price
        if type(sent) is not int or type(made) is not int or min(sent, made) < 0:
            return None
        if prices[0] is None or prices[1] is None or max(sent, made) > _MOST_TOKENS:
            return None
        return (sent * prices[0] + made * prices[1]) / 1e6


def _check(options: ChatOptions) -> None:
    heat = options.temperature
    prices = {"input_price": options.input_price, "output_price": options.output_price}
    for name, expected, good in (
        ("model", "the name of a model", options.model.strip()),
        ("temperature", "0 or more", heat is None or 0 <= heat < math.inf),
        ("max_tokens", "1 or more", options.max_tokens >= 1),
        ("max_side", "at least 28 pixels", options.max_side >= 28),
        ("timeout", "more than 0 seconds", 0 < options.timeout < math.inf),
        *(
            (
                key,
                "US dollars per million tokens, 0 or more",
                price is None or 0 <= price < math.inf,
            )
            for key, price in prices.items()
        ),
    ):
        if not good:
            raise EvalkitError(
                f"{name} is {getattr(options, name)!r}; expected {expected}.",
                f"Change the option {name.replace('_', '-')}.",
                code="remote-9",
            )


def _parameters(options: ChatOptions) -> dict[str, Any]:
    """The fields of each request besides the model and the question."""
    extra = json_object(options.extra, """--extra '{"top_p": 1}'""")
    if taken := [name for name in _RESERVED if name in extra]:
        raise EvalkitError(
            f"extra sets {taken[0]!r}, which evalkit sets.", "Leave it out.", code="remote-10"
        )
    for name in ("max_tokens", "max_completion_tokens"):  # the estimate of the cost has the option
        limit = extra.get(name)
        if limit is not None and (type(limit) is not int or not 0 < limit <= options.max_tokens):
            raise EvalkitError(
                f"extra sets {name} to {limit!r:.40}; expected a whole number from 1 to"
                f" {options.max_tokens}, which is max_tokens.",
                "Give a larger one with `--max-tokens` too.",
                code="remote-11",
            )
    try:
        json.dumps(extra, allow_nan=False)
    except ValueError:
        raise EvalkitError(
            "extra has a number that is not finite.", "Leave it out.", code="remote-12"
        ) from None
    own: dict[str, Any] = {"temperature": options.temperature, "seed": options.seed}
    own |= {} if "max_completion_tokens" in extra else {"max_tokens": options.max_tokens}
    return {name: value for name, value in (own | extra).items() if value is not None}


def _first(value: object) -> dict[str, Any]:
    """The first object of a list; {} where there is none."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def _text(content: object) -> str:
    """The content of a message, which some services cut into parts."""
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _no_text(reply: Reply, choice: Mapping[str, Any], reason: str) -> str:
    if choice:
        cut = "; it was cut at max_tokens" if reason == "length" else ""
        return f"the answer has no text{cut}"
    found = reply.headers.get("content-type", "no content type").partition(";")[0][:60]
    return f"the answer ({found}) is no chat completion; expected choices[0].message.content"


def _probabilities(logprobs: object) -> dict[str, float]:
    """The probability of each listed first token; {} where the service sends none."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    listed = _first(content).get("top_logprobs")
    found: dict[str, float] = {}
    for item in listed if isinstance(listed, list) else ():
        token, value = _first([item]).get("token"), _first([item]).get("logprob")
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            continue
        if isinstance(token, str):
            token = token.encode("utf-8", "replace").decode()  # half a character
            # Above 0: by rounding, else the sum is no probability, which the reader finds.
            found[token] = found.get(token, 0.0) + math.exp(min(max(value, _LEAST), 1.0))
    return found
