"""Trains the text encoder of a generator on underspecified captions, by self-distillation.

A generator learns captions as the bundled data set writes them. Those of people leave details open
("cats", "a man riding a horse"), and a real image shows only one of the possible meanings. But the
generator can draw the full caption that states the meaning. So the text encoder, and nothing else,
learns until the rest of the generator gets from an underspecified caption what it gets from the
full one. No image is drawn for it.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import torch
from torch import nn

from evalkit.core import EvalkitError
from evalkit.models.load import load_classifier
from evalkit.models.mini_inception import MiniInception
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import Scene
from evalkit.scenes.dataset import Examples, SceneDataset, noisy
from evalkit.scenes.underspecified import UnderspecifiedCaption, underspecified_caption
from evalkit.scenes.vocabulary import mentions, words
from evalkit.scorers.verdicts import CURVE_COLUMNS, curve_metrics, detected_nouns
from evalkit.terminal import track
from evalkit.training.options import DalleOptions, GanOptions
from evalkit.training.runtime.checkpoints import Checkpoint, MovingAverage
from evalkit.training.runtime.curve import Curve, check_finite
from evalkit.training.runtime.loop import Settings, random_of, schedule, start_run
from evalkit.training.runtime.precision import Descent
from evalkit.training.students import DalleStudent, GanStudent, Student

# Shares of full captions and of empty ones, whose meaning must stay.
FULL, EMPTY = 0.35, 0.03


def train_underspecified(
    settings: Settings,
    examples: Examples,
    held_out: Examples,
    options: DalleOptions | GanOptions,
    *,
    tokenizer: Path,
    judge: Path,
) -> None:
    """Resumes by itself.

    options.underspecified: weights of the generator, which is its own teacher. The other options
    used are `rate`, `oversample` and, of a gan, `average`.

    tokenizer: weights of a dalle's image tokenizer.
    judge: a classifier that rates the samples of full captions, and those of underspecified ones:
    the share in which every object of the meaning is present.
    """
    if not isinstance(examples, SceneDataset) or not isinstance(held_out, SceneDataset):
        raise EvalkitError(
            "Underspecified captions need the scenes of the bundled data set.",
            "Leave out --data or the option underspecified.",
            code="training-44",
        )
    run = start_run(settings)
    rows = examples.epoch_rows(options.oversample)
    student = _student(options, tokenizer, examples, run.device)
    learned = [parameter for parameter in student.network.parameters() if parameter.requires_grad]
    decay = options.average if isinstance(options, GanOptions) else 0.998
    average = MovingAverage(student.network, decay)
    adam = torch.optim.Adam(learned, lr=options.rate, betas=(0.9, 0.98))
    descent = Descent(learned, {"adam": adam}, run.precision, run.processes, clip=1.0)
    config = student.config | {"seed": settings.seed}
    checkpoint = Checkpoint(settings.out, config, average, network=student.network, descent=descent)
    start = checkpoint.resume()
    judge_network = load_classifier(judge).eval().to(run.device)
    columns = ("loss", *CURVE_COLUMNS, "underspecified")
    curve = Curve(settings.out, columns, start=start, images=settings.batch, device=run.device)
    losses: list[float] = []
    count, label = settings.steps - start, f"training {settings.out.stem}"
    for step in track(range(start, settings.steps), label, count, "steps"):
        batch, randoms, total = run.batch(step, rows), run.randoms(step), 0.0
        for share in run.shares:
            captions = [
                training_caption(examples.scenes[row], random)
                for row, random in zip(batch[share], randoms[share], strict=True)
            ]
            with run.precision.autocast():
                loss = student.distillation_loss(captions, batch[share], randoms[share])
            descent.backward(loss, len(run.shares))
            total += loss.item() / len(run.shares)
        losses.append(check_finite(run.processes.mean(total), step))
        descent.step(schedule(step, settings.steps))
        average.update_parameters(student.network)
        done = step + 1
        if run.saves_after(done):
            with curve.evaluation(done):
                network = average.module.eval()
                drawn = student.draw(network, held_out.prompts())
                right = curve_metrics(judge_network, drawn, held_out)
                right["underspecified"] = _accuracy(student, network, judge_network, held_out)
                curve.log(done, loss=sum(losses) / len(losses), **right)
                curve.save_samples(done, drawn[:64])
                checkpoint.save(done)
            losses.clear()


def _student(
    options: DalleOptions | GanOptions, tokenizer: Path, examples: SceneDataset, device: str
) -> Student:
    path = Path(options.underspecified)
    if isinstance(options, GanOptions):
        student: Student = GanStudent(path, device)
    else:
        student = DalleStudent(path, tokenizer, examples, device)
    if not set(words()) <= set(student.tokenizer.pieces):
        raise EvalkitError(
            f"{path} lacks words of the bundled data set.",
            "Name weights that were trained on it.",
            code="training-45",
        )
    return student


def _accuracy(
    student: Student, network: nn.Module, judge: MiniInception, held_out: SceneDataset
) -> float:
    """The share of underspecified captions for which every object of the meaning is drawn."""
    captions = [
        underspecified_caption(scene, random_of(0, 0, place))
        for place, scene in enumerate(held_out.scenes)
    ]
    things = detected_nouns(judge, student.draw(network, [caption.text for caption in captions]))
    right = [
        found.issuperset(mentions(caption.meaning).nouns)
        for found, caption in zip(things, captions, strict=True)
    ]
    return sum(right) / len(right)


def training_caption(scene: Scene, random: Random) -> UnderspecifiedCaption:
    """A caption of a scene, most often an underspecified one, and the full one with its meaning."""
    kind = random.random()
    if kind < EMPTY:
        return UnderspecifiedCaption("", "")
    if kind < EMPTY + FULL:
        full = caption(scene, random.getrandbits(48), complete=scene.kind == "pair")
        return UnderspecifiedCaption(noisy(full, random), full)
    return underspecified_caption(scene, random)
