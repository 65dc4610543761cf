"""Trains the Transformer to write the image tokens of pictures, given their captions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.core import EvalkitError
from evalkit.generators.image_batches import fixed_size
from evalkit.judge.verdicts import CURVE, for_the_curve
from evalkit.models.dalle import GUIDANCE, Dalle
from evalkit.models.image_tokenizer import ImageTokenizer
from evalkit.models.load import (
    codes_fingerprint,
    load_classifier,
    load_clip,
    load_dalle,
    load_image_tokenizer,
)
from evalkit.models.mini_inception import to_bytes, to_unit
from evalkit.models.text import SubwordTokenizer, TextTower
from evalkit.scenes import dataset
from evalkit.training import data
from evalkit.training.distillation import distillation_loss
from evalkit.training.options import DalleOptions
from evalkit.training.reading import take_lessons
from evalkit.training.runtime.checkpoints import (
    Average,
    Checkpoint,
    begin_with,
    differences,
    tokens_of,
)
from evalkit.training.runtime.curve import Curve, check_finite
from evalkit.training.runtime.loop import Settings, batch_of, random_of, schedule
from evalkit.training.runtime.muon import Muon
from evalkit.training.runtime.precision import Descent, choose_precision
from evalkit.training.runtime.prefetch import each_step
from evalkit.training.runtime.processes import join

log = logging.getLogger(__name__)


class Part(NamedTuple):
    """What a process takes of a batch at once."""

    texts: Tensor  # int64 [N, T]
    pictures: Tensor  # uint8 [N, 3, S, S]
    hidden: Tensor  # bool [N], whose tokens are not seen


def train_dalle(
    settings: Settings,
    examples: dataset.Examples,
    held_out: dataset.Examples,
    options: DalleOptions,
    *,
    tokenizer: Path,
    clip: Path,
    judge: Path | None,
) -> None:
    """Muon for the matrices of the blocks, AdamW for the rest; the text tower starts from the CLIP.
    Resumes by itself.

    held_out: what is drawn for the samples, and the loss on which is in the curve.
    judge: a classifier that looks at the samples, where the examples are of the bundled world.
    """
    own, device = join(settings.device)
    precision = choose_precision(settings.precision, device, own)
    log.info("%s", precision.reason)
    lots, shares = examples.lots(options.often), own.shares(settings.batch, settings.accumulate)
    torch.manual_seed(settings.seed)
    images, pieces = load_image_tokenizer(tokenizer)[0].to(device), data.pieces_for(examples, clip)
    umpire = load_classifier(judge).eval().to(device) if judge else None
    side = examples.size // images.factor
    tower = text_tower(clip, pieces)
    width = tower.position.shape[1]
    network = Dalle(tower, images.codes, side, width, options.depth, options.heads).to(device)
    config: dict[str, Any] = {
        "kind": "dalle", "codes": images.codes, "side": side, "width": width, "depth": options.depth, "heads": options.heads,
        "pieces": list(pieces.pieces), "context": pieces.context, "seed": settings.seed,
        "guidance": GUIDANCE, "image_tokenizer": codes_fingerprint(images),
    }  # fmt: skip
    teachers, before = list[Dalle](), load_dalle(Path(options.weights)) if options.weights else None
    if before is not None:
        config["guidance"] = float(before[1].get("guidance", GUIDANCE))
    if options.teacher:
        teachers, config["guidance"] = load_teachers(
            [Path(place) for place in options.teacher.split(",")], config, options.guided
        )
        teachers = [teacher.to(device) for teacher in teachers]
    average = Average(network, 0.998)
    matrices = [
        p for blocks in (network.order, network.blocks) for p in blocks.parameters() if p.ndim == 2
    ]
    reading = list(tower.parameters())
    rest = [
        p for p in network.parameters() if all(p is not other for other in (*matrices, *reading))
    ]
    adam = torch.optim.AdamW(
        [
            {"params": rest, "lr": 0.15 * options.rate},
            {"params": reading, "lr": 0.025 * options.rate},
        ],
        weight_decay=0.0,
        betas=(0.9, 0.98),
    )
    optimisers = {"muon": Muon(matrices, lr=options.rate), "adam": adam}
    descent = Descent(list(network.parameters()), optimisers, precision, own, clip=1.0)
    checkpoint = Checkpoint(settings.out, config, average, network=network, descent=descent)
    start = checkpoint.resume()
    if start == 0:
        if before is not None:
            begin_with(network, Path(options.weights), *before, config)
        elif teachers and (len(teachers[0].blocks), teachers[0].heads) == (
            options.depth,
            options.heads,
        ):
            network.load_state_dict(
                teachers[0].state_dict()
            )  # a student of the same size begins as its teacher, who can read
        else:
            lessons = min(options.reading, settings.steps)
            take_lessons(
                network,
                network.order,
                tower.parameters(),
                examples,
                pieces,
                steps=lessons,
                seed=settings.seed,
            )
        average.restart(network)
    columns = ("loss", "held_out_loss", *(CURVE if umpire else ()))
    curve = Curve(settings.out, columns, start=start, images=settings.batch, device=device)
    nothing = data.read([""], pieces).to(device)
    losses: list[float] = []

    def prepare(step: int) -> list[Part]:
        rows, parts = batch_of(step, lots, settings.batch, settings.seed).tolist(), list[Part]()
        for share in shares:
            randoms = [
                random_of(settings.seed, step, place) for place in range(settings.batch)[share]
            ]
            texts = data.read_for_training(examples, rows[share], randoms, pieces)
            hidden = torch.tensor([random.random() < options.hidden for random in randoms])
            parts.append(Part(texts, examples.pictures(rows[share]), hidden))
        return parts

    for step, parts in each_step(prepare, start, settings, device, own.count):
        total = 0.0
        for part in parts:
            texts, pictures, hidden = (tensor.to(device) for tensor in part)
            with torch.no_grad():
                goal = images.encode(to_unit(pictures))
            with precision.autocast():
                logits = network(texts, goal, hidden)
            if not teachers:
                loss = F.cross_entropy(logits.flatten(0, 1).float(), goal.flatten())
            else:
                with torch.no_grad(), precision.autocast():
                    soft = torch.stack([teacher(texts, goal, hidden) for teacher in teachers]).mean(
                        0
                    )
                    if options.guided != 1:
                        empty = nothing[:, : texts.shape[1]].expand(len(texts), -1)
                        without = torch.stack(
                            [teacher(empty, goal, hidden) for teacher in teachers]
                        ).mean(0)
                        soft = torch.lerp(without, soft, options.guided)
                loss = distillation_loss(
                    logits, soft, goal, temperature=options.temperature, share=options.share
                )
            descent.backward(loss, len(shares))
            total += loss.item() / len(shares)
        losses.append(check_finite(own.mean(total), step))
        descent.step(schedule(step, settings.steps))
        average.update(network)
        done = step + 1
        if own.first and (done % settings.every == 0 or done == settings.steps):
            curve.stop_clock(done)
            trained = Dalle(
                TextTower(len(pieces), pieces.context, width),
                images.codes,
                side,
                width,
                options.depth,
                options.heads,
            )
            trained.load_state_dict(average.weights)
            trained = trained.eval().to(device)
            drawn = draw(
                trained,
                images,
                pieces,
                held_out.prompts()[: len(held_out) if umpire else 64],
                device,
                config["guidance"],
            )
            right = for_the_curve(umpire, drawn, held_out)
            unseen = held_out_loss(trained, images, pieces, held_out, device)
            curve.log(done, loss=sum(losses) / len(losses), held_out_loss=unseen, **right)
            curve.save_samples(done, drawn[:64])
            checkpoint.save(done)
            curve.resume_clock()
            losses.clear()


def load_teachers(
    paths: list[Path], student: dict[str, Any], guided: float
) -> tuple[list[Dalle], float]:
    """Trained dalles, and the guidance that their student will need to draw as they do.

    Raises EvalkitError where one reads other text tokens or writes other image tokens than its
    student, where one is to be guided and has its guidance in itself, and where they need different
    ones.
    """
    loaded, needed = [load_dalle(path) for path in paths], set[float]()
    for path, (_, config) in zip(paths, loaded, strict=True):
        if found := differences(
            ("codes", "side", "pieces", "context", *tokens_of(config)), config, student
        ):
            raise EvalkitError(
                f"The teacher {path} differs from its student in {found}.",
                "Train both on the same image tokenizer and CLIP.",
            )
        needed.add(float(config.get("guidance", GUIDANCE)))
        if guided != 1 and 1.0 in needed:
            raise EvalkitError(
                f"The teacher {path} learned from a guided teacher itself, so it cannot be guided once more.",
                "Train one without: `evalkit train dalle`; or set dalle.guided=1.",
            )
    if guided == 1 and len(needed) > 1:
        raise EvalkitError(
            f"The teachers draw with different guidance: {', '.join(map(str, sorted(needed)))}.",
            "Name teachers of one kind, or fewer.",
        )
    return [teacher.eval() for teacher, _ in loaded], needed.pop() if guided == 1 else 1.0


@torch.no_grad()
def held_out_loss(
    network: Dalle,
    images: ImageTokenizer,
    pieces: SubwordTokenizer,
    held_out: dataset.Examples,
    device: str,
) -> float:
    """Nats per image token, given one caption each."""
    texts, losses = data.read(held_out.prompts(), pieces), []
    for rows in torch.arange(len(held_out)).split(64):
        goal = images.encode(to_unit(held_out.pictures(rows.tolist()).to(device)))
        losses += (
            F.cross_entropy(network(texts[rows].to(device), goal).mT, goal, reduction="none")
            .mean(1)
            .tolist()
        )
    return sum(losses) / len(losses)


def text_tower(clip: Path, pieces: SubwordTokenizer) -> TextTower:
    """The text tower of a CLIP, which knows words, for our pieces: words keep their vectors,
    endings begin with new ones.
    """
    network, config = load_clip(clip)
    tower = TextTower(len(pieces), pieces.context, network.text.position.shape[1])
    state = network.text.state_dict()
    known = {word: place + 2 for place, word in enumerate(config["words"])}
    vectors = tower.word.weight.detach().clone()
    vectors[:2] = state["word.weight"][:2]
    for place, piece in enumerate(pieces.pieces):
        if piece in known:
            vectors[place + 2] = state["word.weight"][known[piece]]
    tower.load_state_dict(state | {"word.weight": vectors})
    return tower


@torch.no_grad()
def draw(
    network: Dalle,
    images: ImageTokenizer,
    pieces: SubwordTokenizer,
    prompts: list[str],
    device: str,
    guidance: float,
) -> Tensor:
    """One picture for each prompt: uint8 [N, 3, S, S]."""
    texts, nothing = data.read(prompts, pieces).to(device), data.read([""], pieces).to(device)
    size = fixed_size(device, network.length)
    drawn = [
        network.sample(part, nothing, range(start, start + len(part)), guidance=guidance)
        for start, part in zip(range(0, len(texts), size), texts.split(size), strict=True)
    ]
    return to_bytes(images.decode(torch.cat(drawn))).cpu()
