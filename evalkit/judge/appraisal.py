"""Beyond right or wrong: whether generators vary, whether they copy, how far they are from real
scenes, and what they do with prompts from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from evalkit import plugins
from evalkit.judge.judge import Answer, generate_images
from evalkit.judge.verdicts import detected_nouns
from evalkit.metrics.frechet import fid, moments
from evalkit.models.load import BUNDLED, load_classifier
from evalkit.models.mini_inception import MiniInception, to_unit
from evalkit.scenes import dataset
from evalkit.scenes.compose import STYLE_NAMES, Scene, place_single
from evalkit.scenes.vocabulary import mentions
from evalkit.seeds import image_seed
from evalkit.statistics.intervals import wilson

SAME_PROMPT = 8  # pictures of each prompt whose variety is measured


class Appraisal(NamedTuple):
    """One property of one model's pictures, and the same of real scenes to hold against it."""

    model: str
    property: str
    value: float
    real: float  # of real scenes
    meaning: str


def appraise(
    models: Sequence[str] = ("dalle", "gan"),
    *,
    count: int = 1000,
    seed: int = 0,
    device: str = "auto",
) -> list[Appraisal]:
    """Variety, nearness to the training scenes, detail, and FID beside blur, on held-out prompts of
    the bundled world.

    variety: root mean square difference of two pictures of one prompt, in 0..255; "real": two
    scenes that it describes.
    nearest: the same difference from a picture to the nearest of 20,000 training scenes, median;
    "real": of held-out scenes.
    detail: fine detail as a share of that of the scenes that the prompts describe; "real": of other
    held-out scenes.
    fid: by mini-inception, to other held-out scenes; "real": of scenes blurred by a Gaussian of 2
    pixels.
    """
    some = dataset.scenes(dataset.HELD_OUT + 20_000, count)
    prompts = dataset.prompts_of(some)
    few = range(min(count, 64))
    training = dataset.pictures(dataset.scenes(0, 20_000)).flatten(1)
    real, others = (
        dataset.pictures(some),
        dataset.pictures(dataset.scenes(dataset.HELD_OUT + 60_000, 2 * count)),
    )
    blurred = torch.from_numpy(gaussian_filter(real.numpy(), (0, 0, 2, 2)))
    network = load_classifier(BUNDLED / "mini-inception.safetensors").eval()
    reference = moments(pooled(network, others))
    real_variety = variety(
        [
            dataset.pictures([another(some[place], Random(draw)) for draw in range(SAME_PROMPT)])
            for place in few
        ]
    )
    real_nearest, blurred_fid = (
        nearest(real, training),
        float(fid(fake=pooled(network, blurred), real_moments=reference)),
    )
    fine = detail(real)
    real_detail = detail(others) / fine
    rows: list[Appraisal] = []
    for model in plugins.models(models, {}):
        generator = plugins.load_generator(model, device, [])
        drawn = generate_images(
            generator,
            prompts,
            [image_seed(seed, str(place), 0) for place in range(count)],
            model.label,
        )
        again = [
            generate_images(
                generator, [prompts[place]] * SAME_PROMPT, range(SAME_PROMPT), model.label
            )
            for place in few
        ]
        distance = float(fid(fake=pooled(network, drawn), real_moments=reference))
        rows += [
            Appraisal(
                model.label,
                "variety",
                variety(again),
                real_variety,
                "of pictures of one prompt; more is more varied",
            ),
            Appraisal(
                model.label,
                "nearest",
                nearest(drawn, training),
                real_nearest,
                "to a training scene; less than real is copying",
            ),
            Appraisal(
                model.label,
                "detail",
                detail(drawn) / fine,
                real_detail,
                "of the scenes; less is blurred, more is noise",
            ),
            Appraisal(
                model.label,
                "fid",
                distance,
                blurred_fid,
                "to real scenes; the other is of scenes blurred by 2 pixels",
            ),
        ]
    return rows


