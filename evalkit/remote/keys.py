"""API keys: read from the environment, never shown, and removed from the texts of a service."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import re
import secrets
import string
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar

from evalkit.core import EvalkitError

# str.lower() may change the length of a text; this table does not.
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_FRAGMENT = 12  # shorter pieces of a key are common prefixes such as "sk-proj-"
_SHORTEST = 8  # of what is searched for in an encoded form: less is found in any text
_unneeded = ContextVar("keys_not_needed", default=False)
_ESCAPES = re.compile(r"0x|\\x|\\u00|&#x", re.IGNORECASE)  # before the two digits of a byte


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
        """The text without the key and without its fragments of 12 characters, in any case.

        A service may repeat the key in another form: with signs between its characters, backwards,
        escaped, or in base64, base32, hexadecimal or decimal numbers at any offset. So letters and
        digits alone are compared with those of all forms.
        """
        covered = bytearray(len(text))
        places, plain = list(range(len(text))), text.translate(_LOWER)
        _cover(covered, places, plain, self._value.translate(_LOWER), min(4, len(self._value)))
        for whole in (text, _ESCAPES.sub(lambda found: " " * len(found[0]), text)):
            places, plain = _letters(whole)
            for form in _forms(self._value):
                _cover(covered, places, plain, form, _SHORTEST)
        marked = ("\0" if hidden else char for char, hidden in zip(text, covered, strict=True))
        return re.sub("\0+", "[key]", "".join(marked))


def _cover(covered: bytearray, places: list[int], plain: str, form: str, shortest: int) -> None:
    """Mark all fragments of a form in a text; `places` are those of its characters."""
    size = min(_FRAGMENT, len(form))
    for start in range(len(form) - size + 1 if size >= shortest else 0):
        part, found = form[start : start + size], -1
        while (found := plain.find(part, found + 1)) >= 0:
            first, last = places[found], places[found + size - 1]
            covered[first : last + 1] = b"\1" * (last + 1 - first)


def _letters(text: str) -> tuple[list[int], str]:
    """The ASCII letters and digits of a text in lower case, and their places in it."""
    found = [
        (place, plain.lower())
        for place, character in enumerate(text)
        if len(plain := unicodedata.normalize("NFKC", character)) == 1
        and plain.isascii()
        and plain.isalnum()
    ]
    return [place for place, _ in found], "".join(character for _, character in found)


@functools.cache
def _forms(key: str) -> frozenset[str]:
    """The letters and digits of a key in every form, forwards and backwards."""
    texts = {way for text in (key, key.lower(), key.upper()) for way in (text, text[::-1])}
    made = {_letters(form)[1] for text in texts for form in (text, *_encoded(text.encode()))}
    return frozenset(made | {form[::-1] for form in made})


def _encoded(data: bytes) -> Iterator[str]:
    yield data.hex()
    yield "".join(map(str, data))  # `&#115;`
    # Base64 and base32 cut bytes into groups of bits. Inside of a longer text the key begins at any
    # offset, and the signs at both ends that depend on its neighbours are left out.
    for encode, group, bits in ((base64.b64encode, 3, 6), (base64.b32encode, 5, 5)):
        for offset in range(group):
            padded = b"\0" * offset + data
            yield encode(padded).decode()[-(-offset * 8 // bits) : len(padded) * 8 // bits]


@contextlib.contextmanager
def without_keys(wanted: bool = True) -> Iterator[None]:
    """Nothing is sent in this block: a variable that is not set is no error."""
    before = _unneeded.set(wanted)
    try:
        yield
    finally:
        _unneeded.reset(before)


def read_key(name: str, used_by: str) -> Key:
    """The key in an environment variable. Raises EvalkitError, which never shows the value."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        # The text is not repeated: it may be the key itself.
        raise EvalkitError(
            f"The name of the environment variable with the key for {used_by} is not valid; "
            "expected the NAME of a variable, such as OPENAI_API_KEY.",
            "Do not give the key itself as an option.",
            code="remote-17",
        )
    value = os.environ.get(name, "").strip()
    if not value and _unneeded.get():
        return Key(name, secrets.token_hex(16))  # no option contains it by chance
    if not value:
        raise EvalkitError(
            f"The environment variable {name} with the key for {used_by} is not set.",
            f"Set it: `export {name}=…`.",
            code="remote-18",
        )
    if not re.fullmatch(r"[!-~]{4,4096}", value):
        raise EvalkitError(
            f"The environment variable {name} is not a valid key; "
            "expected 4 to 4096 ASCII characters without spaces.",
            "Set it again.",
            code="remote-19",
        )
    return Key(name, value)


def refuse_keys(options: Mapping[str, object], keys: Sequence[Key]) -> None:
    """Refuse an option that contains a key: options are recorded in the run folder."""
    for name, value in options.items():
        for key in keys:
            if isinstance(value, str) and key.value in value:
                raise EvalkitError(
                    f"The option {name} contains the key itself.",
                    f"The key is read from {key.name}; leave it out of the options.",
                    code="remote-20",
                )


def redacted(text: object, keys: tuple[Key, ...], limit: int = 300) -> str:
    """A text of a service as one line without keys and control characters, cut to `limit`."""
    printable = "".join(char if char.isprintable() else " " for char in str(text)[:20_000])
    plain = re.sub(r"\s+", " ", printable).strip()
    for key in keys:
        plain = key.redact(plain)
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"
