"""A template as frozen values: the request, the path to the image, the rules and the polling."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.core import Status
from evalkit.generators.services.json_paths import JsonPath


@dataclass(frozen=True)
class Header:
    """One header: its text, followed by the value of an environment variable where `env` is set."""

    name: str
    text: str = ""
    env: str = ""


@dataclass(frozen=True)
class Rule:
    """The outcome of an answer with these statuses and values. The first rule that applies wins."""

    outcome: Status
    statuses: tuple[int, ...]  # () for any
    path: JsonPath | None
    values: tuple[str, ...]  # one of these is at the path, or
    matches: re.Pattern[str] | None  # this is found in the value; with neither, the path exists
    retry_after: JsonPath | None  # to the time to wait: 3, "3" or "3s"


@dataclass(frozen=True)
class Poll:
    """How to ask whether an image is ready."""

    url: str  # a path into the first answer, or a URL with {path} placeholders
    state: JsonPath
    done: tuple[str, ...]
    failed: tuple[str, ...]
    answer: JsonPath | None  # to the URL of the result, where the state does not contain it
    interval: float
    timeout: float
    hosts: tuple[str, ...]  # further hosts that may be polled, with the key


@dataclass(frozen=True)
class Template:
    """All fields of a template file; docs/remote/templates.md explains them."""

    name: str
    url: str
    method: str
    headers: tuple[Header, ...]
    body: Mapping[str, Any] | None
    multipart: bool
    model: str
    size: str
    seed_min: int
    seed_max: int
    timeout: float
    price: float | None
    provider: str  # in the price table
    image: tuple[JsonPath, ...]  # () where the body of the answer is the image
    image_as: str  # url, base64, auto
    image_hosts: tuple[str, ...]
    note: tuple[JsonPath, ...]
    cost: tuple[JsonPath, ...]
    poll: Poll | None
    rules: tuple[Rule, ...]
    digest: str  # SHA-256 of the file
