"""How well generators follow prompts, judged by a network that no generator was trained against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from evalkit import plugins
from evalkit.config import split_names
from evalkit.core import EvalkitError, Generator, Prompt, Refusal
from evalkit.encoders.mini import prepare
from evalkit.files import write_atomically
from evalkit.generators.calls import images_of
from evalkit.hints import plural
from evalkit.judge.grids import stack_blocks
from evalkit.models.load import BUNDLED, load_classifier
from evalkit.prompts import prompts_from_list, read_prompts
from evalkit.scenes import dataset
from evalkit.scenes.phrases import phrased_prompt, shape_scenes
from evalkit.scenes.vocabulary import mentions
from evalkit.scorers.verdicts import detected_nouns, verdicts
from evalkit.seeds import image_seed
from evalkit.statistics.intervals import wilson

QUESTIONS = {  # for each kind of scene
    "single": ("noun", "colour", "background", "everything"),
    "count": ("noun", "count", "everything"),
    "pair": ("noun", "relation", "everything"),
}
PHRASE_QUESTIONS = {"single": ("noun", "colour")}  # phrases ask for no known background
GRID_PROMPTS = 64
REAL, MISMATCHED = "real scenes", "real scenes of other prompts"


class Accuracy(NamedTuple):
    """The share of images that are right in one respect, with Wilson's 95% interval."""

    model: str
    prompts: str  # single, count, pair; or "prompts"
    question: str
    value: float
    low: float
    high: float
    images: int  # to which the question applies


def judge(
    models: str | Sequence[str] = "dalle,gan",
    *,
    count: int = 1000,
    seed: int = 0,
    device: str = "auto",
    grid: Path | str | None = None,
    prompts: str | Path | Sequence[str | Prompt] | None = None,
    phrases: bool = False,
) -> list[Accuracy]:
    """Judge generators on held-out scenes, beside two baselines: the real images of these scenes,
    and real images of other scenes.

    Args:
        models: names, or `package.module:attribute`.
        count: held-out scenes; the prompt of each is one complete caption.
        grid: optional path of a PNG of the first 64 prompts: the real scenes, then every model.
        prompts: prompts to judge on instead, a file or a list; see `judge_prompts`.
        phrases: use scenes of single shapes instead, with prompts that name the shape and its
            colour, then something unknown in another colour: "a red circle on a white background".
    """
    if prompts is not None:
        is_file = isinstance(prompts, str | Path)
        given = read_prompts(prompts) if is_file else prompts_from_list(prompts)
        return judge_prompts(models, [prompt.text for prompt in given], seed=seed, device=device)
    if count < GRID_PROMPTS:
        raise EvalkitError(
            f"count is {count}, expected at least {GRID_PROMPTS}.",
            "Ask for more images.",
            code="judge-1",
        )
    if phrases:
        scenes = shape_scenes(dataset.HELD_OUT + 100_000, count)
        prompts = [phrased_prompt(scene, place) for place, scene in enumerate(scenes)]
    else:
        scenes = dataset.scenes(dataset.HELD_OUT + 10_000, count)
        prompts = dataset.prompts_of(scenes)
    seeds = image_seeds(seed, count)
    network = load_classifier(BUNDLED / "mini-judge.safetensors").eval()
    real = dataset.render_images(scenes)
    images = {REAL: real, MISMATCHED: real.roll(1, 0)}
    for label, generator in load_generators(models, device):
        images[label] = generate_images(generator, prompts, seeds, label)
    if grid is not None:
        blocks = [block[:GRID_PROMPTS] for label, block in images.items() if label != MISMATCHED]
        write_atomically(Path(grid), stack_blocks(blocks))
    rows: list[Accuracy] = []
    for label, generated in images.items():
        results = verdicts(network, generated, scenes)
        rows += [
            _accuracy(label, kind, question, results[f"{kind}/{question}"])
            for kind, questions in (PHRASE_QUESTIONS if phrases else QUESTIONS).items()
            for question in questions
        ]
    return rows


def judge_prompts(
    models: str | Sequence[str],
    prompts: Sequence[str],
    *,
    seed: int = 0,
    device: str = "auto",
) -> list[Accuracy]:
    """Judge generators on those of a user's prompts, such as COCO captions, that mention objects of
    the bundled data set: does the image show the first object, any of them, all of them?
    """
    mentioned = [(prompt, nouns) for prompt in prompts if (nouns := mentions(prompt).nouns)]
    if not mentioned:
        raise EvalkitError(
            "No prompt mentions an object that the judge knows;"
            f" found {plural(len(prompts), 'prompt')}.",
            "Give prompts that do, such as `a dog next to a bicycle`.",
            code="judge-2",
        )
    network = load_classifier(BUNDLED / "mini-judge.safetensors").eval()
    seeds, rows = image_seeds(seed, len(mentioned)), list[Accuracy]()
    for label, generator in load_generators(models, device):
        images = generate_images(generator, [prompt for prompt, _ in mentioned], seeds, label)
        pairs = [
            (nouns, found)
            for (_, nouns), found in zip(mentioned, detected_nouns(network, images), strict=True)
        ]
        results = {
            "first object": [nouns[0] in found for nouns, found in pairs],
            "any object": [not found.isdisjoint(nouns) for nouns, found in pairs],
            "all objects": [found.issuperset(nouns) for nouns, found in pairs],
        }
        rows += [
            _accuracy(label, "prompts", question, right) for question, right in results.items()
        ]
    return rows


def _accuracy(model: str, prompts: str, question: str, right: Sequence[bool]) -> Accuracy:
    count = len(right)
    interval = wilson(sum(right), count)
    low, high = interval.low or 0.0, interval.high or 1.0
    return Accuracy(model, prompts, question, sum(right) / count, low, high, count)


def image_seeds(seed: int, count: int) -> list[int]:
    return [image_seed(seed, str(place), 0) for place in range(count)]


def load_generators(models: str | Sequence[str], device: str) -> Iterator[tuple[str, Generator]]:
    """(label, generator), loaded one after the other."""
    names = split_names(models) if isinstance(models, str) else models
    for model in plugins.models(names, {}):
        yield model.label, plugins.load_generator(model, device, [])


@torch.no_grad()
def generate_images(
    generator: Generator,
    prompts: Sequence[str],
    seeds: Sequence[int],
    label: str,
) -> Tensor:
    """uint8 [N, 3, 32, 32]; larger images are averaged."""
    rows, size = list[Tensor](), max(64, getattr(generator, "at_once", 0))
    for start in range(0, len(prompts), size):
        batch = slice(start, start + size)
        for image in images_of(generator, prompts[batch], seeds[batch], label)[0]:
            if isinstance(image, Refusal):
                raise EvalkitError(
                    f"{label} refused a prompt of the bundled data set: {image}.",
                    "Judge a generator that answers all prompts.",
                    code="judge-3",
                )
            rows.append(prepare(image))
    return torch.stack(rows)
