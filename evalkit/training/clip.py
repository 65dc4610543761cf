"""Trains mini-clip: contrastive training on the frozen trunk of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.models.load import load_classifier
from evalkit.models.mini_clip import MiniClip
from evalkit.models.mini_inception import to_unit
from evalkit.models.text import SubwordTokenizer
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import Scene
from evalkit.scenes.dataset import Examples, SceneDataset
from evalkit.scenes.tables import RELATIONS
from evalkit.training.augmentation import augment, augmentation
from evalkit.training.runtime.checkpoints import Checkpoint, MovingAverage
from evalkit.training.runtime.curve import Curve, check_finite
from evalkit.training.runtime.loop import Settings, TrainingRun, schedule, start_run
from evalkit.training.runtime.precision import Descent
from evalkit.training.runtime.prefetch import each_step
from evalkit.training.tokens import clip_tokenizer, tokenize, word_tokenizer

OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


class Part(NamedTuple):
    """The part of a batch that a process takes at once."""

    images: Tensor  # uint8 [N, 3, S, S]
    uniform: Tensor  # of the augmentation
    normal: Tensor
    texts: Tensor  # int64 [N, T]
    false_texts: Tensor  # int64 [M, T], false captions of some of the images
    false_rows: Tensor  # int64 [M], the places of these images


def train_clip(
    settings: Settings, examples: Examples, held_out: Examples, *, classifier: Path
) -> None:
    """Contrastive training. The caption of a pair with a wrong relation is one more negative.

    Resumes by itself. With several processes all captions of a batch are negatives; with parts
    (accumulate) only those of the part.
    """
    run = start_run(settings)
    tokenizer, count = clip_tokenizer(examples), min(len(held_out), 256)
    held_out_images = to_unit(held_out.images(range(count))).to(run.device)
    held_out_texts = tokenize(held_out.prompts()[:count], tokenizer).to(run.device)
    network = MiniClip(load_classifier(classifier), len(tokenizer), tokenizer.context)
    network = network.to(run.device).to(memory_format=torch.channels_last)
    average = MovingAverage(network, 0.995)
    network.trunk.eval().requires_grad_(False)
    learned = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=2e-3, weight_decay=0.02, betas=(0.9, 0.98))
    descent = Descent(learned, {"adam": optimiser}, run.precision, run.processes, clip=2.0)
    config = {
        "kind": "clip", "seed": settings.seed, "words": list(tokenizer.pieces),
        "context": tokenizer.context, "classifier": {"width": network.mix.in_channels // 4},
    }  # fmt: skip
    checkpoint = Checkpoint(settings.out, config, average, network=network, descent=descent)
    start = checkpoint.resume()
    relation = ("relation",) if isinstance(held_out, SceneDataset) else ()
    columns = ("loss", "image_to_text", "text_to_image", *relation)
    curve = Curve(settings.out, columns, start=start, images=settings.batch, device=run.device)
    prepare = partial(_prepare, run=run, examples=examples, tokenizer=tokenizer)
    for step, parts in each_step(prepare, start, run):
        total = 0.0
        for part in parts:
            loss = contrastive_loss(network, part, run)
            descent.backward(loss, len(parts))
            total += loss.item() / len(parts)
        total = check_finite(run.processes.mean(total), step)
        descent.step(schedule(step, settings.steps))
        average.update_parameters(network)
        done = step + 1
        if run.saves_after(done):
            with curve.evaluation(done):
                trained = average.module.eval()
                right = evaluate_clip(trained, held_out_images, held_out_texts)
                if isinstance(held_out, SceneDataset):
                    scenes = held_out.scenes[:count]
                    right["relation"] = relation_accuracy(trained, scenes, held_out_images)
                curve.log(done, loss=total, **right)
                checkpoint.save(done)


def _prepare(
    step: int, run: TrainingRun, examples: Examples, tokenizer: SubwordTokenizer
) -> list[Part]:
    rows, randoms = run.batch(step, torch.arange(len(examples))), run.randoms(step)
    uniform, normal = augmentation(len(rows), examples.size, run.generator(step))
    parts: list[Part] = []
    for share in run.shares:
        texts = [
            examples.caption(row, random)
            for row, random in zip(rows[share], randoms[share], strict=True)
        ]
        scenes: list[Scene] = []
        if isinstance(examples, SceneDataset):
            scenes = [examples.scenes[row] for row in rows[share]]
        false, false_rows = _false_captions(scenes, randoms[share])
        parts.append(
            Part(
                examples.images(rows[share]),
                uniform[share],
                normal[share],
                tokenize(texts, tokenizer),
                tokenize(false, tokenizer),
                torch.tensor(false_rows, dtype=torch.int64),
            )
        )
    return parts


def _false_captions(
    scenes: Sequence[Scene], randoms: Sequence[Random]
) -> tuple[list[str], list[int]]:
    """A caption with a wrong relation for every pair, and the place of its scene."""
    places = [place for place, scene in enumerate(scenes) if scene.kind == "pair"]
    return [
        caption(with_wrong_relation(scenes[place], randoms[place]), randoms[place].getrandbits(48))
        for place in places
    ], places


def with_wrong_relation(scene: Scene, random: Random) -> Scene:
    """A false description of a pair: the opposite relation, or any other."""
    if random.random() < 0.7:
        return replace(scene, relation=OPPOSITE[scene.relation])
    wrong = random.choice([name for name in RELATIONS if name != scene.relation])
    return replace(scene, relation=wrong)


def contrastive_loss(network: MiniClip, part: Part, run: TrainingRun) -> Tensor:
    images, uniform, normal, texts, false_texts, false_rows = (x.to(run.device) for x in part)
    augmented = augment(to_unit(images), uniform, normal)
    with run.precision.autocast():
        images = network.image(augmented.contiguous(memory_format=torch.channels_last)).float()
        all_texts = network.texts(torch.cat((texts, false_texts))).float()
    texts, false_texts = all_texts[: len(images)], all_texts[len(images) :]
    scale = network.log_scale.exp().clamp(max=50)
    hard = torch.full((len(images), 1), -1e4, device=run.device)  # no false caption: no influence
    hard[false_rows, 0] = scale * (images[false_rows] * false_texts).sum(1)
    texts, images, hard = (run.processes.gather(x) for x in (texts, images, hard))
    matrix = scale * images @ texts.T  # [N, N]
    goal = torch.arange(len(images), device=run.device)
    to_text = F.cross_entropy(torch.cat((matrix, hard), 1), goal)
    return (to_text + F.cross_entropy(matrix.T, goal)) / 2


@torch.no_grad()
def evaluate_clip(network: MiniClip, images: Tensor, texts: Tensor) -> dict[str, float]:
    """Recall at 1 among all, in both directions."""
    matrix = network.image(images) @ network.texts(texts).T
    goal = torch.arange(len(matrix), device=matrix.device)
    return {
        "image_to_text": float((matrix.argmax(1) == goal).float().mean()),
        "text_to_image": float((matrix.argmax(0) == goal).float().mean()),
    }


@torch.no_grad()
def relation_accuracy(network: MiniClip, scenes: list[Scene], images: Tensor) -> float:
    """How often a pair's true caption scores above the same one with the opposite relation.

    0.5 is chance.
    """
    tokenizer, answers, features = word_tokenizer(), list[bool](), network.image(images)
    for place, scene in enumerate(scenes):
        if scene.kind == "pair":
            texts = [
                caption(replace(scene, relation=relation), place, complete=True)
                for relation in (scene.relation, OPPOSITE[scene.relation])
            ]
            tokens = tokenize(texts, tokenizer).to(images.device)
            true, false = features[place] @ network.texts(tokens).T
            answers.append(bool(true > false))
    return sum(answers) / max(len(answers), 1)
