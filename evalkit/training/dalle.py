"""Trains the Transformer on the tokens of scenes and their captions."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.models.dalle import Dalle
from evalkit.models.image_tokenizer import ImageTokenizer
from evalkit.models.load import load_classifier, load_clip, load_image_tokenizer
from evalkit.models.mini_inception import to_bytes, to_unit
from evalkit.terminal import track
from evalkit.training import data
from evalkit.training.checkpoint import Average, load_state, save_state, save_weights
from evalkit.training.judge import for_the_curve, judge_scenes
from evalkit.training.loop import Curve, autocast, batches, choose_precision, schedule


def train_dalle(
    out: Path, *, tokenizer: Path, clip: Path, judge: Path, seed: int = 0, width: int = 128, depth: int = 6, heads: int = 4,
    steps: int = 8000, batch: int = 64, scenes: int = 150_000, device: str = "cpu",
) -> None:  # fmt: skip
    """Muon for the matrices of the blocks, AdamW for the rest; the text tower starts from the CLIP. Resumes by itself."""
    torch.manual_seed(seed)
    dtype, reason = choose_precision("auto", device)
    print(reason, file=sys.stderr)
    images = load_image_tokenizer(tokenizer)[0].to(device)
    some, words, random = data.scenes(seed * 10_000_000, scenes), data.tokenizer(), Random(seed)
    tokens = tokenise(images, some, device)
    held_out, umpire = data.scenes(data.HELD_OUT, 300), load_classifier(judge).eval().to(device)
    network = Dalle(load_clip(clip)[0].text.requires_grad_(True), images.codes, width=width, depth=depth, heads=heads).to(device)
    config = {
        "kind": "dalle",
        "codes": images.codes,
        "width": width,
        "depth": depth,
        "heads": heads,
        "words": list(words.words),
        "context": data.CONTEXT,
        "seed": seed,
    }
    average = Average(network, 0.998)
    matrices = [p for p in network.blocks.parameters() if p.ndim == 2]
    tower = list(network.text.parameters())
    rest = [p for p in network.parameters() if all(p is not other for other in (*matrices, *tower))]
    muon = torch.optim.Muon([{"params": matrices, "peak": 0.02}], lr=0.02, weight_decay=0.0, momentum=0.95)
    adam = torch.optim.AdamW([{"params": rest, "peak": 3e-3}, {"params": tower, "peak": 2e-4}], lr=1.0, weight_decay=0.0, betas=(0.9, 0.98))
    start = 0
    if state := load_state(out.with_suffix(".pt")):
        network.load_state_dict(state["network"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        average.weights, average.steps, start = state["average"], state["step"], state["step"]
    curve = Curve(out.with_suffix(".csv"), ("loss", "noun", "colour", "background", "everything", "counts", "pairs"))
    # Pairs are the hardest and 20% of the world; each is seen twice as often as another scene.
    lots = torch.tensor([row for row, scene in enumerate(some) for _ in range(2 if scene.kind == "pair" else 1)])
    order = batches(len(lots), batch, torch.Generator().manual_seed(seed + start))
    nothing = data.read([""], words)
    recent = 0.0
    for step, places in track(zip(range(start, steps), order, strict=False), f"training {out.stem}", steps - start, "steps"):
        rows = lots[places]
        for group in (*muon.param_groups, *adam.param_groups):
            group["lr"] = group["peak"] * schedule(step, steps)
        texts = data.read([data.noisy_caption(some[row], random) for row in rows.tolist()], words)
        texts = torch.where(torch.rand(len(rows), 1) < 0.1, nothing, texts)
        texts = texts[:, : int((texts != 0).sum(1).max())].to(device)
        goal = tokens[rows].long().to(device)
        with autocast(dtype, device):
            logits = network(texts, goal)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), goal.flatten())
        muon.zero_grad()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        muon.step()
        adam.step()
        average.update(network)
        recent = loss.item() if step == start else 0.98 * recent + 0.02 * loss.item()
        if (step + 1) % 250 == 0 or step + 1 == steps:
            trained = Dalle(load_clip(clip)[0].text, images.codes, width=width, depth=depth, heads=heads).to(device)
            trained.load_state_dict(average.weights)
            right = judge_scenes(umpire, draw(trained.eval(), images, held_out, device), held_out)
            curve.log(step + 1, loss=recent, **for_the_curve(right))
            save_weights(out, average.weights, config | {"steps": step + 1})
            save_state(
                out.with_suffix(".pt"),
                {
                    "network": network.state_dict(),
                    "muon": muon.state_dict(),
                    "adam": adam.state_dict(),
                    "average": average.weights,
                    "step": step + 1,
                },
            )


@torch.no_grad()
def tokenise(images: ImageTokenizer, some: list[data.Scene], device: str) -> Tensor:
    """int16 [N, 64]; in slices, so that pictures never fill the memory."""
    slices = (data.pictures(some[start : start + 500]) for start in range(0, len(some), 500))
    return torch.cat([images.encode(to_unit(pictures.to(device))).short().cpu() for pictures in slices])


@torch.no_grad()
def draw(network: Dalle, images: ImageTokenizer, some: list[data.Scene], device: str, guidance: float = 3.0) -> Tensor:
    """One picture for one caption of every scene: uint8 [N, 3, 32, 32]."""
    words = data.tokenizer()
    texts = data.read(data.prompts_of(some), words).to(device)
    drawn = [
        network.sample(part, data.read([""], words).to(device), range(start, start + len(part)), guidance=guidance)
        for start, part in zip(range(0, len(texts), 50), texts.split(50), strict=True)
    ]
    return to_bytes(images.decode(torch.cat(drawn))).cpu()
