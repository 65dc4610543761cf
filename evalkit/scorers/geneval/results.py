"""The results of GenEval's own program as a scorer: results.jsonl of evaluate_images.py.

An image of the run is found by its pixels among the images that the file names, so a result never
lands on another image.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL.Image import Image

from evalkit.core import EvalkitError
from evalkit.files import read_limited
from evalkit.images import read_image
from evalkit.prompts.geneval import TAGS
from evalkit.prompts.text import decode_text, numbered_lines, parse_json
from evalkit.scorer import Answer, NoAnswer, Scorer
from evalkit.scorers.geneval.scorer import PAPER, answer, of_tags
from evalkit.scorers.geneval.task import Vocabulary
from evalkit.terminal import track

_MOST = 512 << 20  # bytes of the file
_COLUMNS = {"filename": str, "prompt": str, "tag": str, "correct": bool}
_EXPECTED = "Expected the results.jsonl that GenEval's evaluate_images.py wrote."


class _Result(NamedTuple):
    """One line of the file."""

    line: int
    filename: str
    prompt: str
    tag: str
    correct: bool
    reason: str


class GenEvalResults:
    """1 where GenEval's program found an image correct, else 0."""

    name = "geneval-official"

    def __init__(self, *, file: str, images: str = "") -> None:
        """
        Args:
            file: results.jsonl.
            images: the folder that the program evaluated, where its images are not at the paths
                that the file names: relative to the current folder, or to that of the file.

        Raises EvalkitError for a file that is not one, or that contradicts itself.
        """
        self._file, self._images = Path(file), Path(images) if images else None
        try:
            content = read_limited(self._file, _MOST)
        except OSError as error:
            raise EvalkitError(
                f"The results {file} cannot be read: {error.strerror}.",
                _EXPECTED,
                code="scorers-10",
            ) from error
        self._results = _read(decode_text(content, file), file)
        self.fingerprint = f"geneval-official-1/{hashlib.sha256(content).hexdigest()[:32]}"
        self._known: dict[str, list[_Result]] | None = None  # by a hash of the pixels

    def __call__(
        self, images: Sequence[Image], prompts: Sequence[str]
    ) -> Iterator[Answer | NoAnswer]:
        known = self._known = self._known or self._index()
        for image, prompt in zip(images, prompts, strict=True):
            found = known.get(_pixels(image), [])
            own = [one for one in found if one.prompt == prompt]
            if found and not own:
                raise EvalkitError(
                    f"An image of the prompt {prompt!r:.200} is {found[0].filename} of"
                    f" {self._file}, which has the prompt {found[0].prompt!r:.200} for it.",
                    "Score the images with the prompts that they were made and evaluated for.",
                    code="scorers-11",
                )
            if len({one.correct for one in own}) > 1:
                places = " and ".join(f"{one.filename} ({_said(one)})" for one in own)
                raise EvalkitError(
                    f"{self._file} has two results for one image: {places}.",
                    "Evaluate the images again.",
                    code="scorers-12",
                )
            if own:
                details = {"reason": own[0].reason, "file": own[0].filename}
                yield answer(own[0].tag, own[0].correct, details)
            else:
                yield NoAnswer(f"{self._file.name} has no result for the image", again=True)

    def _index(self) -> dict[str, list[_Result]]:
        """The results by the pixels of their images, of those images that are there."""
        places = [(one, self._place(one.filename)) for one in self._results]
        there = [(one, place) for one, place in places if place is not None]
        if not there:
            raise EvalkitError(
                f"None of the images that {self._file} names was found, such as"
                f" {self._results[0].filename!r:.200}.",
                "Give the folder that was evaluated: `--set geneval_results.images=FOLDER`.",
                code="scorers-13",
            )
        known: dict[str, list[_Result]] = defaultdict(list)
        for one, place in track(there, "reading the evaluated images", len(there), "images"):
            known[_pixels(read_image(place))].append(one)
        return known

    def _place(self, filename: str) -> Path | None:
        """Where an image is: 00000/samples/0000.png of the given folder, or at its path."""
        named = Path(filename)
        if self._images is not None:
            tried = [self._images.joinpath(*named.parts[-3:])]
        else:
            tried = [named, self._file.parent / named]
        return next((path for path in tried if os.path.isfile(path)), None)  # of any name


def _pixels(image: Image) -> str:
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def _said(one: _Result) -> str:
    return "correct" if one.correct else "not correct"


def _read(text: str, file: str) -> list[_Result]:
    """The lines of a file. Raises EvalkitError for one that is not a result."""
    results: dict[str, _Result] = {}
    for number, line in numbered_lines(text):
        place = f"Line {number} of {file}"
        row = parse_json(line, place, _EXPECTED)
        good = isinstance(row, dict) and all(
            isinstance(row.get(name), kind) for name, kind in _COLUMNS.items()
        )
        if not good:
            raise EvalkitError(
                f"{place} is not a result: expected {', '.join(_COLUMNS)}.",
                _EXPECTED,
                code="scorers-14",
            )
        columns = {name: row[name] for name in _COLUMNS}
        one = _Result(line=number, reason=str(row.get("reason") or ""), **columns)
        _check_task(row, one, place)
        if (other := results.setdefault(one.filename, one)) is not one:
            raise EvalkitError(
                f"{file} has {one.filename} twice: {_said(other)} in line {other.line},"
                f" {_said(one)} in line {number}.",
                "Give the file of one evaluation.",
                code="scorers-15",
            )
    if not results:
        raise EvalkitError(f"{file} has no result.", _EXPECTED, code="scorers-16")
    return list(results.values())


def _check_task(row: Mapping[str, Any], one: _Result, place: str) -> None:
    """Raise EvalkitError where a line was evaluated for another task than that of its prompt."""
    task = Vocabulary().task(one.prompt)
    if task is None or one.tag not in TAGS:
        raise EvalkitError(
            f"{place} has the prompt {one.prompt!r:.200} and the tag {one.tag!r:.50}; expected a"
            f" prompt of GenEval and one of {', '.join(TAGS)}.",
            _EXPECTED,
            code="scorers-17",
        )
    stated = row.get("metadata")
    if isinstance(stated, str):  # JSON in JSON, as the program writes it
        stated = parse_json(stated, f"The metadata in line {one.line}", _EXPECTED)
    expected = task.metadata(one.prompt)
    if one.tag != task.tag or (stated is not None and stated != expected):
        raise EvalkitError(
            f"{place} was evaluated for {stated or one.tag}; its prompt asks for {expected}.",
            "Evaluate the images again, with the metadata of their prompts.",
            code="scorers-18",
        )


GENEVAL_RESULTS = Scorer(
    "geneval_results",
    "higher",
    load=GenEvalResults,
    title="GenEval (official)",
    question="Are the objects of the prompt there, in their number, colours and places?",
    meaning="Share of images that GenEval's own program found correct, as results.jsonl says.",
    paper=PAPER,
    range=(0.0, 1.0),
    from_zero=True,
    missing=lambda: "name the results: `--set geneval_results.file=results.jsonl`",
)
GENEVAL_RESULTS_OVERALL = of_tags(
    GENEVAL_RESULTS,
    title="GenEval overall (official)",
    meaning="Mean over the tags of the share of images that GenEval's own program found correct.",
)
