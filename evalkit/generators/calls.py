"""One call of a generator. Its code is that of others: every result is checked and copied."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import get_args

import numpy as np
from PIL.Image import Image, fromarray

from evalkit.core import EvalkitError, Generator, Refusal, Status
from evalkit.escape import visible
from evalkit.hints import a_type, plural
from evalkit.images import PIXEL_LIMIT
from evalkit.plugin_calls import plugin_call

_LONGEST = 1000  # characters of a note or a reason
_EXPECTED = "RGB images, uint8 arrays [H, W, 3] or evalkit.core.Refusal"


def images_of(
    generator: Generator,
    prompts: Sequence[str],
    seeds: Sequence[int],
    label: str,
    *,
    place: str = "",
    hint: str = "Correct the model.",
    memory_hint: str = "",
) -> tuple[list[Image | Refusal], int]:
    """The images of one batch, and the peak memory of the generator in bytes (0 if unknown).

    Images are copies in mode RGB, made as each result arrives: a generator may use its buffer for
    the next one. Of `info`, "note" is a text without control characters, cut to 1000.

    Args:
        label: of the model, for messages.
        place: where in the run this is, such as "on prompts 00000 to 00007".
        hint, memory_hint: what to do next; the second one where memory ran out.

    Raises EvalkitError if the generator raises anything but KeyboardInterrupt, or returns anything
    but one result per prompt.
    """
    place = f" {place}" if place else ""
    with plugin_call(generator, f"The model {label!r} failed{place}", hint, memory_hint):
        given: object = generator(list(prompts), list(seeds))
        results: list[Image | Refusal | str] | None = None
        if isinstance(given, Iterable):
            # An endless iterator ends too, whatever length it states.
            finite = isinstance(given, list | tuple | np.ndarray)
            items = given if finite else islice(given, len(prompts) + 1)
            results = [_taken(item) for item in items]
        memory = _peak_memory(generator)
    found, expected = "", _EXPECTED
    if results is None:
        found, expected = a_type(given), f"a list of {plural(len(prompts), 'image')}"
    elif len(results) != len(prompts):
        found, expected = plural(len(results), "result"), str(len(prompts))
    else:
        found = next((one for one in results if isinstance(one, str)), "")
    if found or results is None:
        raise EvalkitError(
            f"The model {label!r} returned {found}{place}; expected {expected}.",
            hint,
            code="generators-4",
        )
    return [result for result in results if not isinstance(result, str)], memory


def _taken(result: object) -> Image | Refusal | str:
    """A copy of the result, or in words what it is instead."""
    if isinstance(result, Refusal):
        if result.status not in get_args(Status) or result.status == "ok":
            return f"a Refusal with the status {result.status!r:.80}"
        return dataclasses.replace(result, detail=_text(result.detail))
    if isinstance(result, Image):
        if result.mode != "RGB" or not result.width or not result.height:
            return f"an image in mode {result.mode}, {result.size}"
        if result.width * result.height > PIXEL_LIMIT:
            return f"an image of {result.width} x {result.height} pixels, more than 64 million"
        image = result.copy()  # loads it, and is no instance of a subclass
        if "note" in image.info:
            image.info["note"] = _text(image.info["note"])
        return image
    if isinstance(result, np.ndarray):
        shape = list(result.shape)
        if result.dtype != np.uint8 or result.ndim != 3 or shape[2] != 3 or not result.size:
            return f"an array of {result.dtype} {shape}"
        if shape[0] * shape[1] > PIXEL_LIMIT:
            return f"an image of {shape[1]} x {shape[0]} pixels, more than 64 million"
        return fromarray(np.array(result, order="C", subok=False))
    if hasattr(result, "shape") and hasattr(result, "dtype"):
        return f"{a_type(result)} of {result.dtype} {list(result.shape)}"  # pyright: ignore
    return a_type(result)


def _peak_memory(generator: Generator) -> int:
    peak_memory = getattr(generator, "peak_memory", None)
    memory = peak_memory() if peak_memory is not None else 0
    if not isinstance(memory, int | np.integer) or not 0 <= memory < 2**63:
        raise TypeError(f"peak_memory() returned {memory!r:.80}; expected a number of bytes")
    return int(memory)


def _text(value: object) -> str:
    """A note or a reason, of which each image has its own, without control characters."""
    return visible(str(value)[:_LONGEST])
