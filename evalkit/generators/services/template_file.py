"""A template: a TOML file that says how one service is asked for an image. Read, checked, and
turned into frozen values.

Every field is checked when the file is read, so that a mistake costs a sentence and not a request.
docs/remote.md explains the fields.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from pathlib import Path as File
from typing import Any, NoReturn, get_args

from evalkit.config import nearest
from evalkit.core import EvalkitError, Status
from evalkit.generators.services.addresses import check_patterns
from evalkit.generators.services.template import PLACEHOLDER, PLACES, Header, Poll, Rule, Template
from evalkit.generators.services.template_paths import FORM, Path, parse_path, plain

_SECRET_NAMES = re.compile(r"authorization|key|token|secret|password|cookie", re.IGNORECASE)
_NUMBER, _TEXT, _TEXTS, _TABLE = (int, float), (str,), (str, list), (dict,)
_TOP: Mapping[str, tuple[type, ...]] = {
    "name": _TEXT,
    "checked": _TEXT,
    "method": _TEXT,
    "url": _TEXT,
    "model": _TEXT,
    "size": _TEXT,
    "encoding": _TEXT,
    "timeout": _NUMBER,
    "price": _NUMBER,
    "provider": _TEXT,
    "seed_min": (int,),
    "seed_max": (int,),
    "image_hosts": (list,),
    "headers": _TABLE,
    "body": _TABLE,
    "answer": _TABLE,
    "poll": _TABLE,
    "rule": (list,),
}
_ANSWER = {"image": _TEXTS, "as": _TEXT, "note": _TEXTS, "cost": _TEXTS}
_POLL = {
    "url": _TEXT,
    "state": _TEXT,
    "done": (list,),
    "failed": (list,),
    "answer": _TEXT,
    "interval": _NUMBER,
    "timeout": _NUMBER,
    "hosts": (list,),
}
_RULE = {
    "status": (int, list),
    "path": _TEXT,
    "values": (list,),
    "matches": _TEXT,
    "outcome": _TEXT,
    "retry_after": _TEXT,
}
_KINDS = {str: "a text", list: "a list", dict: "a table", int: "a whole number", float: "a number"}


def recipes() -> list[str]:
    """The names of the recipes that come with evalkit."""
    return sorted(
        item.name.removesuffix(".toml")
        for item in _folder().iterdir()
        if item.name.endswith(".toml")
    )


def read_template(spec: str) -> Template:
    """A template by its path, or a recipe by its name. Raises EvalkitError, which names the line or
    the field.
    """
    if spec.endswith(".toml") or "/" in spec:
        try:
            text, source = File(spec).expanduser().read_text(encoding="utf-8"), spec
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            hint = f"Paths are relative to the current folder; recipes by name: {', '.join(recipes())}."
            raise EvalkitError(f"The template {spec} cannot be read: {reason}.", hint) from None
    elif spec in recipes():
        text, source = (
            (_folder() / f"{spec}.toml").read_text(encoding="utf-8"),
            f"the recipe {spec}",
        )
    else:
        raise EvalkitError(
            f"There is no recipe {spec!r}.",
            f"{nearest(spec, recipes())} A file of your own ends in .toml.",
        )
    return parse_template(text, source, File(spec).stem)


def parse_template(text: str, source: str, name: str = "template") -> Template:
    """Parse and check a template. Raises EvalkitError."""
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # says "(at line 3, column 7)"
        where = str(error).replace(
            "at end of document", f"at the end, line {len(text.splitlines())}"
        )
        raise EvalkitError(
            f"The template {source} is not valid TOML: {where}.",
            "See docs/remote.md for an example.",
        ) from None
    return _Reader(source).template(values, name, sha256(text.encode()).hexdigest())


def _folder() -> Any:
    return resources.files("evalkit.generators.services") / "recipes"


class _Reader:
    """Checks one file; every complaint names it."""

    def __init__(self, source: str) -> None:
        self.source = source

    def template(self, values: Mapping[str, Any], name: str, digest: str) -> Template:
        self.known(values, _TOP, "")
        answer = self.table(values, "answer", _ANSWER)
        body = values.get("body")
        method = values.get("method", "POST")
        encoding = values.get("encoding", "json")
        self.one_of(method, "method", ("POST", "GET", "PUT"))
        self.one_of(encoding, "encoding", ("json", "multipart"))
        self.one_of(answer.get("as", "auto"), "answer.as", ("auto", "url", "base64"))
        if method == "GET" and body is not None:
            self.fail("body", "there, though the method is GET", "no body")
        for key in ("url", "answer.image"):
            if not (values.get("url") if key == "url" else answer.get("image")):
                self.fail(
                    key,
                    "missing",
                    "the address of the service" if key == "url" else f"a path; {FORM}",
                )
        self.places(values["url"], "url")
        self.places(body or {}, "body")
        if "{prompt}" not in values["url"] and "{prompt}" not in str(body):
            self.fail("body", "without {prompt}", "a place where the prompt goes")
        if encoding == "multipart" and any(
            not isinstance(item, str | int | float) for item in (body or {}).values()
        ):
            self.fail(
                "body", "nested", "texts and numbers only, as multipart forms hold nothing else"
            )
        size = values.get("size", "")
        if size and not re.fullmatch(r"\d{1,5}x\d{1,5}", size):
            self.fail("size", repr(size), "WIDTHxHEIGHT, such as 1024x1024")
        for key in ("timeout", "price"):
            if values.get(key, 1) < 0:
                self.fail(key, str(values[key]), "0 or more")
        return Template(
            name=values.get("name", name),
            url=values["url"],
            headers=tuple(
                self.header(key, value) for key, value in values.get("headers", {}).items()
            ),
            body=body,
            image=() if answer["image"] == "." else self.paths(answer, "image", "answer"),
            rules=tuple(
                self.rule(item, f"rule {at}") for at, item in enumerate(values.get("rule", []), 1)
            ),
            digest=digest,
            method=method,
            model=values.get("model", ""),
            size=size,
            multipart=encoding == "multipart",
            kind=answer.get("as", "auto"),
            note=self.paths(answer, "note", "answer"),
            cost=self.paths(answer, "cost", "answer"),
            poll=self.poll(self.table(values, "poll", _POLL)) if "poll" in values else None,
            timeout=float(values.get("timeout", 300)),
            price=values.get("price"),
            provider=values.get("provider", ""),
            seed_min=values.get("seed_min", 0),
            seed_max=values.get("seed_max", 2**31 - 1),
            image_hosts=self.hosts(values, "image_hosts"),
        )

    def poll(self, values: Mapping[str, Any]) -> Poll:
        for key in ("url", "state", "done"):
            if not values.get(key):
                self.fail(
                    f"poll.{key}",
                    "missing",
                    "a path" if key != "done" else "a list of values of the state",
                )
        if not values["url"].startswith(("https://", "http://")):
            self.path(values["url"], "poll.url")
        return Poll(
            url=values["url"],
            state=self.path(values["state"], "poll.state"),
            done=tuple(map(plain, values["done"])),
            failed=tuple(map(plain, values.get("failed", []))),
            answer=self.path(values["answer"], "poll.answer") if "answer" in values else None,
            interval=float(values.get("interval", 1.0)),
            timeout=float(values.get("timeout", 300.0)),
            hosts=self.hosts(values, "hosts"),
        )

    def rule(self, values: Any, place: str) -> Rule:
        if not isinstance(values, dict):
            self.fail(place, "no table", "[[rule]] with an outcome")
        self.known(values, _RULE, f"{place}.")
        outcomes: dict[str, Status] = {item: item for item in get_args(Status) if item != "ok"}
        self.one_of(values.get("outcome", ""), f"{place}.outcome", tuple(outcomes))
        if "status" not in values and "path" not in values:
            self.fail(place, "without a condition", "status, or path, or both")
        status = values.get("status", [])
        statuses = status if isinstance(status, list) else [status]
        if not all(type(item) is int and 100 <= item < 600 for item in statuses):
            self.fail(f"{place}.status", repr(status), "an HTTP status or a list of them")
        try:
            matches = re.compile(values["matches"]) if "matches" in values else None
        except re.error as error:
            self.fail(
                f"{place}.matches", f"no regular expression ({error})", "one in Python's syntax"
            )
        return Rule(
            outcome=outcomes[values["outcome"]],
            statuses=tuple(statuses),
            path=self.path(values["path"], f"{place}.path") if "path" in values else None,
            values=tuple(map(plain, values.get("values", []))),
            matches=matches,
            retry_after=self.path(values["retry_after"], f"{place}.retry_after")
            if "retry_after" in values
            else None,
        )

    def header(self, name: str, value: Any) -> Header:
        place = f"headers.{name}"
        if not re.fullmatch(r"[A-Za-z0-9-]+", name):
            self.fail("headers", f"with the name {name!r}", "letters, digits and hyphens")
        if isinstance(value, dict):
            self.known(value, {"env": _TEXT, "prefix": _TEXT}, f"{place}.")
            if not value.get("env"):
                self.fail(
                    place, "without env", '{ env = "NAME_OF_THE_VARIABLE", prefix = "Bearer " }'
                )
            return Header(name, self.visible(value.get("prefix", ""), place), value["env"])
        if not isinstance(value, str):
            self.fail(
                place, f"a {type(value).__name__}", 'a text, or { env = "NAME_OF_THE_VARIABLE" }'
            )
        if _SECRET_NAMES.search(name):
            self.fail(
                place,
                "given as a text",
                'keys from the environment: { env = "NAME_OF_THE_VARIABLE", prefix = "Bearer " }',
            )
        return Header(name, self.visible(value, place))

    def visible(self, text: str, place: str) -> str:
        if not re.fullmatch(r"[ -~]*", text):
            self.fail(place, "with characters that no header may hold", "plain ASCII")
        return text

    def places(self, value: Any, place: str) -> None:
        """Every {name} in the texts of a value is one that evalkit fills in."""
        if isinstance(value, dict):
            for key, item in value.items():
                self.places(item, f"{place}.{key}")
        elif isinstance(value, list):
            for at, item in enumerate(value):
                self.places(item, f"{place}[{at}]")
        elif isinstance(value, str):
            for found in PLACEHOLDER.findall(value):
                if found not in PLACES:
                    self.fail(
                        place, f"with {{{found}}}", ", ".join(f"{{{item}}}" for item in PLACES)
                    )
        elif not isinstance(value, bool | int | float):
            self.fail(
                place, f"a {type(value).__name__}", "texts, numbers, true, false, lists and tables"
            )

    def hosts(self, values: Mapping[str, Any], key: str) -> tuple[str, ...]:
        given = values.get(key, [])
        if not all(isinstance(item, str) for item in given):
            self.fail(key, repr(given), "a list of host names")
        return check_patterns([item.lower() for item in given], f"{key} of {self.source}")

    def paths(self, values: Mapping[str, Any], key: str, place: str) -> tuple[Path, ...]:
        given = values.get(key, [])
        return tuple(
            self.path(item, f"{place}.{key}")
            for item in (given if isinstance(given, list) else [given])
        )

    def path(self, text: Any, place: str) -> Path:
        path = parse_path(text) if isinstance(text, str) else None
        if path is None:
            self.fail(place, repr(text), f"a path; {FORM}")
        return path

    def table(
        self, values: Mapping[str, Any], key: str, fields: Mapping[str, tuple[type, ...]]
    ) -> Mapping[str, Any]:
        found = values.get(key, {})
        self.known(found, fields, f"{key}.")
        return found

    def known(
        self, values: Mapping[str, Any], fields: Mapping[str, tuple[type, ...]], place: str
    ) -> None:
        for key, value in values.items():
            if key not in fields:
                raise EvalkitError(
                    f"The template {self.source} has the unknown field {place}{key}.",
                    nearest(key, fields),
                )
            if not isinstance(value, fields[key]) or isinstance(value, bool):
                self.fail(
                    f"{place}{key}",
                    repr(value),
                    " or ".join(dict.fromkeys(_KINDS[kind] for kind in fields[key])),
                )

    def one_of(self, value: str, place: str, known: tuple[str, ...]) -> None:
        if value not in known:
            self.fail(place, repr(value) if value else "missing", "one of " + ", ".join(known))

    def fail(self, place: str, found: str, expected: str) -> NoReturn:
        raise EvalkitError(
            f"The template {self.source} has {place} {found}; expected {expected}.",
            "See docs/remote.md.",
        )
