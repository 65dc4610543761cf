"""Trains the two small encoders: the classifier (`inception`, and as `judge` and `coach` with other
seeds and widths) and the CLIP.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.judge.verdicts import judge_scenes
from evalkit.models.load import load_classifier
from evalkit.models.mini_clip import MiniClip
from evalkit.models.mini_inception import MiniInception, to_unit
from evalkit.scenes import dataset
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import Scene
from evalkit.scenes.tables import RELATIONS
from evalkit.terminal import track
from evalkit.training import data
from evalkit.training.options import ClassifierOptions
from evalkit.training.runtime.checkpoints import Average, Checkpoint
from evalkit.training.runtime.curve import Curve, check_finite
from evalkit.training.runtime.loop import Settings, batch_of, generator_of, random_of, schedule
from evalkit.training.runtime.precision import Descent, choose_precision
from evalkit.training.runtime.prefetch import each_step
from evalkit.training.runtime.processes import join, normalise_together

OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
log = logging.getLogger(__name__)


def train_classifier(
    settings: Settings, examples: dataset.SceneDataset, options: ClassifierOptions
) -> None:
    """Dense cross-entropy over 8 x 8 cells, plus the picture's nouns and its background. Resumes by
    itself.
    """
    own, device = join(settings.device)
    precision = choose_precision(settings.precision, device, own)
    log.info("%s", precision.reason)
    torch.manual_seed(settings.seed)
    targets, held_out = data.targets(examples.scenes), dataset.scenes(dataset.HELD_OUT, 500)
    names = {
        "nouns": list(dataset.NOUNS),
        "colours": list(dataset.COLOUR_NAMES),
        "backgrounds": list(dataset.BACKGROUND_NAMES),
    }
    sizes = len(dataset.NOUNS), len(dataset.COLOUR_NAMES), len(dataset.BACKGROUND_NAMES)
    network = MiniInception(*sizes, options.width).to(device).to(memory_format=torch.channels_last)
    normalise_together(network, own)
    average = Average(network, 0.995)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=3e-3, weight_decay=0.02, betas=(0.9, 0.98)
    )
    descent = Descent(list(network.parameters()), {"adam": optimiser}, precision, own, clip=2.0)
    config = {"kind": "classifier", "width": options.width, "seed": settings.seed, **names}
    checkpoint = Checkpoint(settings.out, config, average, network=network, descent=descent)
    start = checkpoint.resume()
    columns = ("loss", "noun", "colour", "background", "everything")
    curve = Curve(settings.out, columns, start=start, images=settings.batch, device=device)
    weights = torch.ones(len(dataset.NOUNS) + 1, device=device)
    weights[-1] = 0.1  # most cells hold nothing
    lots, shares = torch.arange(len(examples)), own.shares(settings.batch, settings.accumulate)

    def prepare(step: int) -> list[tuple[Tensor, list[Tensor], list[Tensor]]]:
        rows = batch_of(step, lots, settings.batch, settings.seed)
        draws = augmentation(settings.batch, examples.size, generator_of(settings.seed, step))
        return [
            (
                examples.pictures(rows[share].tolist()),
                [draw[share] for draw in draws],
                [part[rows[share]] for part in targets],
            )
            for share in shares
        ]

    for step, parts in each_step(prepare, start, settings, device, own.count):
        total = 0.0
        for pictures, draws, truth in parts:
            draw, noise = (part.to(device) for part in draws)
            pictures = augment(to_unit(pictures.to(device)), draw, noise).contiguous(
                memory_format=torch.channels_last
            )
            truth = [part.to(device) for part in truth]
            with precision.autocast():
                found = network(pictures)
            loss = F.cross_entropy(
                found.nouns.float(), truth[0], weight=weights, reduction="sum"
            ) / (len(pictures) * CELLS_THAT_COUNT)
            loss = loss + F.cross_entropy(found.colours.float(), truth[1], reduction="sum") / (
                len(pictures) * SHAPES_PER_PICTURE
            )
            loss = loss + 0.5 * F.cross_entropy(found.backgrounds.float(), truth[2])
            loss = loss + 0.5 * F.cross_entropy(found.logits.float(), truth[3])
            descent.backward(loss, len(shares))
            total += loss.item() / len(shares)
        total = check_finite(own.mean(total), step)
        descent.step(schedule(step, settings.steps))
        average.update(network)
        done = step + 1
        if own.first and (done % settings.every == 0 or done == settings.steps):
            curve.stop_clock(done)
            trained = MiniInception(*sizes, options.width)
            trained.load_state_dict(average.weights)
            right = judge_scenes(trained.eval(), dataset.pictures(held_out), held_out)
            curve.log(done, loss=total, **{name: right[name] for name in columns[1:]})
            checkpoint.save(done)
            curve.resume_clock()


# The means are over fixed counts, so that a batch in parts has the gradient of the whole: on
# average a picture has 1.8 things, whose
# cells weigh 1, in 64 cells that weigh 0.1 else; and 0.36 of its things are coloured shapes.
CELLS_THAT_COUNT, SHAPES_PER_PICTURE = 8.0, 0.36


def augmentation(count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The random numbers of `augment`: [N, 4] in 0..1, and normal ones [N, 3, S, S]."""
    return torch.rand(count, 4, generator=generator), torch.randn(
        count, 3, size, size, generator=generator
    )


