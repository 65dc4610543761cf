"""The images of a run beside their prompts, and the requests without an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from evalkit.core import Prompt, Record
from evalkit.features.validation import image_facts
from evalkit.report import numbers
from evalkit.report.facts import Facts, outcome, sample_prompts
from evalkit.report.image_size import size_of
from evalkit.report.labels import labels
from evalkit.run_folder import Run

# About 4 MB of HTML. A longer list is shown in even steps, and the page states this.
MOST_PROMPTS = 4_000
SAMPLE = 8  # prompts in report.md
LABEL = 24  # characters of a model's name below an image


@dataclass(frozen=True)
class Tile:
    """One requested image."""

    model: str
    label: str  # the model's name, shortened
    sample: int
    place: int  # of the model, for its colour
    url: str  # "" if there is no image
    width: int
    height: int
    score: str
    best: bool  # the best score of the prompt
    gap: str  # why there is no image
    trouble: str = ""  # refused, failed, missing or black


@dataclass(frozen=True)
class Row:
    """One prompt with its images."""

    index: int
    prompt: Prompt
    tiles: Sequence[Tile]  # sample by sample, each with all models in their order


@dataclass(frozen=True)
class Trouble:
    """A request without an image."""

    prompt: str
    status: str
    detail: str


def gallery(facts: Facts) -> list[Row]:
    """Every prompt with the images of all models; every k-th prompt of a very long list."""
    step = max(1, -(-len(facts.prompts) // MOST_PROMPTS))
    return _rows(facts, range(0, len(facts.prompts), step), facts.per_prompt)


def sample(facts: Facts) -> list[Row]:
    """The prompts that report.md shows, each with the first image of every model."""
    return _rows(facts, sample_prompts(facts, SAMPLE), 1)


def troubles(facts: Facts, model: str) -> list[Trouble]:
    """Every request of a model that gave no image."""
    found = []
    for record in facts.records[model]:
        if record.status != "ok":
            known = record.index < len(facts.prompts)
            text = facts.prompts[record.index].text if known else record.prompt
            found.append(Trouble(text, record.status.replace("_", " "), record.detail))
    return found


def _rows(facts: Facts, indices: Iterable[int], samples: int) -> list[Row]:
    records = {
        (model, r.index, r.sample): r for model in facts.models for r in facts.records[model]
    }
    names, black = labels(facts.models, LABEL), _black_images(facts)
    best = min if facts.score and facts.score.measure.better == "lower" else max
    rows = []
    for index in indices:
        places = [(model, index, number) for number in range(samples) for model in facts.models]
        scores = {place: facts.scores[place] for place in places if place in facts.scores}
        shown = {
            place: numbers.number(value, facts.score_digits) for place, value in scores.items()
        }
        # Bold follows the digits that are shown: equal ones are both bold, or none is.
        compared = len({model for model, _, _ in scores}) > 1 and len({*shown.values()}) > 1
        top = shown[best(scores, key=scores.__getitem__)] if compared else None
        tiles = []
        for place in places:
            record = records.get(place)
            url, size, gap = _image(facts, place[0], record)
            dark = bool(url) and record is not None and record.sha256 in black
            tiles.append(
                Tile(
                    model=place[0],
                    label=names[place[0]],
                    place=facts.models.index(place[0]),
                    url=url,
                    width=size[0],
                    height=size[1],
                    sample=place[2],
                    score=shown.get(place, ""),
                    best=bool(url) and top is not None and shown.get(place) == top,
                    gap=gap,
                    trouble="black" if dark else _trouble(record) if gap else "",
                )
            )
        rows.append(Row(index, facts.prompts[index], tiles))
    return rows


def _trouble(record: Record | None) -> str:
    """What a request without an image is counted as; a lost file is missing."""
    return outcome(record) if record is not None and record.status != "ok" else "missing"


def _black_images(facts: Facts) -> set[str]:
    """SHA-256 of the files that image validation found to be black."""
    known = (image_facts(facts.run.validation_path(model)) for model in facts.models)
    return {sha256 for found in known for sha256, one in found.items() if one.black}


def image_url(run: Run, model: str, record: Record) -> str:
    """The image's address from report/."""
    return f"../images/{quote(run.image_folder(model).name)}/{quote(record.file)}"


def _image(facts: Facts, model: str, record: Record | None) -> tuple[str, tuple[int, int], str]:
    """Address and size of an image, or why there is none."""
    if record is None:
        return "", (0, 0), "missing"
    if record.status != "ok":
        return "", (0, 0), ": ".join(filter(None, [outcome(record), record.detail]))
    url = image_url(facts.run, model, record)
    size = size_of(facts.run.image_path(model, record))
    if size == (0, 0):
        return "", size, "the file is missing or is not an image"
    if record.file in facts.changes.files.get(model, ()):
        return "", (0, 0), "the file has changed since the image was made"
    return url, size, ""
