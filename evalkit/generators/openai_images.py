"""Any service with the OpenAI Images API: OpenAI, Azure, Together, OpenRouter, vLLM-Omni, LocalAI.

One POST to `<base_url>/images/generations` per image, with n = 1. evalkit does not use the official
client, which sends a failed request again without an idempotency key, so that the service may
charge for each one (docs/remote.md).
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
from evalkit.generators.services.options import check_amounts
from evalkit.generators.services.prices import cost_by_tokens, price_per_image
from evalkit.generators.services.received import (
    AllowedHosts,
    Unusable,
    checked_alpha,
    from_base64,
    from_url,
)
from evalkit.images import Alpha
from evalkit.remote.addresses import (
    Target,
    check_patterns,
    is_loopback,
)
from evalkit.remote.base_url import DEFAULT_URL, base_of, key_for
from evalkit.remote.extra import json_object
from evalkit.remote.keys import Key, redacted, refuse_keys
from evalkit.remote.openai_errors import answer_of
from evalkit.remote.outcomes import parse_json
from evalkit.remote.transport import Failed, Limits, Reply, exchange

log = logging.getLogger(__name__)
VERSION = 1  # of the request and of the meaning of answers; part of the fingerprint
IMAGE_HOSTS = ("*.blob.core.windows.net",)  # where OpenAI and Azure store images
_RESERVED = ("model", "prompt", "n", "seed", "stream")
_KEY_HINT = (
    "Name the variable with its key: `--set MODEL.api_key_env=NAME`, or `none` where it needs no"
    " key."
)
_BASE_URL_EXAMPLE = "For example `--set openai:MODEL.base_url=http://127.0.0.1:8000/v1`."


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
    """A model with the OpenAI Images API: `openai:gpt-image-2`, or another service by `base_url`.

    Args:
        model: the name of the model at the service; on Azure with `api_version` the name of the
            deployment.
        base_url: up to and including `/v1`; default: OPENAI_BASE_URL, else OpenAI.
        api_key_env: the NAME of the environment variable with the key. Default: OPENAI_API_KEY for
            OpenAI and OPENAI_BASE_URL, and no key for a service on this machine. Any other service
            needs a name, or `none`, so that no key is sent to the wrong service.
        api_version: Azure's; the request goes to
            `<base_url>/openai/deployments/<model>/…?api-version=…` with an `api-key` header.
        size, quality, background, output_format, moderation, response_format: sent unchanged.
        send_seed: whether the service reads a `seed` (OpenAI does not).
        seed_max: seeds are sent modulo seed_max + 1.
        extra: further parameters of the request, a JSON object.
        image_hosts: further hosts from which images are fetched, separated by commas.
        alpha: for transparent images: composite on `white` or `black`, or `refuse`.
        timeout: seconds for one image.
        price: US dollars per image, an upper bound; default: the table in prices.toml.
    """
    options = locals()
    url = (base_url or os.environ.get("OPENAI_BASE_URL", "") or DEFAULT_URL).strip().rstrip("/")
    key = key_for(api_key_env, _base(url), bool(base_url), _KEY_HINT)
    refuse_keys(options, (key,) if key else ())
    if seed_max <= 0:
        raise EvalkitError(f"seed_max is {seed_max!r}; expected more than 0.", code="generators-37")
    check_amounts(timeout, price)
    if model.endswith("-latest"):
        log.warning(
            "%s is an alias, and the service may change its meaning; prefer a dated name", model
        )
    hosts = check_patterns(
        [item.strip().lower() for item in image_hosts.split(",") if item.strip()], "image_hosts"
    )
    sent = ("size", "quality", "background", "output_format", "moderation", "response_format")
    parameters = {name: options[name] for name in sent if options[name]}
    further = json_object(extra)
    for name in further:
        if name in _RESERVED or name in parameters:
            raise EvalkitError(
                f"extra sets {name!r}, which evalkit or another option sets.",
                "Leave it out of extra.",
                code="generators-38",
            )
    return OpenAIImages(
        url=url,
        key=key,
        api_version=api_version,
        model=model,
        parameters=parameters | further,
        seed_max=seed_max if send_seed else None,
        hosts=hosts,
        alpha=checked_alpha(alpha),
        timeout=timeout,
        price=price,
    )


class OpenAIImages:
    """A core.Service. Many threads call it, so it has no state that changes."""

    def __init__(
        self,
        *,
        url: str,
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
        origin, path, _ = _base(url)
        self._model, self._parameters, self._seed_max = model, dict(parameters), seed_max
        self._alpha: Alpha = alpha
        stores = () if is_loopback(origin.host) else IMAGE_HOSTS
        self._hosts = AllowedHosts(origin, (*hosts, *stores))
        self._limits = Limits(total=timeout)
        self._keys = (key,) if key else ()
        self._azure = bool(api_version)
        path, query = path.rstrip("/"), ""
        if self._azure:
            query = f"?api-version={quote(api_version, safe='')}"
            if "/openai/deployments/" not in path:
                path = f"{path.removesuffix('/openai')}/openai/deployments/{quote(model, safe='')}"
        self._target = Target(origin, f"{path}/images/generations{query}")
        # Other services have their own prices.
        self._provider = "openai" if origin.host == "api.openai.com" else ""
        listed = price_per_image(
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
            "seed": f"mod{seed_max + 1}" if seed_max is not None else "",
            "alpha": alpha,
        }
        named = " ".join(
            f"{name}={_readable(value)}" for name, value in sent.items() if value != ""
        )
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
            return Answer(failure.status, detail=redacted(failure.detail, self._keys))
        value = parse_json(reply)
        error = value.get("error") if isinstance(value, dict) else None
        if reply.status >= 300 or (error and not value.get("data")):
            return answer_of(reply, error, self._keys)
        return self._image(reply, value)

    def _image(self, reply: Reply, value: Any) -> Answer:
        """The image of a 2xx answer. An error here is most likely charged: it has a cost."""
        cost = self._cost(reply, value)
        data = value.get("data") if isinstance(value, dict) else None
        item = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
        try:
            if item.get("b64_json"):
                image, note = from_base64(item["b64_json"], self._alpha)
            elif item.get("url"):
                image, note = from_url(item["url"], self._hosts, self._alpha)
            else:
                raise Unusable("malformed", _no_image(reply, value))
        except Unusable as failure:
            return Answer(failure.status, detail=redacted(failure.detail, self._keys), cost=cost)
        revised = item.get("revised_prompt")
        notes = [note, f"prompt revised: {revised}" if isinstance(revised, str) and revised else ""]
        joined = "; ".join(item for item in notes if item)
        return Answer("ok", image, cost=cost, note=redacted(joined, self._keys, 1000))

    def _cost(self, reply: Reply, value: Any) -> float | None:
        """The cost that a router reports, else by tokens and their price, else the price."""
        usage = value.get("usage") if isinstance(value, dict) else None
        reported = usage.get("cost") if isinstance(usage, dict) else None  # OpenRouter
        if reported is None:
            reported = reply.headers.get("x-litellm-response-cost", "")
        with contextlib.suppress(TypeError, ValueError):
            number = float(reported)
            if math.isfinite(number) and number >= 0:
                return number
        counted = cost_by_tokens(self._provider, self._model, usage)
        return counted if counted is not None else self.price


def _base(url: str) -> Target:
    hint = "Give Azure's version with the option api_version."
    return base_of(url, "/images/generations", _BASE_URL_EXAMPLE, hint)


def _readable(value: Any) -> str:
    if isinstance(value, str) and not re.search(r"\s", value):
        return value
    return json.dumps(value, sort_keys=True)


def _no_image(reply: Reply, value: Any) -> str:
    found = reply.headers.get("content-type", "no content type").partition(";")[0][:60]
    if value is not None:
        return "the answer has no image; expected data[0].b64_json or data[0].url"
    if "json" in found:
        return "the answer is not valid JSON"
    return f"the answer is {found}; expected application/json"
