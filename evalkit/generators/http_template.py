"""Any HTTP service, described by a TOML file: the request, the image in the answer, refusals."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from PIL.Image import Image

from evalkit.core import Answer, EvalkitError, Service
from evalkit.generators.services.json_paths import as_text, first_text, lookup
from evalkit.generators.services.options import check_amounts
from evalkit.generators.services.prices import price_per_image
from evalkit.generators.services.received import (
    AllowedHosts,
    Unusable,
    checked_alpha,
    checked_image,
    from_base64,
    from_url,
)
from evalkit.generators.services.template import Template
from evalkit.generators.services.template_file import read_template
from evalkit.generators.services.template_polling import wait_until_done
from evalkit.generators.services.template_request import filled, filled_url, merged, multipart
from evalkit.generators.services.template_rules import failure_of
from evalkit.images import Alpha
from evalkit.remote.addresses import Forbidden, Target, allowed, is_loopback, parse
from evalkit.remote.extra import json_object
from evalkit.remote.keys import read_key, redacted, refuse_keys
from evalkit.remote.outcomes import parse_json
from evalkit.remote.transport import Failed, Limits, Reply, exchange

VERSION = 1  # of the meaning of templates and answers; part of the fingerprint
_POLL_LIMITS = Limits(total=60.0)


def load(
    *,
    template: str,
    model: str = "",
    size: str = "",
    base_url: str = "",
    extra: str = "",
    alpha: str = "white",
    timeout: float | None = None,
    price: float | None = None,
) -> Service:
    """Any HTTP service by a template: `http-template:replicate`, or your file as
    `http-template:my.toml`.

    Args:
        template: the name of a recipe (bfl, fal, gemini, replicate, stability) or the path of a
            TOML file.
        model: the value of {model}; default: the template's.
        size: WIDTHxHEIGHT; default: the template's.
        base_url: another scheme and host for the template's url, for a gateway or a test.
        extra: further fields of the body, a JSON object that is merged into the template's body.
        alpha: for transparent images: composite on `white` or `black`, or `refuse`.
        timeout: seconds for the request; default: the template's.
        price: US dollars per image, an upper bound; default: the template's, else the price table.
    """
    read = read_template(template)
    model, size = model or read.model, size or read.size
    request = read.url + str(read.body)
    if "{model}" in request and not model:
        raise EvalkitError(
            f"The template {template} needs a model.",
            f"Set it: `--set http-template:{template}.model=…`.",
            code="generators-20",
        )
    if not re.fullmatch(r"(\d{1,5}x\d{1,5})?", size):
        raise EvalkitError(
            f"size is {size!r}; expected WIDTHxHEIGHT, such as 1024x1024.", code="generators-21"
        )
    if not size and any(name in request for name in ("{width}", "{height}", "{size}")):
        raise EvalkitError(
            f"The template {template} needs a size.",
            f"Set it: `--set http-template:{template}.size=1024x1024`.",
            code="generators-22",
        )
    check_amounts(timeout, price)
    further = json_object(extra)
    if extra and read.body is None:
        raise EvalkitError(
            f"extra is set, but the template {template} has no body.",
            "Leave extra out.",
            code="generators-23",
        )
    rule = checked_alpha(alpha)
    service = HTTPTemplate(template, read, model, size, base_url, further, rule, timeout, price)
    refuse_keys({"model": model, "extra": extra, "base_url": base_url}, service.keys)
    return service


class HTTPTemplate:
    """A core.Service. Many threads call it, so it has no state that changes."""

    def __init__(
        self,
        source: str,  # as the user named the template
        template: Template,
        model: str,
        size: str,
        base_url: str,
        extra: Mapping[str, Any],
        alpha: Alpha,
        timeout: float | None,
        price: float | None,
    ) -> None:
        self._template = template
        self._alpha: Alpha = alpha
        width, _, height = size.partition("x")
        self._places: dict[str, Any] = {"model": model, "size": size}
        self._places |= {"width": int(width), "height": int(height)} if size else {}
        self._url = template.url
        if base_url:
            parts = urlsplit(template.url)
            query = f"?{parts.query}" if parts.query else ""
            self._url = base_url.rstrip("/") + parts.path + query
        try:
            self._service = self._target("", 0).origin
        except Forbidden as error:
            raise EvalkitError(
                f"The url of the template {source} is not usable: {error}.",
                "Expected https://host/path.",
                code="generators-24",
            ) from None
        self._hosts = AllowedHosts(self._service, template.image_hosts)
        self._body = merged(template.body, extra) if template.body is not None else None
        variables = [header.env for header in template.headers if header.env]
        self.keys = tuple(read_key(name, self._service.host) for name in variables)
        if self.keys and self._service.scheme == "http" and not is_loopback(self._service.host):
            raise EvalkitError(
                f"The url of the template {source} is http, which would send {self.keys[0].name}"
                f" to {self._service.host} unencrypted; expected https.",
                code="generators-25",
            )
        self._limits = Limits(total=timeout or template.timeout)
        self.price = price if price is not None else template.price
        if self.price is None and template.provider:
            listed = price_per_image(template.provider, model, size)
            self.price = listed.dollars if listed else None
        sent = {
            "model": model,
            "size": size,
            "extra": json.dumps(extra, sort_keys=True) if extra else "",
            "alpha": alpha,
        }
        named = " ".join(f"{name}={value}" for name, value in sent.items() if value)
        place = base_url.rstrip("/") or f"{self._service.scheme}://{self._service}"
        self.fingerprint = (
            f"http-template/{VERSION} {template.name} {place} {named} "
            f"template={template.digest[:16]}"
        )

    def __repr__(self) -> str:
        return f"<{self.fingerprint}>"

    def request(self, prompt: str, seed: int, sample: int) -> Answer:
        """Ask for one image, once. Polls a service that works in the background."""
        template = self._template
        number = template.seed_min + seed % (template.seed_max - template.seed_min + 1)
        try:
            target = self._target(prompt, number)
            headers, content = self._content(prompt, number)
            reply = exchange(template.method, target, headers, content, self._limits)
        except Failed as error:
            return Answer(error.status, detail=redacted(error.detail, self.keys))
        except Forbidden as error:  # the prompt makes the URL too long
            return Answer("bad_request", detail=redacted(error, self.keys))
        value = parse_json(reply)
        if (failure := failure_of(reply, value, template.rules, self.keys)) is not None:
            return failure
        cost = None
        try:
            if template.poll is not None:
                reply, value = wait_until_done(template.poll, value, template.rules, self._get)
                if (failure := failure_of(reply, value, template.rules, self.keys)) is not None:
                    return failure
            cost = self._cost(value)  # before this line, the cost is not known
            image, note = self._image(reply, value)
        except Unusable as error:
            return Answer(error.status, detail=redacted(error.detail, self.keys), cost=cost)
        notes = "; ".join(item for item in (note, first_text(template.note, value)) if item)
        return Answer("ok", image, cost=cost, note=redacted(notes, self.keys, 1000))

    def _target(self, prompt: str, seed: int) -> Target:
        return parse(filled_url(self._url, {**self._places, "prompt": prompt, "seed": seed}))

    def _content(self, prompt: str, seed: int) -> tuple[dict[str, str], bytes | None]:
        headers = {"Accept": "application/json", **self._headers()}
        if self._body is None:
            return headers, None
        body = filled(self._body, {**self._places, "prompt": prompt, "seed": seed})
        if self._template.multipart:
            kind, content = multipart(body)
            return headers | {"Content-Type": kind}, content
        return headers | {"Content-Type": "application/json"}, json.dumps(body).encode()

    def _headers(self) -> dict[str, str]:
        values = {key.name: key.value for key in self.keys}
        return {
            header.name: header.text + values.get(header.env, "")
            for header in self._template.headers
        }

    def _get(self, url: str) -> Reply:
        """GET the state or the result, with the key: only from hosts that the template allows."""
        target = parse(url)
        if target.origin != self._service:
            hosts = self._template.poll.hosts if self._template.poll else ()
            target = allowed(url, self._service, hosts)
        headers = {"Accept": "application/json", **self._headers()}
        return exchange("GET", target, headers, None, _POLL_LIMITS)

    def _image(self, reply: Reply, value: Any) -> tuple[Image, str]:
        template = self._template
        if not template.image:
            return checked_image(reply.body, self._alpha)
        if value is None:
            found = reply.headers.get("content-type", "no content type").partition(";")[0]
            raise Unusable("malformed", f"the answer is {found}; expected application/json")
        text = first_text(template.image, value)
        if not text:
            raise Unusable("malformed", "the answer has no image at the paths of the template")
        looks_like_url = text.startswith(("https://", "http://", "data:"))
        if template.image_as == "url" or (template.image_as == "auto" and looks_like_url):
            return from_url(text, self._hosts, self._alpha)
        return from_base64(text, self._alpha)

    def _cost(self, value: Any) -> float | None:
        """The cost in the answer, else the price."""
        found = (item for path in self._template.cost for item in lookup(path, value))
        try:
            number = float(as_text(next(found, None)))
        except ValueError:
            return self.price
        return number if math.isfinite(number) and number >= 0 else self.price