def judge_prompts(
    models: Sequence[str], prompts: Sequence[str], *, seed: int = 0, device: str = "auto"
) -> list[Answer]:
    """Prompts from elsewhere, such as COCO captions: of those that name things of the world, in how
    many pictures the first is seen by the judge, any of them, and all.
    """
    named = [(prompt, nouns) for prompt in prompts if (nouns := mentions(prompt).nouns)]
    network = load_classifier(BUNDLED / "mini-judge.safetensors").eval()
    rows: list[Answer] = []
    for model in plugins.models(models, {}):
        generator = plugins.load_generator(model, device, [])
        seeds = [image_seed(seed, str(place), 0) for place in range(len(named))]
        drawn = generate_images(generator, [prompt for prompt, _ in named], seeds, model.label)
        found_in = detected_nouns(network, drawn)
        for question, right in (
            (
                "first thing",
                [nouns[0] in found for (_, nouns), found in zip(named, found_in, strict=True)],
            ),
            (
                "any thing",
                [
                    not found.isdisjoint(nouns)
                    for (_, nouns), found in zip(named, found_in, strict=True)
                ],
            ),
            (
                "all things",
                [
                    found.issuperset(nouns)
                    for (_, nouns), found in zip(named, found_in, strict=True)
                ],
            ),
        ):
            interval = wilson(sum(right), len(right))
            rows.append(
                Answer(
                    model.label,
                    "prompts",
                    question,
                    sum(right) / len(right),
                    interval.low or 0.0,
                    interval.high or 1.0,
                    len(right),
                )
            )
    return rows


def another(scene: Scene, random: Random) -> Scene:
    """A scene that the same caption describes: another style, tint and horizon; a single thing
    stands elsewhere, in another size.
    """
    items = scene.items
    if scene.kind == "single":
        x, y, size = place_single(random)
        items = (replace(items[0], x=x, y=y, size=size),)
    return replace(
        scene, items=items, style=random.choice(STYLE_NAMES), variant=random.randrange(4)
    )


def variety(of_prompts: Sequence[Tensor]) -> float:
    """Mean over prompts of the root mean square difference between two pictures. Each: uint8 [N, 3,
    S, S].
    """
    values: list[float] = []
    for pictures in of_prompts:
        flat = pictures.flatten(1).float()
        distances = torch.cdist(flat, flat) / flat.shape[1] ** 0.5
        values.append(float(distances.sum() / (len(flat) * (len(flat) - 1))))
    return sum(values) / len(values)


def nearest(pictures: Tensor, training: Tensor) -> float:
    """Median root mean square difference to the nearest row of `training`. uint8 [N, 3, S, S] and
    [M, 3 * S * S].
    """
    flat, least = pictures.flatten(1).float(), torch.full((len(pictures),), float("inf"))
    for part in training.split(2000):
        least = torch.minimum(least, torch.cdist(flat, part.float()).amin(1))
    return float(least.median() / flat.shape[1] ** 0.5)


def detail(pictures: Tensor) -> float:
    """Mean power of the spatial frequencies above a quarter of a cycle per pixel: what a picture
    loses that is made half as large and large again, and what networks that enlarge are known to
    miss (Durall et al. 2020). uint8 [N, 3, S, S], of their brightness.
    """
    grey = pictures.float().mean(1)
    window = torch.hann_window(
        grey.shape[-1], periodic=False
    )  # no edge where the left border meets the right one
    power = (
        torch.fft.fft2((grey - grey.mean((1, 2), keepdim=True)) * window[:, None] * window)
        .abs()
        .square()
    )
    frequency = torch.fft.fftfreq(grey.shape[-1])
    return float(power[:, frequency.square()[:, None] + frequency.square() > 0.25**2].mean())


@torch.no_grad()
def pooled(network: MiniInception, pictures: Tensor) -> Tensor:
    """uint8 [N, 3, 32, 32] -> float32 [N, D], the classifier's features."""
    return torch.cat([network(to_unit(part)).pool for part in pictures.split(250)])
