"""Any service that speaks the OpenAI Images API: OpenAI, Azure, Together, OpenRouter, vLLM-Omni,
LocalAI, a LiteLLM proxy.

One POST to `<base_url>/images/generations` per image, with n = 1. The official client is not used:
it sends a failed request again by itself, without an idempotency key, and the service may charge
for each (docs/remote.md).
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from evalkit.core import Answer, EvalkitError, Service
from evalkit.generators.services.addresses import (
    Forbidden,
    Target,
    check_patterns,
    is_loopback,
    parse,
)
from evalkit.generators.services.keys import Key, read_key, said
from evalkit.generators.services.openai_errors import answer_of
from evalkit.generators.services.outcomes import parse_json
from evalkit.generators.services.prices import price_of
from evalkit.generators.services.received import (
    Source,
    Unusable,
    checked_alpha,
    from_base64,
    from_url,
)
from evalkit.generators.services.token_prices import cost_of
from evalkit.generators.services.transport import Failed, Limits, Reply, exchange
from evalkit.images import Alpha

log = logging.getLogger(__name__)
VERSION = 1  # of what is sent and of what is made of the answer; a part of the fingerprint
DEFAULT_URL = "https://api.openai.com/v1"
IMAGE_HOSTS = (
    "*.blob.core.windows.net",
)  # where OpenAI and Azure put pictures that are answered by URL
_RESERVED = ("model", "prompt", "n", "seed", "stream")


def load(
    *,
    model: str,
    base_url: str = "",
    api_key_env: str = "",
    api_version: str = "",
    size: str = "",
    quality: str = "",
    background: str = "",
    output_format: str = "",
    moderation: str = "",
    response_format: str = "",
    send_seed: bool = False,
    seed_max: int = 2**31 - 1,
    extra: str = "",
    image_hosts: str = "",
    alpha: str = "white",
    timeout: float = 300.0,
    price: float | None = None,
) -> Service:
    """A model behind the OpenAI Images API: `openai:gpt-image-2`, or another service by its
    `base_url`.

    Args:
        model: the name of the model at the service; on Azure with `api_version` the name of the
            deployment.
        base_url: up to and including `/v1`; without it OPENAI_BASE_URL, else OpenAI.
        api_key_env: the NAME of the environment variable with the key. Without it OPENAI_API_KEY
            for OpenAI and OPENAI_BASE_URL, and none for a service on this machine; any other
            service has to be given one, or `none`, so that no key goes astray.
        api_version: Azure's; the request goes to
            `<base_url>/openai/deployments/<model>/…?api-version=…` with an `api-key` header.
        size, quality, background, output_format, moderation, response_format: sent as they are,
        where they are given.
        send_seed: whether the service reads a `seed` (OpenAI does not).
        seed_max: seeds are sent modulo seed_max + 1.
        extra: further parameters of the request, a JSON object.
        image_hosts: hosts whose picture URLs are fetched, joined by commas, beside the service's
            own and OpenAI's stores.
        alpha: what happens to transparent pictures: composited on `white` or `black`, or `refuse`.
        timeout: seconds for one image.
        price: US dollars per image, an upper bound; without it from the table in prices.toml where
            the model is there.
    """
    given = locals()
    url = (base_url or os.environ.get("OPENAI_BASE_URL", "") or DEFAULT_URL).strip().rstrip("/")
    base = _base(url)
    key = _key(api_key_env, base, bool(base_url))
    for name, value in given.items():
        if key and isinstance(value, str) and key.value in value:
            raise EvalkitError(
                f"The option {name} of {model[:60]!r} holds the key itself.",
                f"Keys are read from {key.name} only.",
            )
    for name, number in (("timeout", timeout), ("seed_max", seed_max)):
        if number <= 0:
            raise EvalkitError(f"{name} is {number!r}; expected more than 0.")
    if price is not None and price < 0:
        raise EvalkitError(f"price is {price!r}; expected US dollars per image, 0 or more.")
    if model.endswith("-latest"):
        log.warning(
            "%s is an alias: the service may change what it means; a dated name stays the same",
            model,
        )
    hosts = check_patterns(
        [item.strip().lower() for item in image_hosts.split(",") if item.strip()], "image_hosts"
    )
    named = ("size", "quality", "background", "output_format", "moderation", "response_format")
    parameters = {name: given[name] for name in named if given[name]}
    return OpenAIImages(
        url=url,
        base=base,
        key=key,
        api_version=api_version,
        model=model,
        parameters=parameters | _extra(extra, parameters),
        seed_max=seed_max if send_seed else None,
        hosts=hosts,
        alpha=checked_alpha(alpha),
        timeout=timeout,
        price=price,
    )


class OpenAIImages:
    """One request, one answer; called from many threads, and holds nothing that changes. See
    core.Service.
    """

    def __init__(
        self,
        *,
        url: str,
        base: Target,
        key: Key | None,
        api_version: str,
        model: str,
        parameters: Mapping[str, Any],
        seed_max: int | None,
        hosts: tuple[str, ...],
        alpha: Alpha,
        timeout: float,
        price: float | None,
    ) -> None:
        self._model, self._parameters, self._seed_max = model, dict(parameters), seed_max
        self._alpha: Alpha = alpha
        self._source = Source(
            base.origin, (*hosts, *(() if is_loopback(base.origin.host) else IMAGE_HOSTS))
        )
        self._limits = Limits(total=timeout)
        self._keys = (key,) if key else ()
        self._azure = bool(api_version)
        path = base.path.rstrip("/")
        if self._azure:
            path = (
                path
                if "/openai/deployments/" in path
                else f"{path.removesuffix('/openai')}/openai/deployments/{_segment(model)}"
            )
        self._target = Target(
            base.origin,
            f"{path}/images/generations"
            + (f"?api-version={_segment(api_version)}" if self._azure else ""),
        )
        self._provider = (
            "openai" if base.origin.host == "api.openai.com" else ""
        )  # other services have prices of their own
        listed = price_of(
            self._provider,
            model,
            str(parameters.get("size", "")),
            str(parameters.get("quality", "")),
        )
        self.price = price if price is not None else listed.dollars if listed else None
        sent = {
            "model": model,
            "api_version": api_version,
            **dict(sorted(self._parameters.items())),
        }
        sent |= {"seed": f"mod{seed_max + 1}" if seed_max is not None else "", "alpha": alpha}
        named = " ".join(f"{name}={_plain(value)}" for name, value in sent.items() if value != "")
        self.fingerprint = f"openai-images/{VERSION} {url} {named}"

    def __repr__(self) -> str:
        return f"<{self.fingerprint}>"

    def request(self, prompt: str, seed: int, sample: int) -> Answer:
        """Ask for one image, once."""
        body: dict[str, Any] = {"prompt": prompt, "n": 1, **self._parameters}
        if not self._azure:
            body["model"] = self._model
        if self._seed_max is not None:
            body["seed"] = seed % (self._seed_max + 1)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        for key in self._keys:
            headers |= (
                {"api-key": key.value} if self._azure else {"Authorization": f"Bearer {key.value}"}
            )
        try:
            reply = exchange("POST", self._target, headers, json.dumps(body).encode(), self._limits)
        except Failed as failure:
            return Answer(failure.status, detail=said(failure.detail, self._keys))
        value = parse_json(reply)
        error = value.get("error") if isinstance(value, dict) else None
        if reply.status >= 300 or (error and not value.get("data")):
            return answer_of(reply, error, self._keys)
        return self._image(reply, value)

    def _image(self, reply: Reply, value: Any) -> Answer:
        """A 2xx answer: the service took the request, so whatever is wrong with it now has most
        likely been paid for.
        """
        cost = self._cost(reply, value)
        data = value.get("data") if isinstance(value, dict) else None
        item = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
        try:
            if item.get("b64_json"):
                image, note = from_base64(item["b64_json"], self._alpha)
            elif item.get("url"):
                image, note = from_url(item["url"], self._source, self._alpha)
            else:
                raise Unusable("malformed", _missing(reply, value))
        except Unusable as failure:
            return Answer(failure.status, detail=said(failure.detail, self._keys), cost=cost)
        revised = item.get("revised_prompt")
        notes = [note, f"prompt revised: {revised}" if isinstance(revised, str) and revised else ""]
        return Answer(
            "ok",
            image,
            cost=cost,
            note=said("; ".join(item for item in notes if item), self._keys, 1000),
        )

    def _cost(self, reply: Reply, value: Any) -> float | None:
        """As a router reports it, else by the tokens that the answer counts, where their price is
        known, else the price per image.
        """
        usage = value.get("usage") if isinstance(value, dict) else None
        reported = (
            usage.get("cost") if isinstance(usage, dict) else None
        )  # OpenRouter; LiteLLM says it in a header
        with contextlib.suppress(TypeError, ValueError):
            number = float(
                reported
                if reported is not None
                else reply.headers.get("x-litellm-response-cost", "")
            )
            if math.isfinite(number) and number >= 0:
                return number
        counted = cost_of(self._provider, self._model, usage)
        return counted if counted is not None else self.price


def _base(url: str) -> Target:
    """The parts of a base URL. Raises EvalkitError; a URL that might hold a password is not
    repeated.
    """
    example = "For example `--set openai:MODEL.base_url=http://127.0.0.1:8000/v1`."
    try:
        base = parse(url)
    except Forbidden as error:
        raise EvalkitError(
            f"base_url is not usable: {error}; expected https://host/v1.", example
        ) from None
    if "?" in base.path or "#" in url:
        raise EvalkitError(
            f"base_url {url.partition('?')[0]} has a query; expected none.",
            "Azure's version is the option api_version.",
        )
    if base.path.rstrip("/").endswith("/images/generations"):
        raise EvalkitError(
            f"base_url {url} names the endpoint itself; expected the part before /images/generations.",
            example,
        )
    return base


def _key(name: str, base: Target, given: bool) -> Key | None:
    """The key for this service, or None where it needs none. A key never goes over plain http to
    another machine.
    """
    host, local = base.origin.host, is_loopback(base.origin.host)
    if name == "none" or (not name and local):
        key = None
    elif name:
        key = read_key(name, host)
    elif given and not (host == "api.openai.com" or host.endswith(".openai.com")):
        hint = "Name the variable that holds it: `--set MODEL.api_key_env=NAME`, or `none` where none is needed."
        raise EvalkitError(
            f"The service {host} is not OpenAI, and which key it gets is not said.", hint
        )
    else:
        key = read_key("OPENAI_API_KEY", host)
    if base.origin.scheme == "http" and not local and key:
        raise EvalkitError(
            f"base_url is http, and {key.name} would go to {host} unencrypted; expected https.",
            "Or set api_key_env=none.",
        )
    return key


def _extra(text: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EvalkitError(
            f"extra is not JSON: {error}.", """For example `--set 'MODEL.extra={"steps": 20}'`."""
        ) from None
    if not isinstance(value, dict):
        raise EvalkitError(
            f"extra is a {type(value).__name__}; expected a JSON object.",
            """For example `{"steps": 20}`.""",
        )
    for name in value:
        if name in _RESERVED or name in parameters:
            raise EvalkitError(
                f"extra sets {name!r}, which evalkit sets itself or another option gives.",
                "Leave it out.",
            )
    return value


def _segment(text: str) -> str:
    """One segment of a path or one value of a query."""
    return quote(text, safe="")


def _plain(value: Any) -> str:
    return (
        value
        if isinstance(value, str) and not re.search(r"\s", value)
        else json.dumps(value, sort_keys=True)
    )


def _missing(reply: Reply, value: Any) -> str:
    kind = reply.headers.get("content-type", "no content type").partition(";")[0][:60]
    if value is None:
        return (
            f"the answer is {kind} and no JSON object; expected application/json"
            if "json" not in kind
            else "the answer is not valid JSON"
        )
    return "the answer holds no image; expected data[0].b64_json or data[0].url"