def augment(images: Tensor, draw: Tensor, noise: Tensor) -> Tensor:
    """Blur, noise and brightness in a part of the pictures: generated ones are never as clean as
    composed ones.
    """
    blur, much, grain, light = draw.T[:, :, None, None, None]  # each [N, 1, 1, 1]
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    images = torch.where(blur < 0.3, torch.lerp(images, blurred, much), images)
    images = images + noise * 0.2 * (grain - 0.5).clamp(min=0)
    return images * (0.85 + 0.3 * light)


def train_clip(
    settings: Settings, examples: dataset.Examples, held_out: dataset.Examples, *, classifier: Path
) -> None:
    """Contrastive training on a classifier's frozen trunk. A pair's caption with the relation
    turned round is one more negative. Resumes by itself. With several processes all captions of a
    batch are negatives; with parts (accumulate) those of the part.
    """
    own, device = join(settings.device)
    precision = choose_precision(settings.precision, device, own)
    log.info("%s", precision.reason)
    torch.manual_seed(settings.seed)
    words, count = data.learned_pieces(examples), min(len(held_out), 256)
    held_out_pictures = to_unit(held_out.pictures(range(count))).to(device)
    held_out_texts = data.read(held_out.prompts()[:count], words).to(device)
    network = (
        MiniClip(load_classifier(classifier), len(words), words.context)
        .to(device)
        .to(memory_format=torch.channels_last)
    )
    average = Average(network, 0.995)
    network.trunk.eval().requires_grad_(False)
    trained_parts = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained_parts, lr=2e-3, weight_decay=0.02, betas=(0.9, 0.98))
    descent = Descent(trained_parts, {"adam": optimiser}, precision, own, clip=2.0)
    config = {
        "kind": "clip",
        "seed": settings.seed,
        "words": list(words.pieces),
        "context": words.context,
    }
    config["classifier"] = {"width": network.mix.in_channels // 4}
    checkpoint = Checkpoint(settings.out, config, average, network=network, descent=descent)
    start = checkpoint.resume()
    columns = (
        "loss",
        "image_to_text",
        "text_to_image",
        *(("relation",) if isinstance(held_out, dataset.SceneDataset) else ()),
    )
    curve = Curve(settings.out, columns, start=start, images=settings.batch, device=device)
    lots, shares = torch.arange(len(examples)), own.shares(settings.batch, settings.accumulate)
    for step in track(
        range(start, settings.steps),
        f"training {settings.out.stem}",
        settings.steps - start,
        "steps",
    ):
        rows, total = batch_of(step, lots, settings.batch, settings.seed).tolist(), 0.0
        draws = augmentation(settings.batch, examples.size, generator_of(settings.seed, step))
        for share in shares:
            randoms = [
                random_of(settings.seed, step, place) for place in range(settings.batch)[share]
            ]
            texts = data.read(
                [
                    examples.caption(row, random)
                    for row, random in zip(rows[share], randoms, strict=True)
                ],
                words,
            )
            scenes = (
                [examples.scenes[row] for row in rows[share]]
                if isinstance(examples, dataset.SceneDataset)
                else []
            )
            false, of_row = _false_captions(scenes, randoms)
            pictures = augment(
                to_unit(examples.pictures(rows[share]).to(device)),
                *(draw[share].to(device) for draw in draws),
            )
            with precision.autocast():
                images = network.image(pictures.contiguous(memory_format=torch.channels_last))
                both = network.texts(torch.cat((texts, data.read(false, words))).to(device))
            images, both = images.float(), both.float()
            place = torch.tensor(of_row, dtype=torch.int64, device=device)
            hard = torch.full((len(images), 1), -1e4, device=device)
            scale = network.log_scale.exp().clamp(max=50)
            hard[place, 0] = scale * (images[place] * both[len(images) :]).sum(1)
            captions, images, hard = (
                own.gather(both[: len(images)]),
                own.gather(images),
                own.gather(hard),
            )
            matrix = scale * images @ captions.T  # [N, N]
            goal = torch.arange(len(images), device=device)
            loss = (
                F.cross_entropy(torch.cat((matrix, hard), 1), goal)
                + F.cross_entropy(matrix.T, goal)
            ) / 2
            descent.backward(loss, len(shares))
            total += loss.item() / len(shares)
        total = check_finite(own.mean(total), step)
        descent.step(schedule(step, settings.steps))
        average.update(network)
        done = step + 1
        if own.first and (done % settings.every == 0 or done == settings.steps):
            curve.stop_clock(done)
            trained = MiniClip(load_classifier(classifier), len(words), words.context).to(device)
            trained.load_state_dict(average.weights)
            right = evaluate_clip(trained.eval(), held_out_pictures, held_out_texts)
            if isinstance(held_out, dataset.SceneDataset):
                right |= {
                    "relation": sees_relations(trained, held_out.scenes[:count], held_out_pictures)
                }
            curve.log(done, loss=total, **right)
            checkpoint.save(done)
            curve.resume_clock()


def _false_captions(scenes: list[Scene], randoms: list[Random]) -> tuple[list[str], list[int]]:
    """For every pair a caption that turns its relation round, and the place of its scene."""
    places = [place for place, scene in enumerate(scenes) if scene.kind == "pair"]
    return [
        caption(turn_round(scenes[place], randoms[place]), randoms[place].getrandbits(48))
        for place in places
    ], places


def turn_round(scene: Scene, random: Random) -> Scene:
    """A false description of a pair: the opposite relation, or one across."""
    wrong = (
        OPPOSITE[scene.relation]
        if random.random() < 0.7
        else random.choice([name for name in RELATIONS if name != scene.relation])
    )
    return replace(scene, relation=wrong)


@torch.no_grad()
def evaluate_clip(network: MiniClip, pictures: Tensor, texts: Tensor) -> dict[str, float]:
    """Recall at 1 among all, both ways."""
    matrix = network.image(pictures) @ network.texts(texts).T
    goal = torch.arange(len(matrix), device=matrix.device)
    return {
        "image_to_text": float((matrix.argmax(1) == goal).float().mean()),
        "text_to_image": float((matrix.argmax(0) == goal).float().mean()),
    }


@torch.no_grad()
def sees_relations(network: MiniClip, scenes: list[Scene], pictures: Tensor) -> float:
    """How often a pair's true caption scores above the same sentence with the relation turned
    round; 0.5 is chance.
    """
    words, answers, images = data.word_tokenizer(), list[bool](), network.image(pictures)
    for place, scene in enumerate(scenes):
        if scene.kind == "pair":
            told = [
                caption(replace(scene, relation=relation), place, complete=True)
                for relation in (scene.relation, OPPOSITE[scene.relation])
            ]
            true, false = (
                images[place] @ network.texts(data.read(told, words).to(pictures.device)).T
            )
            answers.append(bool(true > false))
    return sum(answers) / max(len(answers), 1)
