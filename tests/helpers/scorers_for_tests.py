"""Scorers that tests name as `scorers_for_tests:NAME`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

import evalkit
from evalkit.core import EvalkitError

CALLS: list[tuple[int, list[str]]] = []  # images and prompts of each call
FAULT = [""]  # what `faulty` does


class Length:
    """The length of the prompt, and no answer for one that holds "dog"."""

    name, fingerprint = "length-1", "length-1"

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.fingerprint = factor, f"length-1/{factor}"

    def __call__(
        self, images: list[Image.Image], prompts: list[str]
    ) -> Iterator[evalkit.Answer | evalkit.NoAnswer]:
        CALLS.append((len(images), list(prompts)))
        for image, prompt in zip(images, prompts, strict=True):
            if "dog" in prompt:
                yield evalkit.NoAnswer("no dogs")
            else:
                values = {"value": self.factor * len(prompt), "width": float(image.width)}
                yield evalkit.Answer(values, {"words": prompt.split()})


class Faulty:
    name, fingerprint = "faulty-1", "faulty-1"

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> object:
        CALLS.append((len(images), list(prompts)))
        good: list[object] = [float(len(prompt)) for prompt in prompts]
        if FAULT[0] == "third":
            return self._third(good)
        made: dict[str, object] = {
            "": good,
            "text": ["much"] * len(good),
            "few": good[1:],
            "many": [*good, 1.0],
            "none": None,
            "empty": [evalkit.NoAnswer("")] * len(good),
            "details": [evalkit.Answer({"value": 1.0}, {"set": {1}})] * len(good),
        }
        return made[FAULT[0]]

    @staticmethod
    def _third(good: list[object]) -> Iterator[object]:
        yield from good[:2]
        raise RuntimeError("the third")


class Unsure:
    """Answers that may come later: none at first."""

    name, fingerprint = "unsure-1", "unsure-1"

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> list[object]:
        CALLS.append((len(images), list(prompts)))
        if FAULT[0] == "later":
            return [evalkit.NoAnswer("not reached", again=True)] * len(images)
        return [math.nan if "dog" in prompt else 1 for prompt in prompts]


def lacking() -> Length:
    raise EvalkitError("The weights of lacking were not found.", "Run `evalkit weights fetch x`.")


LENGTH = evalkit.Scorer("length", "higher", load=Length, range=(0.0, math.inf))
WIDTH = evalkit.Scorer("width", "higher", load=Length, output="width")
FAULTY = evalkit.Scorer("faulty", "lower", load=Faulty)
UNSURE = evalkit.Scorer("unsure", "higher", load=Unsure, range=(0.0, 1.0))
LACKING = evalkit.Scorer("lacking", "higher", load=lacking)
SHORTEST = evalkit.Metric(
    "shortest", lambda *, fake: fake.min(), "value", LENGTH.kind, "higher", scorer=LENGTH
)


class Bright:
    name, fingerprint = "bright-1", "bright-1"

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> list[float]:
        assert set(prompts) == {""}
        return [float(image.convert("L").resize((1, 1)).getpixel((0, 0))) for image in images]  # type: ignore[arg-type]


BRIGHT = evalkit.Scorer("bright", "higher", load=Bright, reads_prompts=False)


class Filed:
    """The number in a file, for every image."""

    name = "filed-1"

    def __init__(self, file: str) -> None:
        self.number = float(Path(file).read_text())
        self.fingerprint = f"filed-1/{self.number}"

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> list[float]:
        return [self.number] * len(images)


def crashing() -> Length:
    raise RuntimeError("no accelerator")


FILED = evalkit.Scorer("filed", "higher", load=Filed)
SHORT = evalkit.Scorer("short", "higher", load=Length, range=(0.0, 10.0))
HEIGHT = evalkit.Scorer("height", "higher", load=Length, output="height")
CRASHING = evalkit.Scorer("crashing", "higher", load=crashing)


class Miscounted:
    name, fingerprint = "miscounted-1", "miscounted-1"

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> object:
        good: list[object] = [float(len(prompt)) for prompt in prompts]
        if FAULT[0] == "lead":
            return iter([0.0, *good])
        if FAULT[0] == "early":
            return iter(good[:3])
        made: dict[str, object] = {
            "dict": dict(enumerate(good)),
            "complex": iter([1j] * len(good)),
            "names": iter([evalkit.Answer({5: 1.0})] * len(good)),  # type: ignore[dict-item]
            "huge": iter([10**400] * len(good)),
        }
        return made.get(FAULT[0], iter(good))


MISCOUNTED = evalkit.Scorer("miscounted", "higher", load=Miscounted)


class Unnamed:
    """No LoadedScorer: it has no name."""

    fingerprint = "unnamed-1"

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> list[float]:
        return [0.0] * len(images)


UNNAMED = evalkit.Scorer("unnamed", "higher", load=Unnamed)  # type: ignore[arg-type]


class Picky:
    """The length of the prompt; of images that are 24 pixels wide, for long prompts only."""

    name, fingerprint = "picky-1", "picky-1"

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> list[object]:
        return [
            evalkit.NoAnswer("refused") if image.width == 24 and len(text) < 12 else len(text)
            for image, text in zip(images, prompts, strict=True)
        ]


PICKY = evalkit.Scorer("picky", "higher", load=Picky)  # type: ignore[arg-type]


class Sized(Picky):
    """The width of the image in addition: the widest leads on the same prompts."""

    name, fingerprint = "sized-1", "sized-1"

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> list[object]:
        found = super().__call__(images, prompts)
        return [
            one if isinstance(one, evalkit.NoAnswer) else len(text) * 100 + image.width
            for one, image, text in zip(found, images, prompts, strict=True)
        ]


SIZED = evalkit.Scorer("sized", "higher", load=Sized)  # type: ignore[arg-type]


class Stopped:
    """A service that refuses to go on after the first answer."""

    name, fingerprint = "stopped-1", "stopped-1"

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> Iterator[float]:
        yield 1.0
        raise EvalkitError("the quota is used up.", "Run it again tomorrow.", 3)


STOPPED = evalkit.Scorer("stopped", "higher", load=Stopped)  # type: ignore[arg-type]


class Words:
    """Asks about each word, short or long, and answers by a hash of the image and the word."""

    name, fingerprint = "words-1", "words-1"

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> Iterator[object]:
        for image, prompt in zip(images, prompts, strict=True):
            if "no " in prompt:
                yield evalkit.NoAnswer("a no")
                continue
            pixels, parts = image.tobytes(), dict[str, list[float]]()
            for word in prompt.split():
                value = hashlib.sha256(pixels + word.encode()).digest()[0] / 255
                parts.setdefault("short" if len(word) < 4 else "long", []).append(value)
            every = [value for values in parts.values() for value in values]
            yield evalkit.Answer(
                {"value": sum(every) / len(every)}, {"prompt": prompt}, {"value": parts}
            )


class Each:
    """One category for each word of the prompt."""

    name, fingerprint = "each-1", "each-1"

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> list[evalkit.Answer]:
        parts = [{word: [1.0] for word in prompt.split()} for prompt in prompts]
        return [evalkit.Answer({"value": 1.0}, parts={"value": one}) for one in parts]


PARTS: list[object] = [{}]  # what `wrong_parts` states


class WrongParts:
    name, fingerprint = "wrong-parts-1", "wrong-parts-1"

    def __call__(self, images: list[Image.Image], prompts: list[str]) -> list[evalkit.Answer]:
        return [evalkit.Answer({"value": 1.0}, parts=PARTS[0])] * len(images)  # type: ignore[arg-type]


WORDS = evalkit.Scorer("words", "higher", load=Words, range=(0.0, 1.0))  # type: ignore[arg-type]
EACH = evalkit.Scorer("each", "higher", load=Each, range=(0.0, 1.0))
WRONG_PARTS = evalkit.Scorer("wrong_parts", "higher", load=WrongParts)
