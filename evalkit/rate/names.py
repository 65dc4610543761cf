"""Which prompt, model and image of a run a file means. What is not certain is not taken."""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from evalkit.core import EvalkitError
from evalkit.hints import did_you_mean
from evalkit.rate.answers import Cell, Clues
from evalkit.ratings.rating import KNOWN_BAD
from evalkit.run_folder import Run, folder_name

_STRAIGHT = str.maketrans("\u2018\u2019\u201c\u201d\u2032\u2033", "''\"\"'\"")
_SUFFIX = re.compile(r"\.(png|jpe?g|webp|gif|bmp|avif|jfif)$", re.IGNORECASE)
ROUNDED = re.compile(r"\d([.,]\d+)?E\+?\d+", re.IGNORECASE)


class Unknown(Exception):
    """A name that the run does not have, or that means several things."""

    def __init__(self, cell: Cell, reason: str) -> None:
        super().__init__(reason)
        self.cell, self.reason = cell, reason


class Place(NamedTuple):
    """One image of the run."""

    prompt: str
    model: str


class _File(NamedTuple):
    place: Place
    sample: int


@functools.lru_cache(10_000)
def plain(text: str) -> str:
    """The text in NFC with straight quotes and single spaces, and with HTML entities replaced."""
    text = unicodedata.normalize("NFC", html.unescape(text)).translate(_STRAIGHT)
    return " ".join(text.split())


