"""A template: a TOML file that describes how to ask one service for an image.

Every field is checked when the file is read, so that a mistake costs no request.
docs/remote/templates.md explains the fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, get_args

from evalkit.core import EvalkitError, Status
from evalkit.files import parse_toml, read_utf8
from evalkit.generators.services.json_paths import EXPECTED, JsonPath, as_text, parse_path
from evalkit.generators.services.template import Header, Poll, Rule, Template
from evalkit.generators.services.template_request import NAMES, PLACEHOLDER
from evalkit.hints import a_type, did_you_mean
from evalkit.remote.addresses import check_patterns

_SECRET_NAMES = re.compile(r"authorization|key|token|secret|password|cookie", re.IGNORECASE)
_ENV_EXAMPLE = '{ env = "NAME_OF_THE_VARIABLE", prefix = "Bearer " }'


class _Type(NamedTuple):
    types: tuple[type, ...]
    name: str


_TEXT, _TEXTS = _Type((str,), "a string"), _Type((str, list), "a string or a list")
_INTEGER, _INTEGERS = _Type((int,), "an integer"), _Type((int, list), "an integer or a list")
_NUMBER = _Type((int, float), "a number")
_LIST, _TABLE = _Type((list,), "a list"), _Type((dict,), "a table")
_TOP: Mapping[str, _Type] = {
    **dict.fromkeys(("name", "checked", "method", "url", "model", "size"), _TEXT),
    **dict.fromkeys(("encoding", "provider"), _TEXT),
    **dict.fromkeys(("timeout", "price"), _NUMBER),
    **dict.fromkeys(("seed_min", "seed_max"), _INTEGER),
    **dict.fromkeys(("image_hosts", "rule"), _LIST),
    **dict.fromkeys(("headers", "body", "answer", "poll"), _TABLE),
}
_ANSWER = {"image": _TEXTS, "as": _TEXT, "note": _TEXTS, "cost": _TEXTS}
_POLL = {
    **dict.fromkeys(("url", "state", "answer"), _TEXT),
    **dict.fromkeys(("done", "failed", "hosts"), _LIST),
    **dict.fromkeys(("interval", "timeout"), _NUMBER),
}
_RULE = {
    **dict.fromkeys(("path", "matches", "outcome", "retry_after"), _TEXT),
    "status": _INTEGERS,
    "values": _LIST,
}
_OUTCOMES: dict[str, Status] = {
    status: status for status in get_args(Status) if status not in ("ok", "missing")
}


def recipes() -> list[str]:
    """The names of the templates that are part of evalkit."""
    names = (item.name for item in _folder().iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def read_template(spec: str) -> Template:
    """A template by its path, or a recipe by its name. Raises EvalkitError."""
    if spec.endswith(".toml") or "/" in spec:
        try:
            text, source = read_utf8(Path(spec).expanduser()), spec
        except OSError as error:
            raise EvalkitError(
                f"The template {spec} cannot be read: {error.strerror}.",
                f"Give a path relative to the current folder, or a recipe: {', '.join(recipes())}.",
                code="generators-64",
            ) from None
    elif spec in recipes():
        file = _folder() / f"{spec}.toml"
        text, source = file.read_text(encoding="utf-8"), f"the recipe {spec}"
    else:
        raise EvalkitError(
            f"There is no recipe {spec!r}.",
            f"{did_you_mean(spec, recipes())} The path of your own template must end in .toml.",
            code="generators-65",
        )
    return parse_template(text, source, Path(spec).stem)


def parse_template(text: str, source: str, name: str = "template") -> Template:
    """Parse and check a template. Raises EvalkitError, which names the line or the field."""
    try:
        values = parse_toml(text)
    except (ValueError, RecursionError) as error:  # names line and column
        last_line = f"at the end, line {len(text.splitlines())}"
        where = str(error).replace("at end of document", last_line)
        raise EvalkitError(
            f"The template {source} is not valid TOML: {where}.",
            "See docs/remote/templates.md for an example.",
            code="generators-66",
        ) from None
    return _Checker(source).template(values, name, sha256(text.encode()).hexdigest())


def _folder() -> Any:
    return resources.files("evalkit.generators.services") / "recipes"


class _Checker:
    """Checks the values of one file, which every error names."""

    def __init__(self, source: str) -> None:
        self.source = source

    def template(self, values: Mapping[str, Any], name: str, digest: str) -> Template:
        self.check_fields(values, _TOP, "")
        answer = self.table(values, "answer", _ANSWER)
        self.check_request(values)
        image_as = self.one_of(answer.get("as", "auto"), "answer.as", ("auto", "url", "base64"))
        if not answer.get("image"):
            self.fail("answer.image", "is missing", EXPECTED)
        headers = values.get("headers", {})
        rules = enumerate(values.get("rule", []), 1)
        return Template(
            name=values.get("name", name),
            url=values["url"],
            method=values.get("method", "POST"),
            headers=tuple(self.header(key, value) for key, value in headers.items()),
            body=values.get("body"),
            multipart=values.get("encoding") == "multipart",
            model=values.get("model", ""),
            size=values.get("size", ""),
            seed_min=values.get("seed_min", 0),
            seed_max=values.get("seed_max", 2**31 - 1),
            timeout=float(values.get("timeout", 300)),
            price=values.get("price"),
            provider=values.get("provider", ""),
            image=() if answer["image"] == "." else self.paths(answer, "image"),
            image_as=image_as,
            image_hosts=self.hosts(values, "image_hosts"),
            note=self.paths(answer, "note"),
            cost=self.paths(answer, "cost"),
            poll=self.poll(self.table(values, "poll", _POLL)) if "poll" in values else None,
            rules=tuple(self.rule(item, f"rule {number}") for number, item in rules),
            digest=digest,
        )

    def check_request(self, values: Mapping[str, Any]) -> None:
        body = values.get("body")
        method = self.one_of(values.get("method", "POST"), "method", ("POST", "GET", "PUT"))
        encoding = self.one_of(values.get("encoding", "json"), "encoding", ("json", "multipart"))
        if method == "GET" and body is not None:
            self.fail("body", "is set, but the method is GET", "no body")
        if not values.get("url"):
            self.fail("url", "is missing", "the address of the service")
        self.check_placeholders(values["url"], "url")
        self.check_placeholders(body or {}, "body")
        if "{prompt}" not in values["url"] and "{prompt}" not in str(body):
            self.fail("body", "does not contain {prompt}", "a field with the prompt")
        flat = all(isinstance(item, str | int | float) for item in (body or {}).values())
        if encoding == "multipart" and not flat:
            self.fail("body", "is nested", "only strings and numbers, as in any multipart form")
        size = values.get("size", "")
        if size and not re.fullmatch(r"\d{1,5}x\d{1,5}", size):
            self.fail("size", f"is {size!r}", "WIDTHxHEIGHT, such as 1024x1024")
        for key in ("timeout", "price"):
            if values.get(key, 1) < 0:
                self.fail(key, f"is {values[key]}", "0 or more")

    def poll(self, values: Mapping[str, Any]) -> Poll:
        for key, expected in (
            ("url", "a path or a URL"),
            ("state", "a path"),
            ("done", "a list of states"),
        ):
            if not values.get(key):
                self.fail(f"poll.{key}", "is missing", expected)
        if not values["url"].startswith(("https://", "http://")):
            self.path(values["url"], "poll.url")
        return Poll(
            url=values["url"],
            state=self.path(values["state"], "poll.state"),
            done=tuple(map(as_text, values["done"])),
            failed=tuple(map(as_text, values.get("failed", []))),
            answer=self.optional_path(values, "answer", "poll"),
            interval=float(values.get("interval", 1.0)),
            timeout=float(values.get("timeout", 300.0)),
            hosts=self.hosts(values, "hosts"),
        )

    def rule(self, values: Any, place: str) -> Rule:
        if not isinstance(values, dict):
            self.fail(place, "is not a table", "[[rule]] with an outcome")
        self.check_fields(values, _RULE, f"{place}.")
        outcome = self.one_of(values.get("outcome", ""), f"{place}.outcome", tuple(_OUTCOMES))
        if "status" not in values and "path" not in values:
            self.fail(place, "has no condition", "status, or path, or both")
        status = values.get("status", [])
        statuses = status if isinstance(status, list) else [status]
        if not all(type(item) is int and 100 <= item < 600 for item in statuses):
            self.fail(f"{place}.status", f"is {status!r}", "an HTTP status or a list of them")
        try:
            matches = re.compile(values["matches"]) if "matches" in values else None
        except re.error as error:
            found = f"is not a regular expression ({error})"
            self.fail(f"{place}.matches", found, "the syntax of Python's re")
        return Rule(
            outcome=_OUTCOMES[outcome],
            statuses=tuple(statuses),
            path=self.optional_path(values, "path", place),
            values=tuple(map(as_text, values.get("values", []))),
            matches=matches,
            retry_after=self.optional_path(values, "retry_after", place),
        )

    def header(self, name: str, value: Any) -> Header:
        place = f"headers.{name}"
        if not re.fullmatch(r"[A-Za-z0-9-]+", name):
            self.fail("headers", f"has the name {name!r}", "letters, digits and hyphens")
        if isinstance(value, dict):
            self.check_fields(value, {"env": _TEXT, "prefix": _TEXT}, f"{place}.")
            if not value.get("env"):
                self.fail(place, "has no env", _ENV_EXAMPLE)
            return Header(name, self.header_text(value.get("prefix", ""), place), value["env"])
        if not isinstance(value, str):
            self.fail(place, f"is {a_type(value)}", f"a string or {_ENV_EXAMPLE}")
        if _SECRET_NAMES.search(name):
            self.fail(place, "is a string", f"the key from the environment: {_ENV_EXAMPLE}")
        return Header(name, self.header_text(value, place))

    def header_text(self, text: str, place: str) -> str:
        if not re.fullmatch(r"[ -~]*", text):
            self.fail(place, "contains characters that headers do not allow", "printable ASCII")
        return text

    def check_placeholders(self, value: Any, place: str) -> None:
        """Every {name} in the strings of a value must be one that evalkit replaces."""
        if isinstance(value, dict):
            for key, item in value.items():
                self.check_placeholders(item, f"{place}.{key}")
        elif isinstance(value, list):
            for at, item in enumerate(value):
                self.check_placeholders(item, f"{place}[{at}]")
        elif isinstance(value, str):
            for found in PLACEHOLDER.findall(value):
                if found not in NAMES:
                    known = ", ".join(f"{{{name}}}" for name in NAMES)
                    self.fail(place, f"contains {{{found}}}", known)
        elif not isinstance(value, bool | int | float):
            expected = "strings, numbers, true, false, lists and tables"
            self.fail(place, f"is {a_type(value)}", expected)

    def hosts(self, values: Mapping[str, Any], key: str) -> tuple[str, ...]:
        given = values.get(key, [])
        if not all(isinstance(item, str) for item in given):
            self.fail(key, f"is {given!r}", "a list of host names")
        return check_patterns([item.lower() for item in given], f"{key} of {self.source}")

    def paths(self, answer: Mapping[str, Any], key: str) -> tuple[JsonPath, ...]:
        given = answer.get(key, [])
        texts = given if isinstance(given, list) else [given]
        return tuple(self.path(text, f"answer.{key}") for text in texts)

    def optional_path(self, values: Mapping[str, Any], key: str, place: str) -> JsonPath | None:
        return self.path(values[key], f"{place}.{key}") if key in values else None

    def path(self, text: Any, place: str) -> JsonPath:
        path = parse_path(text) if isinstance(text, str) else None
        if path is None:
            self.fail(place, f"is {text!r}", EXPECTED)
        return path

    def table(
        self, values: Mapping[str, Any], key: str, fields: Mapping[str, _Type]
    ) -> Mapping[str, Any]:
        found = values.get(key, {})
        self.check_fields(found, fields, f"{key}.")
        return found

    def check_fields(
        self, values: Mapping[str, Any], fields: Mapping[str, _Type], prefix: str
    ) -> None:
        for key, value in values.items():
            if key not in fields:
                raise EvalkitError(
                    f"The template {self.source} has the unknown field {prefix}{key}.",
                    did_you_mean(key, fields),
                    code="generators-67",
                )
            if not isinstance(value, fields[key].types) or isinstance(value, bool):
                self.fail(f"{prefix}{key}", f"is {value!r}", fields[key].name)

    def one_of(self, value: str, place: str, known: tuple[str, ...]) -> str:
        if value not in known:
            found = f"is {value!r}" if value else "is missing"
            self.fail(place, found, f"one of {', '.join(known)}")
        return value

    def fail(self, place: str, found: str, expected: str) -> NoReturn:
        raise EvalkitError(
            f"In the template {self.source}, {place} {found}; expected {expected}.",
            "See docs/remote/templates.md.",
            code="generators-68",
        )
