"""The commands `evalkit train` and `evalkit judge`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from evalkit.cli.options import Device, Json, Settings, clean, print_rows


def train(
    model: Annotated[
        str,
        typer.Argument(
            help="mini (or one of mini-inception, -judge, -coach, -clip), image-tokenizer, dalle or gan."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where weights, curve, samples and checkpoint go.")],
    preset: Annotated[
        str,
        typer.Option(
            help="Pixels per side: 32, 64 or 128; or finer (image-tokenizer), guided (dalle), underspecified (dalle, gan), student (dalle)."
        ),
    ] = "32",
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder or tar shards of pictures with captions.  [default: the bundled world]"
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The seed of weights, data and order.  [default: the bundled weights' own]"
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps.  [default: the preset's]")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Examples in a step, of all processes together.  [default: the preset's]"
        ),
    ] = None,
    accumulate: Annotated[
        int, typer.Option(help="Parts in which a batch is taken, to save memory.")
    ] = 1,
    scenes: Annotated[
        int | None,
        typer.Option(help="Scenes of the bundled world to train on.  [default: the preset's]"),
    ] = None,
    every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints.  [default: the preset's]")
    ] = None,
    precision: Annotated[
        Literal["auto", "bf16", "fp16", "fp32"],
        typer.Option(help="The arithmetic of matrix products."),
    ] = "auto",
    device: Device = "auto",
    settings: Settings = None,
) -> None:
    """Train a bundled model, on the bundled world or on your pictures; `evalkit list training` shows presets, costs and options.

    The same command again goes on where it was stopped.

    \b
    Examples:
      evalkit train gan --out weights --set gan.loss=non-saturating --set gan.gradient_penalty=1
      evalkit train dalle --out weights --data pictures
      torchrun --nproc-per-node 2 -m evalkit train dalle --out weights
    """
    with clean():
        from evalkit.training import train as function
        from evalkit.training.options import of_model

        print(
            function(
                model, out=out, preset=preset, data=data, seed=seed, steps=steps, batch=batch, accumulate=accumulate,
                scenes=scenes, every=every, precision=precision, device=device or "auto", options=of_model(settings or [], model),
            )
        )  # fmt: skip


def judge(
    models: Annotated[str, typer.Option(help="Generators, joined by commas.")] = "dalle,gan",
    count: Annotated[int, typer.Option(help="Held-out prompts to ask for.")] = 1000,
    seed: Annotated[int, typer.Option(help="The seed of the pictures.")] = 0,
    device: Device = "auto",
    grid: Annotated[
        Path | None,
        typer.Option(
            help="Write a PNG of the first 64 prompts: the real scenes, then every generator."
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Ask these instead, such as COCO captions: is what they name in the picture?"
        ),
    ] = None,
    appraise: Annotated[
        bool,
        typer.Option("--appraise", help="Measure variety, copying, fine detail and FID instead."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask generators for held-out scenes of the bundled world; an independent network says what they got right.

    \b
    Examples:
      evalkit judge --models dalle,gan --grid samples.png
      evalkit judge --models dalle --prompts coco_val.txt
    """
    with clean():
        names, where = models.split(","), device or "auto"
        if appraise:
            from evalkit.judge.appraisal import appraise as function

            found = function(names, count=count, seed=seed, device=where)
            cells = [
                (row.model, row.property, f"{row.value:.2f}", f"{row.real:.2f}", row.meaning)
                for row in found
            ]
            print_rows(("model", "property", "value", "real scenes", "meaning"), cells, as_json)
            return
        if prompts is not None:
            from evalkit.judge.appraisal import judge_prompts
            from evalkit.prompts import read_prompts

            rows = judge_prompts(
                names, [prompt.text for prompt in read_prompts(prompts)], seed=seed, device=where
            )
        else:
            from evalkit.judge.judge import judge as ask

            rows = ask(names, count=count, seed=seed, device=where, grid=grid)
        if as_json:
            print(json.dumps([row._asdict() for row in rows], indent=1))
            return
        shown = [
            (row.model, row.prompts, row.question, f"{row.right:.1%}", f"{row.low:.1%} to {row.high:.1%}", str(row.asked))
            for row in rows
        ]  # fmt: skip
        print_rows(("model", "prompts", "question", "right", "95% interval", "count"), shown, False)
