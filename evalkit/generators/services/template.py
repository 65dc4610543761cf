"""What a template says, as frozen values: the request, the place of the image in the answer, the
rules, the polling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.core import Status
from evalkit.generators.services.template_paths import Path

PLACES = (
    "prompt",
    "seed",
    "width",
    "height",
    "size",
    "model",
)  # what a {place} in a template may stand for
PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")


@dataclass(frozen=True)
class Header:
    """One header: `prefix` and the value of an environment variable, or a plain text."""

    name: str
    text: str = ""
    env: str = ""


@dataclass(frozen=True)
class Rule:
    """What an answer means when its status and the values at a path are such. The first rule that
    fits decides.
    """

    outcome: Status
    statuses: tuple[int, ...] = ()  # () for any
    path: Path | None = None
    values: tuple[str, ...] = ()  # any of these, or
    matches: re.Pattern[str] | None = (
        None  # found in the value; with neither, the path has to be there
    )
    retry_after: Path | None = None  # where the answer says how long to wait: 3, "3" or "3s"


@dataclass(frozen=True)
class Poll:
    """How to ask whether an image is ready."""

    url: str  # a path into the first answer, or a URL with {path} places
    state: Path
    done: tuple[str, ...]
    failed: tuple[str, ...] = ()
    answer: Path | None = None  # the URL of the result, where it is not in the state itself
    interval: float = 1.0
    timeout: float = 300.0
    hosts: tuple[str, ...] = ()  # further hosts that may be asked, with the key


@dataclass(frozen=True)
class Template:
    name: str
    url: str
    headers: tuple[Header, ...]
    body: Mapping[str, Any] | None
    image: tuple[Path, ...]  # () where the body of the answer is the image
    rules: tuple[Rule, ...]
    digest: str  # of the file
    method: str = "POST"
    model: str = ""
    size: str = ""
    multipart: bool = False
    kind: str = "auto"  # of the value at `image`: url, base64, auto
    note: tuple[Path, ...] = ()
    cost: tuple[Path, ...] = ()
    poll: Poll | None = None
    timeout: float = 300.0
    price: float | None = None
    provider: str = ""  # in the price table
    seed_min: int = 0
    seed_max: int = 2**31 - 1
    image_hosts: tuple[str, ...] = ()
