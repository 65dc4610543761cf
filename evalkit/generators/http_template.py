"""Any HTTP service, described by a TOML file: what is sent, where the image stands in the answer,
what refusals look like.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from evalkit.core import Answer, EvalkitError, Service
from evalkit.generators.services.addresses import Forbidden, Target, allowed, is_loopback, parse
from evalkit.generators.services.keys import read_key, said
from evalkit.generators.services.outcomes import parse_json
from evalkit.generators.services.prices import price_of
from evalkit.generators.services.received import (
    Source,
    Unusable,
    checked_alpha,
    from_base64,
    from_url,
    image_of,
)
from evalkit.generators.services.template_file import PLACEHOLDER, Template, read_template
from evalkit.generators.services.template_paths import first_text, lookup, plain
from evalkit.generators.services.template_polling import finished
from evalkit.generators.services.template_rules import judged
from evalkit.generators.services.transport import Failed, Limits, Reply, exchange
from evalkit.images import Alpha

VERSION = 1  # of what is made of a template and of an answer; a part of the fingerprint
_ASKED = Limits(total=60.0)  # one look at the state of a request


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
    """Any HTTP service by a template: `http-template:replicate`, or a file of your own,
    `http-template:my.toml`.

    Args:
        template: the name of a recipe (bfl, fal, gemini, replicate, stability) or the path of a
            TOML file.
        model: what {model} stands for; without it the template's own.
        size: WIDTHxHEIGHT; without it the template's own.
        base_url: another scheme and host for the template's url, for a gateway or a test.
        extra: further fields of the body, a JSON object that is merged into the template's.
        alpha: what happens to transparent pictures: composited on `white` or `black`, or `refuse`.
        timeout: seconds for the request; without it the template's own.
        price: US dollars per image, an upper bound; without it the template's, else that of the
            price table.
    """
    described = read_template(template)
    model, size = model or described.model, size or described.size
    if "{model}" in described.url + str(described.body) and not model:
        raise EvalkitError(
            f"The template {described.name} needs a model.",
            f"Give it: `--set http-template:{template}.model=…`.",
        )
    if not re.fullmatch(r"(\d{1,5}x\d{1,5})?", size):
        raise EvalkitError(f"size is {size!r}; expected WIDTHxHEIGHT, such as 1024x1024.")
    if not size and any(
        f"{{{name}}}" in described.url + str(described.body) for name in ("width", "height", "size")
    ):
        raise EvalkitError(
            f"The template {described.name} needs a size.",
            f"Give it: `--set http-template:{template}.size=1024x1024`.",
        )
    for name, number in (("timeout", timeout), ("price", price)):
        if number is not None and (number < 0 or (name == "timeout" and number == 0)):
            raise EvalkitError(f"{name} is {number!r}; expected more than 0.")
    service = HTTPTemplate(
        described,
        model,
        size,
        base_url,
        _extra(extra, described),
        checked_alpha(alpha),
        timeout,
        price,
    )
    for name, value in (("model", model), ("extra", extra), ("base_url", base_url)):
        for key in service.keys:
            if key.value in value:
                raise EvalkitError(
                    f"The option {name} holds the key itself.",
                    f"Keys are read from {key.name} only.",
                )
    return service


class HTTPTemplate:
    """One request, one answer; called from many threads, and holds nothing that changes. See
    core.Service.
    """

    def __init__(
        self,
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
            self._url = (
                base_url.rstrip("/") + parts.path + (f"?{parts.query}" if parts.query else "")
            )
        try:
            self._service = self._target("", 0).origin
        except Forbidden as error:
            raise EvalkitError(
                f"The url of the template {template.name} is not usable: {error}.",
                "Expected https://host/path.",
            ) from None
        self._body = _merged(template.body, extra) if template.body is not None else None
        self.keys = tuple(
            read_key(header.env, self._service.host) for header in template.headers if header.env
        )
        if self.keys and self._service.scheme == "http" and not is_loopback(self._service.host):
            raise EvalkitError(
                f"{template.name} is asked over http, and {self.keys[0].name} would go there unencrypted; expected https."
            )
        self._limits = Limits(total=timeout or template.timeout)
        listed = price_of(template.provider, model, size) if template.provider else None
        self.price = next(
            (
                item
                for item in (price, template.price, listed.dollars if listed else None)
                if item is not None
            ),
            None,
        )
        sent = {
            "model": model,
            "size": size,
            "extra": json.dumps(extra, sort_keys=True) if extra else "",
            "alpha": alpha,
        }
        named = " ".join(f"{name}={value}" for name, value in sent.items() if value)
        place = base_url.rstrip("/") or f"{self._service.scheme}://{self._service}"
        self.fingerprint = f"http-template/{VERSION} {template.name} {place} {named} template={template.digest[:16]}"

    def __repr__(self) -> str:
        return f"<{self.fingerprint}>"

    def request(self, prompt: str, seed: int, sample: int) -> Answer:
        """Ask for one image, once; where the service works in the background, wait for it by
        polling.
        """
        template = self._template
        number = template.seed_min + seed % (template.seed_max - template.seed_min + 1)
        try:
            reply = exchange(
                template.method,
                self._target(prompt, number),
                *self._content(prompt, number),
                self._limits,
            )
        except Failed as failure:
            return Answer(failure.status, detail=said(failure.detail, self.keys))
        except Forbidden as error:  # a prompt that makes the URL too long
            return Answer("bad_request", detail=said(error, self.keys))
        value = parse_json(reply)
        if (objection := judged(reply, value, template.rules, self.keys)) is not None:
            return objection
        try:
            if template.poll is not None:
                reply, value = finished(template.poll, value, template.rules, self._get)
        except Unusable as failure:  # what it costs, if anything, nobody knows
            return Answer(failure.status, detail=said(failure.detail, self.keys))
        if (objection := judged(reply, value, template.rules, self.keys)) is not None:
            return objection
        try:
            image, note = self._image(reply, value)
        except Unusable as failure:
            return Answer(
                failure.status, detail=said(failure.detail, self.keys), cost=self._cost(value)
            )
        notes = [note, first_text(template.note, value)]
        return Answer(
            "ok",
            image,
            cost=self._cost(value),
            note=said("; ".join(item for item in notes if item), self.keys, 1000),
        )

    # --- what is sent
    # ----------------------------------------------------------------------------------------------
    def _target(self, prompt: str, seed: int) -> Target:
        places = {**self._places, "prompt": prompt, "seed": seed}

        def filled(match: re.Match[str]) -> str:
            text = str(places.get(match[1], ""))
            if match[1] == "model":  # may have slashes of its own, but climbs nowhere
                return "/".join(
                    quote(part, safe=":@") if part.strip(".") else "" for part in text.split("/")
                )
            return quote(text, safe="")

        return parse(PLACEHOLDER.sub(filled, self._url))

    def _content(self, prompt: str, seed: int) -> tuple[dict[str, str], bytes | None]:
        headers = {"Accept": "application/json", **self._headers()}
        if self._body is None:
            return headers, None
        body = _filled(self._body, {**self._places, "prompt": prompt, "seed": seed})
        if not self._template.multipart:
            return headers | {"Content-Type": "application/json"}, json.dumps(body).encode()
        boundary = secrets.token_hex(24)
        parts = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in body.items()
        )
        headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        return headers, f"{''.join(parts)}--{boundary}--\r\n".encode("utf-8", "replace")

    def _headers(self) -> dict[str, str]:
        values = {key.name: key.value for key in self.keys}
        return {
            header.name: header.text + values.get(header.env, "")
            for header in self._template.headers
        }

    def _get(self, url: str) -> Reply:
        """Ask for the state or the result of a request that was taken: with the key, so only where
        the template says.
        """
        target = parse(url)
        if target.origin != self._service:
            target = allowed(
                url, self._service, self._template.poll.hosts if self._template.poll else ()
            )
        return exchange(
            "GET", target, {"Accept": "application/json", **self._headers()}, None, _ASKED
        )

    # --- what comes back
    # -------------------------------------------------------------------------------------------
    def _image(self, reply: Reply, value: Any) -> tuple[Any, str]:
        template, source = self._template, Source(self._service, self._template.image_hosts)
        if not template.image:
            return image_of(reply.body, self._alpha)
        if value is None:
            kind = reply.headers.get("content-type", "no content type").partition(";")[0]
            raise Unusable(
                "malformed", f"the answer is {kind} and no JSON; expected application/json"
            )
        found = first_text(template.image, value)
        if not found:
            raise Unusable("malformed", "the answer holds no image where the template looks for it")
        is_url = template.kind == "url" or (
            template.kind == "auto" and found.startswith(("https://", "http://", "data:"))
        )
        return from_url(found, source, self._alpha) if is_url else from_base64(found, self._alpha)

    def _cost(self, value: Any) -> float | None:
        reported = next(
            (item for path in self._template.cost for item in lookup(path, value)), None
        )
        try:
            number = float(plain(reported))
        except ValueError:
            return self.price
        return number if math.isfinite(number) and number >= 0 else self.price


def _extra(text: str, template: Template) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EvalkitError(
            f"extra is not JSON: {error}.", """For example `--set 'MODEL.extra={"steps": 20}'`."""
        ) from None
    if not isinstance(value, dict) or template.body is None:
        raise EvalkitError(
            "extra is not usable; expected a JSON object, and a template that has a body."
        )
    return value


def _merged(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The body with further fields; tables are merged, everything else is replaced."""
    result = dict(base)
    for key, value in extra.items():
        old = result.get(key)
        result[key] = (
            _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return result


def _filled(value: Any, places: Mapping[str, Any]) -> Any:
    """The body with every {place} filled in, once: a prompt that holds "{seed}" stays as it is.
    "{seed}" alone becomes a number.
    """
    if isinstance(value, dict):
        return {key: _filled(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, places) for item in value]
    if not isinstance(value, str):
        return value
    whole = PLACEHOLDER.fullmatch(value)
    if whole and whole[1] in places:
        return places[whole[1]]
    return PLACEHOLDER.sub(
        lambda match: str(places[match[1]]) if match[1] in places else match[0], value
    )
