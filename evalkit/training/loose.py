"""Teaches the text encoder of a trained gan to read loose captions: self-distillation.

From its own training a gan knows captions as the bundled world writes them. What people write leaves things open ("cats", "a man riding a
horse"), and there a real picture is a poor teacher: it shows one of all that could be meant, and critics say nothing about which. But the
gan itself draws what a loose caption means, when it is told so in full. So that is the goal, and the smallest part of the gan that could
reach it learns: the text encoder, until it makes of a loose caption what it made of the full one. No picture has to be drawn for it.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.models.gan import Gan
from evalkit.models.load import load_classifier, load_gan
from evalkit.models.text import SubwordTokenizer
from evalkit.scenes.loose import loose_caption
from evalkit.scenes.vocabulary import mentions
from evalkit.terminal import track
from evalkit.training import data
from evalkit.training.checkpoint import Average, Checkpoint, begin_with, differences
from evalkit.training.curve import Curve, check_finite
from evalkit.training.distributed import join
from evalkit.training.gan import Stage, draw
from evalkit.training.judge import CURVE, for_the_curve, seen
from evalkit.training.loop import Settings, batch_of, generator_of, random_of, schedule
from evalkit.training.options import GanOptions
from evalkit.training.precision import Descent, choose_precision

log = logging.getLogger(__name__)


def train_loose(settings: Settings, examples: data.Examples, held_out: data.Examples, options: GanOptions, *, judge: Path) -> None:
    """options.teacher: weights of the gan that is told in full. options.weights: of the one that learns, where it is another.
    Options of critics and growing mean nothing here. Resumes by itself.

    judge: a classifier that looks at the samples: of complete captions, and of loose ones, in which share of them all that they name is.
    """
    if not isinstance(examples, data.World) or not isinstance(held_out, data.World):
        raise EvalkitError("A gan learns to read loose captions from scenes of the bundled world.", "Leave --data or gan.teacher out.")
    own, device = join(settings.device)
    precision = choose_precision(settings.precision, device, own)
    log.info("%s", precision.reason)
    lots, shares = examples.lots(options.often), own.shares(settings.batch, settings.accumulate)
    teacher, config = load_gan(Path(options.teacher))
    words = SubwordTokenizer(config["pieces"], config["context"])
    if found := differences(("pieces", "context"), config, {"pieces": data.word_tokenizer().pieces, "context": data.CONTEXT}):
        raise EvalkitError(f"The teacher {options.teacher} does not read the bundled world: it differs in {found}.", "Name another one.")
    network = load_gan(Path(options.teacher))[0].to(device)
    teacher = teacher.to(device).eval().requires_grad_(False)
    network.requires_grad_(False).text.requires_grad_(True)
    config = config | {"seed": settings.seed}
    average = Average(network, options.average)
    reading = list(network.text.parameters())
    adam = torch.optim.Adam(reading, lr=options.rate, betas=(0.9, 0.98))
    descent = Descent(reading, {"adam": adam}, precision, own, clip=1.0)
    checkpoint = Checkpoint(settings.out, config, average, network=network, descent=descent)
    start = checkpoint.resume()
    if start == 0 and options.weights:
        begin_with(network, Path(options.weights), *load_gan(Path(options.weights)), config)
        average.restart(network)
    umpire = load_classifier(judge).eval().to(device)
    unseen = [loose_caption(scene, random_of(0, 0, place)) for place, scene in enumerate(held_out.scenes)]
    curve = Curve(settings.out, ("loss", *CURVE, "loose"), start=start, images=settings.batch, device=device)
    losses: list[float] = []
    for step in track(range(start, settings.steps), f"training {settings.out.stem}", settings.steps - start, "steps"):
        rows = batch_of(step, lots, settings.batch, settings.seed).tolist()
        told = [data.lesson(examples.scenes[row], random_of(settings.seed, step, place)) for place, row in enumerate(rows)]
        noise = torch.randn(settings.batch, network.noise, generator=generator_of(settings.seed, step))
        total = 0.0
        for share in shares:
            texts, meanings = (data.up_to_the_longest(data.read(part, words)).to(device) for part in zip(*told[share], strict=True))
            with precision.autocast():
                loss = misread(network, teacher, texts, meanings, noise[share].to(device))
            descent.backward(loss, len(shares))
            total += loss.item() / len(shares)
        losses.append(check_finite(own.mean(total), step))
        descent.step(schedule(step, settings.steps))
        average.update(network)
        done = step + 1
        if own.first and (done % settings.every == 0 or done == settings.steps):
            curve.stop_clock(done)
            trained = load_gan(Path(options.teacher))[0].to(device).eval()
            trained.load_state_dict(average.weights)
            drawn = draw(trained, words, held_out.prompts(), device, Stage(network.size, 1.0))
            things = seen(umpire, draw(trained, words, [loose.text for loose in unseen], device, Stage(network.size, 1.0)))
            right = [found.issuperset(mentions(loose.meaning).nouns) for found, loose in zip(things, unseen, strict=True)]
            curve.log(done, loss=sum(losses) / len(losses), **for_the_curve(umpire, drawn, held_out), loose=sum(right) / len(right))
            curve.save_samples(done, drawn[:64])
            checkpoint.save(done)
            curve.resume_clock()
            losses.clear()


def misread(student: Gan, teacher: Gan, texts: Tensor, meanings: Tensor, noise: Tensor) -> Tensor:
    """How far the plans of pictures are from those of what was meant: mean squared differences of styles and of the maps of what is
    where, each relative to the mean square of the teacher's.

    texts, meanings: int64 [N, T], piece numbers. noise: float [N, noise], the same for both.
    """
    with torch.no_grad():
        goals = teacher.plan(teacher.encode_text(meanings), noise)
    plans = student.plan(student.encode_text(texts), noise)
    errors = [(plan - goal).float().square().mean() / goal.float().square().mean() for plan, goal in zip(plans, goals, strict=True)]
    return torch.stack(errors).sum()
