"""Properties of generators beside accuracy: variety, copying of training scenes, fine detail, and
FID.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from evalkit.judge.judge import generate_images, image_seeds, load_generators
from evalkit.metrics.frechet import fid, moments
from evalkit.models.load import BUNDLED, load_classifier
from evalkit.models.mini_inception import MiniInception, to_unit
from evalkit.scenes import dataset
from evalkit.scenes.compose import STYLE_NAMES, Scene, place_single

SAME_PROMPT, VARIED_PROMPTS = 8, 64  # images per prompt, and prompts, to measure variety
TRAINING_SCENES = 20_000
MEANINGS = {
    "variety": "difference of two images of one prompt; higher is more varied",
    "nearest": "difference to the nearest training scene; lower than real scenes: copying",
    "detail": "fine detail relative to the scenes asked for; lower: blur, higher: noise",
    "fid": "to other real scenes; the value of real scenes: blurred by 2 pixels",
}


class Appraisal(NamedTuple):
    """One property of one model's images."""

    model: str
    property: str
    value: float
    real: float  # the same of real scenes, to compare with
    meaning: str


def appraise(
    models: str | Sequence[str] = "dalle,gan",
    *,
    count: int = 1000,
    seed: int = 0,
    device: str = "auto",
) -> list[Appraisal]:
    """Variety, distance to the training scenes, fine detail and FID, on held-out prompts.

    Differences are root mean square differences of pixels, 0..255.

    variety: mean difference of two images of one prompt. `real`: of two scenes with one caption.
    nearest: median difference to the nearest of 20,000 training scenes. `real`: of held-out scenes.
    detail: fine detail relative to the scenes asked for. `real`: of other held-out scenes.
    fid: by mini-inception, to other held-out scenes. `real`: of scenes blurred by a Gaussian of 2
    pixels.
    """
    scenes = dataset.scenes(dataset.HELD_OUT + 20_000, count)
    prompts, seeds = dataset.prompts_of(scenes), image_seeds(seed, count)
    few = range(min(count, VARIED_PROMPTS))
    training = dataset.render_images(dataset.scenes(0, TRAINING_SCENES)).flatten(1)
    real = dataset.render_images(scenes)
    others = dataset.render_images(dataset.scenes(dataset.HELD_OUT + 60_000, 2 * count))
    network = load_classifier(BUNDLED / "mini-inception.safetensors").eval()
    reference = moments(pooled(network, others))
    sharp = detail(real)

    def fid_of(images: Tensor) -> float:
        return float(fid(fake=pooled(network, images), real_moments=reference))

    real_values = {
        "variety": variety(
            [
                dataset.render_images(
                    [same_caption(scenes[k], Random(j)) for j in range(SAME_PROMPT)]
                )
                for k in few
            ]
        ),
        "nearest": nearest(real, training),
        "detail": detail(others) / sharp,
        "fid": fid_of(torch.from_numpy(gaussian_filter(real.numpy(), (0, 0, 2, 2)))),
    }
    rows: list[Appraisal] = []
    for label, generator in load_generators(models, device):
        images = generate_images(generator, prompts, seeds, label)
        repeated = [
            generate_images(generator, [prompts[k]] * SAME_PROMPT, range(SAME_PROMPT), label)
            for k in few
        ]
        values = {
            "variety": variety(repeated),
            "nearest": nearest(images, training),
            "detail": detail(images) / sharp,
            "fid": fid_of(images),
        }
        rows += [
            Appraisal(label, name, values[name], real_values[name], meaning)
            for name, meaning in MEANINGS.items()
        ]
    return rows


def same_caption(scene: Scene, random: Random) -> Scene:
    """Another scene that the same caption describes: another style, tint and horizon; a single
    object has another position and size.
    """
    items = scene.items
    if scene.kind == "single":
        x, y, size = place_single(random)
        items = (replace(items[0], x=x, y=y, size=size),)
    style, variant = random.choice(STYLE_NAMES), random.randrange(4)
    return replace(scene, items=items, style=style, variant=variant)


def variety(of_prompts: Sequence[Tensor]) -> float:
    """Root mean square difference of two images of one prompt, mean over pairs and prompts. Each:
    uint8 [N, 3, S, S].
    """
    values: list[float] = []
    for images in of_prompts:
        flat = images.flatten(1).float()
        distances = torch.cdist(flat, flat) / flat.shape[1] ** 0.5
        values.append(float(distances.sum() / (len(flat) * (len(flat) - 1))))
    return sum(values) / len(values)


def nearest(images: Tensor, training: Tensor) -> float:
    """Median root mean square difference to the nearest row of `training`. uint8 [N, 3, S, S] and
    [M, 3 * S * S].
    """
    flat, least = images.flatten(1).float(), torch.full((len(images),), float("inf"))
    for part in training.split(2000):
        least = torch.minimum(least, torch.cdist(flat, part.float()).amin(1))
    return float(least.median() / flat.shape[1] ** 0.5)


def detail(images: Tensor) -> float:
    """Mean power of the brightness at spatial frequencies above a quarter of a cycle per pixel,
    which networks that upsample tend to lack (Durall et al. 2020). uint8 [N, 3, S, S].
    """
    grey = images.float().mean(1)
    # the window removes the edge between the right and the left border
    window = torch.hann_window(grey.shape[-1], periodic=False)
    centred = grey - grey.mean((1, 2), keepdim=True)
    power = torch.fft.fft2(centred * window[:, None] * window).abs().square()
    frequency = torch.fft.fftfreq(grey.shape[-1]).square()
    return float(power[:, frequency[:, None] + frequency > 0.25**2].mean())


@torch.no_grad()
def pooled(network: MiniInception, images: Tensor) -> Tensor:
    """uint8 [N, 3, 32, 32] -> float32 [N, D], the classifier's features."""
    return torch.cat([network(to_unit(part)).pool for part in images.split(250)])
