"""API keys: read from the environment, never shown, and removed from the texts of a service."""

from __future__ import annotations

import os
import re
import string

from evalkit.core import EvalkitError

# str.lower() may change the length of a text; this table does not.
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_FRAGMENT = 12  # shorter pieces of a key are common prefixes such as "sk-proj-"


class Key:
    """The value of one environment variable. Its repr shows only the name of the variable."""

    def __init__(self, name: str, value: str) -> None:
        self.name, self._value = name, value

    @property
    def value(self) -> str:
        """The key, for a header and nothing else."""
        return self._value

    def __repr__(self) -> str:
        return f"Key({self.name})"

    def redact(self, text: str) -> str:
        """The text without the key and without its fragments of 12 characters, in any case."""
        covered = bytearray(len(text))
        key, plain = self._value.translate(_LOWER), text.translate(_LOWER)
        size = min(_FRAGMENT, len(key))
        for start in range(len(key) - size + 1):
            part, found = key[start : start + size], -1
            while (found := plain.find(part, found + 1)) >= 0:
                covered[found : found + size] = b"\1" * size
        marked = ("\0" if hidden else char for char, hidden in zip(text, covered, strict=True))
        return re.sub("\0+", "[key]", "".join(marked))


def read_key(name: str, used_by: str) -> Key:
    """The key in an environment variable. Raises EvalkitError, which never shows the value."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        # The text is not repeated: it may be the key itself.
        raise EvalkitError(
            f"The name of the environment variable with the key for {used_by} is not valid; "
            "expected the NAME of a variable, such as OPENAI_API_KEY.",
            "Do not give the key itself as an option.",
        )
    value = os.environ.get(name, "").strip()
    if not value:
        raise EvalkitError(
            f"The environment variable {name} with the key for {used_by} is not set.",
            f"Set it: `export {name}=…`.",
        )
    if not re.fullmatch(r"[!-~]{4,4096}", value):
        raise EvalkitError(
            f"The environment variable {name} is not a valid key; "
            "expected 4 to 4096 ASCII characters without spaces.",
            "Set it again.",
        )
    return Key(name, value)


def redacted(text: object, keys: tuple[Key, ...], limit: int = 300) -> str:
    """A text of a service as one line without keys and control characters, cut to `limit`."""
    printable = "".join(char if char.isprintable() else " " for char in str(text)[:20_000])
    plain = re.sub(r"\s+", " ", printable).strip()
    for key in keys:
        plain = key.redact(plain)
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"
