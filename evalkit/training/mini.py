"""Trains the two small encoders: the classifier (`inception`, and as `judge` with another seed and width) and the CLIP."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import torch
from torch.nn import functional as F

from evalkit.models.load import load_classifier
from evalkit.models.mini_clip import MiniClip
from evalkit.models.mini_inception import MiniInception, to_unit
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import Scene
from evalkit.scenes.world import RELATIONS
from evalkit.terminal import track
from evalkit.training import data
from evalkit.training.checkpoint import Average, save_weights
from evalkit.training.judge import judge_scenes
from evalkit.training.loop import Curve, autocast, batches, choose_precision, schedule

OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def train_classifier(
    out: Path, *, seed: int = 0, width: int = 24, steps: int = 1800, batch: int = 64, scenes: int = 60_000, device: str = "cpu"
) -> None:
    """Dense cross-entropy over 8 x 8 cells, plus the picture's nouns and its background. Writes out.safetensors."""
    torch.manual_seed(seed)
    dtype, reason = choose_precision("auto", device)
    print(reason, file=sys.stderr)
    first = seed * 10_000_000
    some = data.scenes(first, scenes)
    pictures, targets = data.pictures(some), data.targets(some)
    held_out = data.scenes(data.HELD_OUT, 500)
    network = (
        MiniInception(len(data.NOUNS), len(data.COLOUR_NAMES), len(data.BACKGROUND_NAMES), width)
        .to(device)
        .to(memory_format=torch.channels_last)
    )
    average = Average(network, 0.995)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1.0, weight_decay=0.02, betas=(0.9, 0.98))
    curve = Curve(out.with_suffix(".csv"), ("loss", "noun", "colour", "background", "everything"))
    generator = torch.Generator().manual_seed(seed)
    weights = torch.ones(len(data.NOUNS) + 1, device=device)
    weights[-1] = 0.1  # most cells hold nothing
    for step, rows in track(zip(range(steps), batches(scenes, batch, generator), strict=False), f"training {out.stem}", steps, "steps"):
        optimiser.param_groups[0]["lr"] = 3e-3 * schedule(step, steps)
        with autocast(dtype, device):
            found = network(augment(to_unit(pictures[rows].to(device)), generator).contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(found.nouns.float(), targets.nouns[rows].to(device), weight=weights)
        loss = loss + 0.5 * F.cross_entropy(found.backgrounds.float(), targets.backgrounds[rows].to(device))
        loss = loss + 0.5 * F.cross_entropy(found.logits.float(), targets.whole[rows].to(device))
        loss = loss + F.cross_entropy(found.colours.float(), targets.colours[rows].to(device)).nan_to_num()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        average.update(network)
        if (step + 1) % 200 == 0 or step + 1 == steps:
            trained = MiniInception(len(data.NOUNS), len(data.COLOUR_NAMES), len(data.BACKGROUND_NAMES), width)
            trained.load_state_dict(average.weights)
            right = judge_scenes(trained.eval(), data.pictures(held_out), held_out)
            curve.log(
                step + 1,
                loss=loss.item(),
                noun=right["noun"],
                colour=right["colour"],
                background=right["background"],
                everything=right["everything"],
            )
            names = {"nouns": list(data.NOUNS), "colours": list(data.COLOUR_NAMES), "backgrounds": list(data.BACKGROUND_NAMES)}
            save_weights(out, average.weights, {"kind": "classifier", "width": width, "seed": seed, "steps": step + 1, **names})


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur, noise and brightness in a part of the pictures: generated ones are never as clean as composed ones."""
    count = len(images)
    draw = torch.rand(4, count, 1, 1, 1, generator=generator).to(images.device)
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    images = torch.where(draw[0] < 0.3, torch.lerp(images, blurred, draw[1]), images)
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    images = images + noise * 0.2 * (draw[2] - 0.5).clamp(min=0)
    return images * (0.85 + 0.3 * draw[3])


def train_clip(
    out: Path, *, classifier: Path, seed: int = 0, steps: int = 1200, batch: int = 128, scenes: int = 60_000, device: str = "cpu"
) -> None:
    """Contrastive training on a classifier's frozen trunk. A pair's caption with the relation turned round is one more negative."""
    torch.manual_seed(seed)
    random = Random(seed)
    dtype, reason = choose_precision("auto", device)
    print(reason, file=sys.stderr)
    some = data.scenes(seed * 10_000_000, scenes)
    pictures, words = data.pictures(some), data.tokenizer()
    held_out = data.scenes(data.HELD_OUT, 256)
    held_out_pictures = to_unit(data.pictures(held_out)).to(device)
    held_out_texts = data.read(data.prompts_of(held_out), words).to(device)
    network = MiniClip(load_classifier(classifier), len(words), data.CONTEXT).to(device).to(memory_format=torch.channels_last)
    average = Average(network, 0.995)
    network.trunk.eval().requires_grad_(False)
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1.0, weight_decay=0.02, betas=(0.9, 0.98))
    curve = Curve(out.with_suffix(".csv"), ("loss", "image_to_text", "text_to_image", "relation"))
    generator = torch.Generator().manual_seed(seed)
    for step, rows in track(zip(range(steps), batches(scenes, batch, generator), strict=False), f"training {out.stem}", steps, "steps"):
        optimiser.param_groups[0]["lr"] = 2e-3 * schedule(step, steps)
        chosen = [some[row] for row in rows.tolist()]
        texts = data.read([data.noisy_caption(scene, random) for scene in chosen], words)
        turned, of_row = [], []
        for place, scene in enumerate(chosen):
            if scene.kind == "pair":
                turned.append(caption(turn_round(scene, random), random.getrandbits(48)))
                of_row.append(place)
        negatives = data.read(turned, words).to(device)
        with autocast(dtype, device):
            images = network.image(augment(to_unit(pictures[rows].to(device)), generator).contiguous(memory_format=torch.channels_last))
            both = network.texts(torch.cat((texts.to(device), negatives)))
        images, both = images.float(), both.float()
        scale = network.log_scale.exp().clamp(max=50)
        matrix = scale * images @ both[:batch].T  # [N, N]
        hard = torch.full((batch, 1), -1e4, device=device)
        place = torch.tensor(of_row, device=device)
        hard[place, 0] = scale * (images[place] * both[batch:]).sum(1)
        goal = torch.arange(batch, device=device)
        loss = (F.cross_entropy(torch.cat((matrix, hard), 1), goal) + F.cross_entropy(matrix.T, goal)) / 2
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        average.update(network)
        if (step + 1) % 200 == 0 or step + 1 == steps:
            trained = MiniClip(load_classifier(classifier), len(words), data.CONTEXT).to(device)
            trained.load_state_dict(average.weights)
            curve.log(step + 1, loss=loss.item(), **evaluate_clip(trained.eval(), held_out, held_out_pictures, held_out_texts))
            reading = {"words": list(words.words), "context": data.CONTEXT, "classifier": {"width": trained.mix.in_channels // 4}}
            save_weights(out, average.weights, {"kind": "clip", "seed": seed, "steps": step + 1, **reading})


def turn_round(scene: Scene, random: Random) -> Scene:
    """A false description of a pair: the opposite relation, or one across."""
    wrong = OPPOSITE[scene.relation] if random.random() < 0.7 else random.choice([name for name in RELATIONS if name != scene.relation])
    return replace(scene, relation=wrong)


@torch.no_grad()
def evaluate_clip(network: MiniClip, held_out: list[Scene], pictures: torch.Tensor, texts: torch.Tensor) -> dict[str, float]:
    """Recall at 1 of 256 both ways; and how often a true relation scores above the same sentence with it turned round."""
    images, captions = network.image(pictures), network.texts(texts)
    matrix = images @ captions.T
    goal = torch.arange(len(matrix), device=matrix.device)
    words, wins, pairs = data.tokenizer(), 0, [n for n, scene in enumerate(held_out) if scene.kind == "pair"]
    asked = 0
    for n in pairs:
        scene = held_out[n]
        true, false = (
            caption(replace(scene, relation=relation), n, complete=True) for relation in (scene.relation, OPPOSITE[scene.relation])
        )
        if true != false:
            score = images[n] @ network.texts(data.read([true, false], words).to(images.device)).T
            asked, wins = asked + 1, wins + int(score[0] > score[1])
    return {
        "image_to_text": float((matrix.argmax(1) == goal).float().mean()),
        "text_to_image": float((matrix.argmax(0) == goal).float().mean()),
        "relation": wins / max(asked, 1),
    }