class Names:
    """The names of a run: prompts by id and text, models by label, images by file name."""

    def __init__(self, run: Run, rename: Mapping[str, str]) -> None:
        self.run, self.models = run, run.models()
        for name, label in rename.items():
            if label not in self.models:
                raise EvalkitError(
                    f"{name!r} is renamed to {label!r}, which is not a model of {run.path}.",
                    did_you_mean(label, self.models),
                    code="rate-24",
                )
        self.prompts = run.prompts()
        self.ids = {prompt.id for prompt in self.prompts}
        self._labels = {label: label for label in self.models} | dict(rename)
        self._texts: dict[str, list[str]] = defaultdict(list)
        self._plain: dict[str, list[str]] = defaultdict(list)
        self._numbers: dict[str, list[str]] = defaultdict(list)
        for prompt in self.prompts:
            self._texts[unicodedata.normalize("NFC", prompt.text)].append(prompt.id)
            self._plain[plain(prompt.text)].append(prompt.id)
            if prompt.id.isdecimal():
                self._numbers[prompt.id.lstrip("0") or "0"].append(prompt.id)
        self._folded = _grouped((plain(name).casefold(), name) for name in self._labels)
        self.images: set[Place] = set()
        self._files: dict[str, set[_File]] = defaultdict(set)
        for model in self.models:
            self._add_files(model)
        self.notes: dict[str, None] = {}  # what was taken in another spelling

    def _add_files(self, model: str) -> None:
        for record in self.run.records(model):
            if record.status != "ok":
                continue
            place = Place(record.prompt, model)
            if record.sample == 0:
                self.images.add(place)
            for name in {record.file, record.source.replace("\\", "/")} - {""}:
                parts = name.split("/")
                keys = {"/".join(parts[at:]) for at in range(len(parts))}
                folders = {model, folder_name(model), f"images/{folder_name(model)}"}
                keys |= {f"{folder}/{key}" for folder in folders for key in tuple(keys)}
                for key in keys:
                    self._files[key].add(_File(place, record.sample))

    # --- looking up ---
    def find(self, clues: Clues) -> Place:
        """The image that the clues mean, if all of them fit. Raises Unknown."""
        model = self.model(clues.model) if clues.model.text else ""
        if clues.image.text:
            place, by = self._image(clues.image, model), clues.image
        elif model:
            place, by = Place(self.prompt(clues.prompt, model), model), clues.prompt
        else:
            raise Unknown(clues.model, "no model is named")
        for cell in dict.fromkeys((clues.prompt, *clues.texts)):
            stated = self._by_name(cell, place.model)
            if stated and place.prompt not in stated:
                kind = "image" if clues.image.text else "id"
                raise Unknown(cell, f"the {kind} {by.text!r:.80} is of another prompt")
            if cell.text.strip() and not stated and cell in clues.texts:
                raise Unknown(
                    cell,
                    f"no prompt of the run has this text; {by.text!r:.80} is of another one, or of"
                    " another run",
                )
        return place

    def model(self, cell: Cell) -> str:
        """The label that a name means. Raises Unknown."""
        text = cell.text.strip()
        if text in self._labels or text == KNOWN_BAD:
            return self._labels.get(text, KNOWN_BAD)
        found = {self._labels[name] for name in self._folded.get(plain(text).casefold(), ())}
        if len(found) == 1:
            [label] = found
            self.notes[f"The model {text!r} is taken as {label!r}."] = None
            return label
        raise Unknown(cell, f"no model of the run; {_uncapital(did_you_mean(text, self._labels))}")

    def prompt(self, cell: Cell, model: str = "") -> str:
        """The id of the prompt that a name means. Raises Unknown."""
        found = self._by_name(cell, model)
        if len(found) == 1:
            return found[0]
        if found:
            raise Unknown(cell, f"{len(found)} prompts have this text; give the ids")
        text = cell.text.strip()
        if not text:
            raise Unknown(cell, "no prompt is named")
        if ROUNDED.fullmatch(text):
            raise Unknown(cell, "no prompt; a spreadsheet rounded an id to this number")
        raise Unknown(cell, "no prompt of the run has this id, text or image")

    def _by_name(self, cell: Cell, model: str) -> Sequence[str]:
        """The ids that a text may mean: by id, exact text, image, then in another spelling."""
        text = cell.text.strip()
        if not text:
            return ()
        if text in self.ids:
            return (text,)
        found = self._texts.get(unicodedata.normalize("NFC", text))
        if found:
            return found
        files = [file for file in self._files_of(text) if model in ("", file.place.model)]
        prompts = sorted({file.place.prompt for file in files})
        if len(prompts) == 1:
            return prompts
        stem = _SUFFIX.sub("", text)
        if stem in self.ids:
            return (stem,)
        if text.isdecimal() and len(self._numbers.get(text.lstrip("0") or "0", ())) == 1:
            self.notes["Ids of prompts without their leading zeros are taken."] = None
            return self._numbers[text.lstrip("0") or "0"]
        return self._plain.get(plain(text), ())

    def _files_of(self, text: str) -> set[_File]:
        """The images that a path or URL may mean, by the longest end of it that is known."""
        path = unquote(re.split("[?#]", text.strip())[0]).replace("\\", "/")
        parts = [part for part in path.split("/") if part]
        for start in range(len(parts)):
            found = self._files.get("/".join(parts[start:]))
            if found:
                return found
        return set()

    def _image(self, cell: Cell, model: str) -> Place:
        files = self._files_of(cell.text)
        if not files:
            raise Unknown(cell, "no image of the run has this name")
        files = {file for file in files if model in ("", file.place.model)}
        if not files:
            raise Unknown(cell, f"not an image of the model {model!r}")
        if len(files) > 1:
            models = ", ".join(sorted({file.place.model for file in files}))
            raise Unknown(cell, f"an image of several models ({models}) has this name")
        [file] = files
        named = {part for part in re.split(r"[/\\]", cell.text) if part in self.models}
        if named and file.place.model not in named:
            raise Unknown(cell, f"no image of {', '.join(sorted(named))} has this name")
        if file.sample:
            raise Unknown(cell, f"sample {file.sample} of its prompt; ratings are of sample 0")
        return file.place

    # --- which kind of name a text is ---
    def is_model(self, text: str) -> bool:
        return bool(text.strip()) and plain(text).casefold() in self._folded

    def is_image(self, text: str) -> bool:
        return bool(self._files_of(text)) or bool(_SUFFIX.search(re.split("[?#]", text.strip())[0]))

    def is_prompt(self, text: str) -> bool:
        return text.strip() in self.ids or self.is_text(text)

    def is_text(self, text: str) -> bool:
        return plain(text) in self._plain


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return found


def _uncapital(text: str) -> str:
    return (text[:1].lower() + text[1:]).rstrip(".")
