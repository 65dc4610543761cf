"""Whether the image has the text that its prompt puts in quotation marks, read by RapidOCR.

The package `rapidocr` brings the networks: PP-OCRv6 small, which finds and reads Latin, Chinese and
Japanese text, among others. Nothing is downloaded. One reading gives three numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from evalkit.core import EvalkitError, Unavailable
from evalkit.hints import did_you_mean
from evalkit.prompts.quotes import quoted
from evalkit.scorer import Answer, NoAnswer, Scorer
from evalkit.scorers.text_comparison import (
    CONVENTIONS,
    closest,
    edit_distance,
    normalized,
    word_accuracy,
)

_INSTALL = "Type in the clone of evalkit: `pip install '.[ocr]'`."
_MODELS = {
    "Det": "PP-OCRv6_det_small.onnx",
    "Cls": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",  # which lines are upside down
    "Rec": "PP-OCRv6_rec_small.onnx",
}
_NARROWEST = 8  # times as long as wide; longer ones are framed
_READING = "rows-1/quotes-2"  # the order of lines, the call of the networks, what is a quote


class Line(NamedTuple):
    """A line of text in an image."""

    text: str
    confidence: float  # 0 to 1
    box: np.ndarray  # float [4, 2], the corners in pixels, x and y


class TextReader:
    """The text of an image against that of its prompt: "accuracy", "cer" and "distance"."""

    device = "cpu"

    def __init__(self, compare: str = "letters", confidence: float = 0.5) -> None:
        """Args:
            compare: what counts as equal: a name of text_comparison.CONVENTIONS.
            confidence: lines that are read with less are left out; 0.5 as in RapidOCR.

        Raises EvalkitError for an unknown convention, a confidence outside of 0 to 1, and where
        the packages are missing.
        """
        if compare not in CONVENTIONS:
            raise EvalkitError(
                f"There is no convention {compare!r} for comparing texts.",
                did_you_mean(compare, CONVENTIONS),
                code="scorers-55",
            )
        if not 0 <= confidence <= 1:
            raise EvalkitError(
                f"The option confidence is {confidence}; expected 0 to 1.",
                "0.5 is usual.",
                code="scorers-56",
            )
        self.compare, self.confidence = compare, confidence
        self._network, digest = _loaded()
        self.name = f"pp-ocrv6-small-{compare}"
        if confidence != 0.5:
            self.name += f"-{confidence:g}"
        self.fingerprint = f"{digest}/{_READING}/{compare}/{confidence!r}"

    def __call__(
        self, images: Sequence[Image.Image], prompts: Sequence[str]
    ) -> Iterator[Answer | NoAnswer]:
        for image, prompt in zip(images, prompts, strict=True):
            quotes = quoted(prompt)
            asked = [text for one in quotes if (text := normalized(one, self.compare))]
            if not quotes:
                yield NoAnswer("the prompt quotes no text")
            elif not asked:
                yield NoAnswer("the prompt quotes neither letters nor digits")
            else:
                yield self._answer(asked, quotes, self.lines(image))

    def lines(self, image: Image.Image) -> list[Line]:
        """The lines of text in an RGB image in the order of reading; [] where it has none."""
        pixels = np.ascontiguousarray(np.asarray(_framed(image))[..., ::-1])  # BGR
        found: Any = self._network(pixels, text_score=0)
        if not (
            texts := getattr(found, "txts", None)
        ):  # nothing found, or nothing that it can read
            return []
        scores = map(float, found.scores)
        return by_rows([Line(*one) for one in zip(texts, scores, found.boxes, strict=True)])

    def _answer(self, asked: Sequence[str], quotes: Sequence[str], lines: Sequence[Line]) -> Answer:
        sure = [line.text for line in lines if line.confidence >= self.confidence]
        read = normalized(" ".join(sure), self.compare)
        nearest = closest(asked, read)
        distance = edit_distance(nearest, read)
        values = {
            "accuracy": word_accuracy(asked, read),
            "cer": distance / len(nearest),
            "distance": 1 - distance / max(len(nearest), len(read)),
        }
        details: dict[str, Any] = {"quoted": list(quotes), "read": sure}
        if not lines:
            details["found"] = "no text"
        elif unsure := len(lines) - len(sure):
            details["unsure"] = unsure  # lines
        return Answer(values, details)


def by_rows(lines: Sequence[Line]) -> list[Line]:
    """Lines from top to bottom, and those of one row from left to right.

    A line is of the row above it if its centre is within half a line's height of the row's centre.
    """
    rows: list[list[Line]] = []
    for line in sorted(lines, key=_middle):
        height = float(np.ptp(line.box[:, 1]))
        if rows and _middle(line) - median(map(_middle, rows[-1])) < height / 2:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda one: one.box[:, 0].mean())]


def _framed(image: Image.Image) -> Image.Image:
    """The image; a long and narrow one at the left or top of a wider one.

    The shorter side becomes 736 pixels for the network, and the other one with it.
    """
    width, height = image.size
    if max(image.size) <= _NARROWEST * min(image.size):
        return image
    half = max(image.size) // 2
    wider = Image.new("RGB", (max(width, half), max(height, half)))
    wider.paste(image)
    return wider


def _middle(line: Line) -> float:
    return float(line.box[:, 1].mean())


def _loaded() -> tuple[Any, str]:
    """RapidOCR with the networks of its package, and a hash of them and of its version."""
    if lacks := _lacks():
        raise Unavailable(
            f"Reading text needs {lacks}, which is not installed.", _INSTALL, code="scorers-57"
        )
    import rapidocr

    folder = Path(str(rapidocr.__file__)).parent / "models"
    digest = hashlib.sha256()
    for file in _MODELS.values():
        try:
            digest.update((folder / file).read_bytes())
        except OSError as error:  # RapidOCR itself would download it
            raise Unavailable(
                f"The package rapidocr has no file {file}; expected version 3.10.",
                _INSTALL,
                code="scorers-58",
            ) from error
    paths = {f"{part}.model_path": str(folder / file) for part, file in _MODELS.items()}
    network = rapidocr.RapidOCR(params={"Global.log_level": "error", **paths})
    return network, digest.hexdigest()[:16]


def _lacks() -> str:
    return ", ".join(name for name in ("rapidocr", "onnxruntime") if find_spec(name) is None)


def _missing() -> str:
    return f"it needs {lacks}. {_INSTALL}" if (lacks := _lacks()) else ""


TEXT_ACCURACY = Scorer(
    "text_accuracy",
    "higher",
    load=TextReader,
    title="Text accuracy",
    question="Is the text that the prompt quotes in the image?",
    meaning="Share of the words that the prompt quotes which are read in the image.",
    paper="TextDiffuser (OCR recall), arXiv 2305.10855",
    range=(0.0, 1.0),
    aspect="text",
    output="accuracy",
    from_zero=True,
    missing=_missing,
)
TEXT_CER = replace(
    TEXT_ACCURACY,
    name="text_cer",
    better="lower",
    title="Text, character error rate",
    meaning="Edits from the quoted text to the text that is read, per quoted character.",
    paper="",
    range=(0.0, float("inf")),
    output="cer",
)
TEXT_DISTANCE = replace(
    TEXT_ACCURACY,
    name="text_distance",
    title="Text, 1 - normalized edit distance",
    meaning="1 - edits / length of the longer of the quoted text and the text that is read.",
    paper="AnyText (NED), arXiv 2311.03054",
    output="distance",
)
