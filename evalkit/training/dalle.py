"""Trains the Transformer that predicts the image tokens of a caption."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.generators.image_batches import fixed_size
from evalkit.models.dalle import GUIDANCE, Dalle
from evalkit.models.image_tokenizer import ImageTokenizer
from evalkit.models.load import (
    codes_fingerprint,
    load_classifier,
    load_clip,
    load_dalle,
    load_image_tokenizer,
)
from evalkit.models.mini_inception import MiniInception, to_bytes, to_unit
from evalkit.models.text import SubwordTokenizer, TextTower
from evalkit.scenes.dataset import Examples
from evalkit.scorers.verdicts import CURVE_COLUMNS, curve_metrics
from evalkit.training.dalle_teachers import Teachers, load_teachers
from evalkit.training.distillation import distillation_loss
from evalkit.training.options import DalleOptions
from evalkit.training.runtime.checkpoints import Checkpoint, MovingAverage, initialise_from
from evalkit.training.runtime.curve import Curve, check_finite
from evalkit.training.runtime.loop import Settings, TrainingRun, schedule, start_run
from evalkit.training.runtime.muon import Muon
from evalkit.training.runtime.precision import Descent
from evalkit.training.runtime.prefetch import each_step
from evalkit.training.text_pretraining import pretrain_text
from evalkit.training.tokens import dalle_tokenizer, tokenize, training_tokens


class Part(NamedTuple):
    """The part of a batch that a process takes at once."""

    texts: Tensor  # int64 [N, T]
    images: Tensor  # uint8 [N, 3, S, S]
    hidden: Tensor  # bool [N]: the image tokens are hidden from the network


@dataclass(frozen=True)
class Networks:
    dalle: Dalle
    image_tokenizer: ImageTokenizer
    tokenizer: SubwordTokenizer  # of captions
    judge: MiniInception | None


def train_dalle(
    settings: Settings,
    examples: Examples,
    held_out: Examples,
    options: DalleOptions,
    *,
    tokenizer: Path,
    clip: Path,
    judge: Path | None,
) -> None:
    """Muon for the matrices of the blocks, AdamW for the rest; the text tower is the CLIP's.

    Resumes by itself.

    held_out: for the samples and the held-out loss of the curve.
    judge: a classifier that rates the samples, for the bundled data set only.
    """
    run = start_run(settings)
    rows = examples.epoch_rows(options.oversample)
    networks = _networks(run, examples, options, tokenizer, clip, judge)
    network, config = networks.dalle, _config(networks, options, settings.seed)
    # The order of what follows decides which random numbers the text pre-training starts with.
    trained, teachers = load_dalle(Path(options.weights)) if options.weights else None, None
    if trained is not None:
        config["guidance"] = float(trained[1].get("guidance", GUIDANCE))
    if options.teacher:
        paths = [Path(place) for place in options.teacher.split(",")]
        teachers = load_teachers(paths, config, options.guided, run.device)
        config["guidance"] = teachers.guidance
    average, descent = MovingAverage(network, 0.998), _descent(network, options.rate, run)
    checkpoint = Checkpoint(settings.out, config, average, network=network, descent=descent)
    start = checkpoint.resume()
    if start == 0:
        if trained is not None:
            initialise_from(network, Path(options.weights), *trained, config)
        else:
            _initialise(networks, teachers, examples, options, settings)
        average.restart(network)
    columns = ("loss", "held_out_loss", *(CURVE_COLUMNS if judge else ()))
    curve = Curve(settings.out, columns, start=start, images=settings.batch, device=run.device)
    losses: list[float] = []
    prepare = partial(
        _prepare, run=run, rows=rows, examples=examples, tokenizer=networks.tokenizer,
        hidden=options.hidden,
    )  # fmt: skip
    for step, parts in each_step(prepare, start, run):
        total = 0.0
        for part in parts:
            loss = _loss(networks, teachers, part, options, run)
            descent.backward(loss, len(parts))
            total += loss.item() / len(parts)
        losses.append(check_finite(run.processes.mean(total), step))
        descent.step(schedule(step, settings.steps))
        average.update_parameters(network)
        done = step + 1
        if run.saves_after(done):
            with curve.evaluation(done):
                averaged = replace(networks, dalle=average.module.eval())
                values, drawn = _evaluate(averaged, held_out, config["guidance"], run.device)
                curve.log(done, loss=sum(losses) / len(losses), **values)
                curve.save_samples(done, drawn[:64])
                checkpoint.save(done)
            losses.clear()


def _networks(
    run: TrainingRun,
    examples: Examples,
    options: DalleOptions,
    tokenizer: Path,
    clip: Path,
    judge: Path | None,
) -> Networks:
    image_tokenizer = load_image_tokenizer(tokenizer)[0].to(run.device)
    of_text = dalle_tokenizer(examples, clip)
    judge_network = load_classifier(judge).eval().to(run.device) if judge else None
    tower = text_tower(clip, of_text)
    side, width = examples.size // image_tokenizer.factor, tower.position.shape[1]
    dalle = Dalle(tower, image_tokenizer.codes, side, width, options.depth, options.heads)
    return Networks(dalle.to(run.device), image_tokenizer, of_text, judge_network)


def _config(networks: Networks, options: DalleOptions, seed: int) -> dict[str, Any]:
    return {
        "kind": "dalle",
        "codes": networks.image_tokenizer.codes,
        "side": networks.dalle.side,
        "width": networks.dalle.text.position.shape[1],
        "depth": options.depth,
        "heads": options.heads,
        "pieces": list(networks.tokenizer.pieces),
        "context": networks.tokenizer.context,
        "seed": seed,
        "guidance": GUIDANCE,
        "image_tokenizer": codes_fingerprint(networks.image_tokenizer),
    }


def _descent(network: Dalle, rate: float, run: TrainingRun) -> Descent:
    blocks = [*network.order.parameters(), *network.blocks.parameters()]
    matrices = [parameter for parameter in blocks if parameter.ndim == 2]
    text = list(network.text.parameters())
    special = {id(parameter) for parameter in (*matrices, *text)}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in special]
    adam = torch.optim.AdamW(
        [{"params": rest, "lr": 0.15 * rate}, {"params": text, "lr": 0.025 * rate}],
        weight_decay=0.0,
        betas=(0.9, 0.98),
    )
    optimisers = {"muon": Muon(matrices, lr=rate), "adam": adam}
    return Descent(list(network.parameters()), optimisers, run.precision, run.processes, clip=1.0)


def _initialise(
    networks: Networks,
    teachers: Teachers | None,
    examples: Examples,
    options: DalleOptions,
    settings: Settings,
) -> None:
    """Copy a teacher of the same size, or else pre-train the text encoder."""
    network = networks.dalle
    first = teachers.networks[0] if teachers else None
    if first and (len(first.blocks), first.heads) == (options.depth, options.heads):
        network.load_state_dict(first.state_dict())
        return
    pretrain_text(
        network,
        network.order,
        network.text.parameters(),
        examples,
        networks.tokenizer,
        steps=min(options.text_pretraining, settings.steps),
        seed=settings.seed,
    )


def _prepare(
    step: int,
    run: TrainingRun,
    rows: Tensor,
    examples: Examples,
    tokenizer: SubwordTokenizer,
    hidden: float,
) -> list[Part]:
    batch, parts = run.batch(step, rows), list[Part]()
    for share in run.shares:
        randoms = run.randoms(step)[share]
        texts = training_tokens(examples, batch[share], randoms, tokenizer)
        hide = torch.tensor([random.random() < hidden for random in randoms])
        parts.append(Part(texts, examples.images(batch[share]), hide))
    return parts


def _loss(
    networks: Networks,
    teachers: Teachers | None,
    part: Part,
    options: DalleOptions,
    run: TrainingRun,
) -> Tensor:
    texts, images, hidden = (tensor.to(run.device) for tensor in part)
    with torch.no_grad():
        goal = networks.image_tokenizer.encode(to_unit(images))
    with run.precision.autocast():
        logits = networks.dalle(texts, goal, hidden)
    if teachers is None:
        return F.cross_entropy(logits.flatten(0, 1).float(), goal.flatten())
    empty = tokenize([""], networks.tokenizer).to(run.device)
    with run.precision.autocast():
        soft = teachers.logits(texts, goal, hidden, empty)
    return distillation_loss(
        logits, soft, goal, temperature=options.temperature, share=options.share
    )


def _evaluate(
    networks: Networks, held_out: Examples, guidance: float, device: str
) -> tuple[dict[str, float], Tensor]:
    """The values for the curve, and the samples that they are about."""
    prompts = held_out.prompts()[: len(held_out) if networks.judge else 64]
    drawn = draw(
        networks.dalle, networks.image_tokenizer, networks.tokenizer, prompts, device, guidance
    )
    unseen = held_out_loss(networks, held_out, device)
    return {"held_out_loss": unseen, **curve_metrics(networks.judge, drawn, held_out)}, drawn


@torch.no_grad()
def held_out_loss(networks: Networks, held_out: Examples, device: str) -> float:
    """Nats per image token, given one caption each."""
    texts, losses = tokenize(held_out.prompts(), networks.tokenizer), list[float]()
    for rows in torch.arange(len(held_out)).split(64):
        images = to_unit(held_out.images(rows.tolist()).to(device))
        goal = networks.image_tokenizer.encode(images)
        logits = networks.dalle(texts[rows].to(device), goal)
        losses += F.cross_entropy(logits.mT, goal, reduction="none").mean(1).tolist()
    return sum(losses) / len(losses)


def text_tower(clip: Path, tokenizer: SubwordTokenizer) -> TextTower:
    """The text tower of a CLIP for another vocabulary.

    Words that both have keep their vectors; other subwords start with random ones.
    """
    network, config = load_clip(clip)
    tower = TextTower(len(tokenizer), tokenizer.context, network.text.position.shape[1])
    state = network.text.state_dict()
    known = {word: place + 2 for place, word in enumerate(config["words"])}
    vectors = tower.word.weight.detach().clone()
    vectors[:2] = state["word.weight"][:2]
    for place, piece in enumerate(tokenizer.pieces):
        if piece in known:
            vectors[place + 2] = state["word.weight"][known[piece]]
    tower.load_state_dict(state | {"word.weight": vectors})
    return tower


@torch.no_grad()
def draw(
    network: Dalle,
    image_tokenizer: ImageTokenizer,
    tokenizer: SubwordTokenizer,
    prompts: list[str],
    device: str,
    guidance: float,
) -> Tensor:
    """One image per prompt: uint8 [N, 3, S, S]."""
    texts = tokenize(prompts, tokenizer).to(device)
    empty = tokenize([""], tokenizer).to(device)
    size = fixed_size(device, network.length)
    drawn = [
        network.sample(part, empty, range(start, start + len(part)), guidance=guidance)
        for start, part in zip(range(0, len(texts), size), texts.split(size), strict=True)
    ]
    return to_bytes(image_tokenizer.decode(torch.cat(drawn))).cpu()
