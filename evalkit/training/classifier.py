"""Trains the small classifiers: mini-inception, mini-judge and mini-coach.

They differ in seed and width.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.models.mini_inception import GRID, MiniInception, Predictions, to_unit
from evalkit.scenes import dataset
from evalkit.scenes.compose import CANVAS, Scene
from evalkit.scenes.dataset import BACKGROUND_NAMES, COLOUR_NAMES, NOUNS
from evalkit.scorers.verdicts import judge_scenes
from evalkit.training.augmentation import augment, augmentation
from evalkit.training.options import ClassifierOptions
from evalkit.training.runtime.checkpoints import Checkpoint, MovingAverage
from evalkit.training.runtime.curve import Curve, check_finite
from evalkit.training.runtime.loop import Settings, TrainingRun, schedule, start_run
from evalkit.training.runtime.precision import Descent
from evalkit.training.runtime.prefetch import each_step
from evalkit.training.runtime.processes import share_batch_norm

# The losses are divided by fixed counts, so that a batch in parts has the gradient of the whole. On
# average an image has 1.8 objects, whose cells weigh 1, in 64 cells that weigh 0.1 otherwise; and
# 0.36 of its objects are coloured shapes.
CELL_WEIGHT_PER_IMAGE, SHAPES_PER_IMAGE = 8.0, 0.36
EMPTY_CELL_WEIGHT = 0.1  # most cells are empty


class Targets(NamedTuple):
    nouns: Tensor  # int64 [N, 8, 8], len(NOUNS) for empty cells
    colours: Tensor  # int64 [N, 8, 8], -100 for cells without a shape
    backgrounds: Tensor  # int64 [N]
    whole: Tensor  # float32 [N, nouns], equal shares of the objects in the image

    def to(self, device: str) -> Targets:
        return Targets(*(part.to(device) for part in self))


class Part(NamedTuple):
    """The part of a batch that a process takes at once."""

    images: Tensor  # uint8 [N, 3, S, S]
    uniform: Tensor  # of the augmentation
    normal: Tensor
    targets: Targets


def train_classifier(
    settings: Settings, examples: dataset.SceneDataset, options: ClassifierOptions
) -> None:
    """Dense cross-entropy over 8 x 8 cells, plus the image's nouns and its background.

    Resumes by itself.
    """
    run = start_run(settings)
    held_out = dataset.scenes(dataset.HELD_OUT, 500)
    network = MiniInception(len(NOUNS), len(COLOUR_NAMES), len(BACKGROUND_NAMES), options.width)
    network = network.to(run.device).to(memory_format=torch.channels_last)
    share_batch_norm(network, run.processes)
    average = MovingAverage(network, 0.995)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=3e-3, weight_decay=0.02, betas=(0.9, 0.98)
    )
    descent = Descent(
        list(network.parameters()), {"adam": optimiser}, run.precision, run.processes, clip=2.0
    )
    config = {
        "kind": "classifier", "width": options.width, "seed": settings.seed,
        "nouns": list(NOUNS), "colours": list(COLOUR_NAMES), "backgrounds": list(BACKGROUND_NAMES),
    }  # fmt: skip
    checkpoint = Checkpoint(settings.out, config, average, network=network, descent=descent)
    start = checkpoint.resume()
    columns = ("loss", "noun", "colour", "background", "everything")
    curve = Curve(settings.out, columns, start=start, images=settings.batch, device=run.device)
    prepare = partial(_prepare, run=run, examples=examples, truth=targets(examples.scenes))
    for step, parts in each_step(prepare, start, run):
        total = 0.0
        for part in parts:
            images = augment(
                to_unit(part.images.to(run.device)),
                part.uniform.to(run.device),
                part.normal.to(run.device),
            )
            with run.precision.autocast():
                found = network(images.contiguous(memory_format=torch.channels_last))
            loss = classification_loss(found, part.targets.to(run.device))
            descent.backward(loss, len(parts))
            total += loss.item() / len(parts)
        total = check_finite(run.processes.mean(total), step)
        descent.step(schedule(step, settings.steps))
        average.update_parameters(network)
        done = step + 1
        if run.saves_after(done):
            with curve.evaluation(done):
                images = dataset.render_images(held_out)
                right = judge_scenes(average.module.eval(), images, held_out)
                curve.log(done, loss=total, **{name: right[name] for name in columns[1:]})
                checkpoint.save(done)


def _prepare(
    step: int, run: TrainingRun, examples: dataset.SceneDataset, truth: Targets
) -> list[Part]:
    rows = run.batch(step, torch.arange(len(examples)))
    uniform, normal = augmentation(len(rows), examples.size, run.generator(step))
    return [
        Part(
            examples.images(rows[share]),
            uniform[share],
            normal[share],
            Targets(*(part[rows[share]] for part in truth)),
        )
        for share in run.shares
    ]


def classification_loss(found: Predictions, truth: Targets) -> Tensor:
    weights = torch.ones(len(NOUNS) + 1, device=truth.nouns.device)
    weights[-1] = EMPTY_CELL_WEIGHT
    nouns = F.cross_entropy(found.nouns.float(), truth.nouns, weight=weights, reduction="sum")
    colours = F.cross_entropy(found.colours.float(), truth.colours, reduction="sum")
    loss = nouns / (len(truth.nouns) * CELL_WEIGHT_PER_IMAGE)
    loss = loss + colours / (len(truth.nouns) * SHAPES_PER_IMAGE)
    loss = loss + 0.5 * F.cross_entropy(found.backgrounds.float(), truth.backgrounds)
    return loss + 0.5 * F.cross_entropy(found.logits.float(), truth.whole)


def targets(scenes: list[Scene]) -> Targets:
    nouns = torch.full((len(scenes), GRID, GRID), len(NOUNS))
    colours = torch.full((len(scenes), GRID, GRID), -100)
    whole = torch.zeros(len(scenes), len(NOUNS))
    for n, scene in enumerate(scenes):
        for item in scene.items:
            x, y = ((corner + item.size // 2) * GRID // CANVAS for corner in (item.x, item.y))
            number = NOUNS.index(item.noun)
            nouns[n, y, x] = number
            whole[n, number] += 1 / len(scene.items)
            if item.colour:
                colours[n, y, x] = COLOUR_NAMES.index(item.colour)
    backgrounds = torch.tensor([BACKGROUND_NAMES.index(scene.background) for scene in scenes])
    return Targets(nouns, colours, backgrounds, whole)
