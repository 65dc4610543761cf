"""Damage to the bytes of a file: the same kind and seed give the same damage."""

from __future__ import annotations

import random
from collections.abc import Callable

Damage = Callable[[bytearray, random.Random], None]
HEAD = 64  # bytes in which most formats state what and how much follows


def _flip(data: bytearray, at: int, rng: random.Random) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _span(data: bytearray, rng: random.Random) -> slice:
    """A part of the file, small or large with equal probability."""
    start = rng.randrange(len(data))
    return slice(start, start + max(1, int(len(data) ** rng.random())))


def cut(data: bytearray, rng: random.Random) -> None:
    """A download that stopped."""
    del data[rng.randrange(len(data)) :]


def cut_end(data: bytearray, rng: random.Random) -> None:
    """The last bytes are missing."""
    del data[-rng.randrange(1, 1 + min(40, len(data))) :]


def flip(data: bytearray, rng: random.Random) -> None:
    """One bit of memory or disk."""
    _flip(data, rng.randrange(len(data)), rng)


def flips(data: bytearray, rng: random.Random) -> None:
    for _ in range(8):
        _flip(data, rng.randrange(len(data)), rng)


def flip_head(data: bytearray, rng: random.Random) -> None:
    _flip(data, rng.randrange(min(HEAD, len(data))), rng)


def flip_end(data: bytearray, rng: random.Random) -> None:
    _flip(data, len(data) - 1 - rng.randrange(min(HEAD, len(data))), rng)


def zeros(data: bytearray, rng: random.Random) -> None:
    """A block that was never written, as after a crash."""
    span = _span(data, rng)
    data[span] = bytes(len(data[span]))


def noise(data: bytearray, rng: random.Random) -> None:
    span = _span(data, rng)
    data[span] = rng.randbytes(len(data[span]))


def lost(data: bytearray, rng: random.Random) -> None:
    del data[_span(data, rng)]


def twice(data: bytearray, rng: random.Random) -> None:
    span = _span(data, rng)
    data[span] = data[span] * 2


def high(data: bytearray, rng: random.Random) -> None:
    """A number in the file becomes as large as its bytes allow."""
    at = rng.randrange(len(data))
    data[at : at + 4] = b"\xff" * len(data[at : at + 4])


def text_mode(data: bytearray, rng: random.Random) -> None:
    """Copied as text: line ends became those of Windows, or bytes became UTF-8."""
    if rng.random() < 0.5:
        data[:] = data.replace(b"\n", b"\r\n")
    else:
        data[:] = data.decode("latin-1").encode()


KINDS: dict[str, Damage] = {
    function.__name__: function
    for function in (
        *(cut, cut_end, flip, flips, flip_head, flip_end),
        *(zeros, noise, lost, twice, high, text_mode),
    )
}


def damaged(data: bytes, kind: str, seed: int) -> bytes:
    """The file after one kind of damage."""
    changed = bytearray(data)
    KINDS[kind](changed, random.Random(f"{kind} {seed}"))
    return bytes(changed)
