"""API keys: read from the environment by name, shown to nobody, taken out of whatever a service
says.
"""

from __future__ import annotations

import os
import re

from evalkit.core import EvalkitError

_LOWER = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
)  # keeps the length, as lower() need not
# so many characters of a key in a row are taken out too; shorter ones are common prefixes such as
# "sk-proj-"
_FRAGMENT = 12


class Key:
    """The value of one environment variable. Its repr names the variable; `value` goes into a
    header and nowhere else.
    """

    def __init__(self, name: str, value: str) -> None:
        self.name, self._value = name, value

    @property
    def value(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Key({self.name})"

    def redact(self, text: str) -> str:
        """The text without the key, whole or in fragments of at least 12 characters, in capitals or
        not.
        """
        covered = bytearray(len(text))
        key, plain = self._value.translate(_LOWER), text.translate(_LOWER)
        size = min(_FRAGMENT, len(key))
        for start in range(len(key) - size + 1):
            part, found = key[start : start + size], -1
            while (found := plain.find(part, found + 1)) >= 0:
                covered[found : found + size] = b"\1" * size
        return re.sub(
            "\0+",
            "[key]",
            "".join("\0" if hidden else char for char, hidden in zip(text, covered, strict=True)),
        )


def read_key(name: str, used_by: str) -> Key:
    """The key in the environment variable `name`. Raises EvalkitError, which names the variable and
    never the value.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        # the text given is not repeated: it may be the key itself
        expected = "expected the NAME of an environment variable, such as OPENAI_API_KEY"
        raise EvalkitError(
            f"{used_by} is given a text that cannot name an environment variable; {expected}.",
            "Keys are never given as options.",
        )
    value = os.environ.get(name, "").strip()
    if not value:
        raise EvalkitError(
            f"The environment variable {name}, which holds the key for {used_by}, is not set.",
            f"Set it: `export {name}=…`.",
        )
    if not re.fullmatch(r"[!-~]{4,4096}", value):
        raise EvalkitError(
            f"The environment variable {name} holds blanks or characters that no key has, or is too short.",
            "Set it again.",
        )
    return Key(name, value)


def said(text: object, keys: tuple[Key, ...], limit: int = 300) -> str:
    """What a service says, fit for a record: one line, no control characters, no key, at most
    `limit` characters.
    """
    plain = re.sub(
        r"\s+", " ", "".join(char if char.isprintable() else " " for char in str(text)[:20_000])
    ).strip()
    for key in keys:
        plain = key.redact(plain)
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"
