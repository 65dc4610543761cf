"""Teaches the text encoder of a trained generator to read loose captions: self-distillation.

From its own training a generator knows captions as the bundled world writes them. What people write
leaves things open ("cats", "a man riding a horse"), and there a real picture is a poor teacher: it
shows one of all that could be meant. But the generator itself knows what to draw when it is told in
full what a loose caption means. So that is the goal, and the smallest part that could reach it
learns: the text encoder, until the rest of the generator gets from a loose caption what it got from
the full one. No picture has to be drawn for it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from random import Random

import torch

from evalkit.core import EvalkitError
from evalkit.judge.verdicts import CURVE_COLUMNS, curve_metrics, detected_nouns
from evalkit.models.load import load_classifier
from evalkit.scenes import dataset
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import Scene
from evalkit.scenes.underspecified import UnderspecifiedCaption, underspecified_caption
from evalkit.scenes.vocabulary import mentions, words
from evalkit.terminal import track
from evalkit.training.options import DalleOptions, GanOptions
from evalkit.training.pupils import DallePupil, GanPupil, Pupil
from evalkit.training.runtime.checkpoints import Average, Checkpoint
from evalkit.training.runtime.curve import Curve, check_finite
from evalkit.training.runtime.loop import Settings, batch_of, random_of, schedule
from evalkit.training.runtime.precision import Descent, choose_precision
from evalkit.training.runtime.processes import join

log = logging.getLogger(__name__)
FULL, NOTHING = (
    0.35,
    0.03,
    # shares of captions that leave nothing open, and of texts without words: both are to be read as
    # before
)


def train_loose(
    settings: Settings,
    examples: dataset.Examples,
    held_out: dataset.Examples,
    options: DalleOptions | GanOptions,
    *,
    tokenizer: Path,
    judge: Path,
) -> None:
    """options.loose: weights of the generator that learns, from itself. Other options than its
    rate, `often` and, of a gan, `average` mean nothing here. Resumes by itself.

    tokenizer: weights of a dalle's image tokenizer.
    judge: a classifier that looks at the samples of complete captions, and at those of loose ones:
    in which share of them is all that these mean?
    """
    if not isinstance(examples, dataset.SceneDataset) or not isinstance(
        held_out, dataset.SceneDataset
    ):
        raise EvalkitError(
            "Loose captions are made of scenes of the bundled world.",
            "Leave --data or the option loose out.",
        )
    own, device = join(settings.device)
    precision = choose_precision(settings.precision, device, own)
    log.info("%s", precision.reason)
    lots, shares = examples.lots(options.often), own.shares(settings.batch, settings.accumulate)
    path = Path(options.loose)
    pupil: Pupil = (
        GanPupil(path, device)
        if isinstance(options, GanOptions)
        else DallePupil(path, tokenizer, examples, device)
    )
    if not set(words()) <= set(pupil.pieces.pieces):
        raise EvalkitError(
            f"{path} does not read the words of the bundled world.",
            "Name weights that were trained on it.",
        )
    reading = [parameter for parameter in pupil.network.parameters() if parameter.requires_grad]
    average = Average(pupil.network, options.average if isinstance(options, GanOptions) else 0.998)
    adam = torch.optim.Adam(reading, lr=options.rate, betas=(0.9, 0.98))
    descent = Descent(reading, {"adam": adam}, precision, own, clip=1.0)
    checkpoint = Checkpoint(
        settings.out,
        pupil.config | {"seed": settings.seed},
        average,
        network=pupil.network,
        descent=descent,
    )
    start = checkpoint.resume()
    umpire = load_classifier(judge).eval().to(device)
    unseen = [
        underspecified_caption(scene, random_of(0, 0, place))
        for place, scene in enumerate(held_out.scenes)
    ]
    curve = Curve(
        settings.out,
        ("loss", *CURVE_COLUMNS, "loose"),
        start=start,
        images=settings.batch,
        device=device,
    )
    losses: list[float] = []
    for step in track(
        range(start, settings.steps),
        f"training {settings.out.stem}",
        settings.steps - start,
        "steps",
    ):
        rows, total = batch_of(step, lots, settings.batch, settings.seed).tolist(), 0.0
        randoms = [random_of(settings.seed, step, place) for place in range(settings.batch)]
        for share in shares:
            told = [
                lesson(examples.scenes[row], random)
                for row, random in zip(rows[share], randoms[share], strict=True)
            ]
            with precision.autocast():
                loss = pupil.misread(told, rows[share], randoms[share])
            descent.backward(loss, len(shares))
            total += loss.item() / len(shares)
        losses.append(check_finite(own.mean(total), step))
        descent.step(schedule(step, settings.steps))
        average.update(pupil.network)
        done = step + 1
        if own.first and (done % settings.every == 0 or done == settings.steps):
            curve.stop_clock(done)
            drawn = pupil.draw(average.weights, held_out.prompts())
            things = detected_nouns(
                umpire, pupil.draw(average.weights, [loose.text for loose in unseen])
            )
            right = [
                found.issuperset(mentions(loose.meaning).nouns)
                for found, loose in zip(things, unseen, strict=True)
            ]
            curve.log(
                done,
                loss=sum(losses) / len(losses),
                **curve_metrics(umpire, drawn, held_out),
                loose=sum(right) / len(right),
            )
            curve.save_samples(done, drawn[:64])
            checkpoint.save(done)
            curve.resume_clock()
            losses.clear()


def lesson(scene: Scene, random: Random) -> UnderspecifiedCaption:
    """A caption of a scene to read, and one that says what it means: most are loose."""
    kind = random.random()
    if kind < NOTHING:
        return UnderspecifiedCaption("", "")
    if kind < NOTHING + FULL:
        full = caption(scene, random.getrandbits(48), complete=scene.kind == "pair")
        return UnderspecifiedCaption(dataset.noisy(full, random), full)
    return underspecified_caption(scene, random)
