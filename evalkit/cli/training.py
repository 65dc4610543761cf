"""The commands `evalkit train` and `evalkit judge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from evalkit.cli.options import Device, Json, Settings
from evalkit.cli.output import clean, print_json, print_lines, print_rows


def train(
    model: Annotated[
        str,
        typer.Argument(
            help="mini (or one of mini-inception, -judge, -coach, -clip), image-tokenizer, dalle "
            "or gan."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where weights, curve, samples and checkpoint go.")],
    preset: Annotated[
        str,
        typer.Option(
            help="Pixels per side: 32, 64 or 128; or finer (image-tokenizer), guided (dalle), "
            "underspecified (dalle, gan), student (dalle)."
        ),
    ] = "32",
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder or tar shards of images with captions.  [default: the bundled data set]"
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The seed of weights, data and order.  [default: that of the bundled weights]"
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps.  [default: the preset's]")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Examples per step, over all processes.  [default: the preset's]"),
    ] = None,
    accumulate: Annotated[
        int, typer.Option(help="Gradient accumulation: parts per batch, to save memory.")
    ] = 1,
    scenes: Annotated[
        int | None,
        typer.Option(help="Scenes of the bundled data set to train on.  [default: the preset's]"),
    ] = None,
    every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints.  [default: the preset's]")
    ] = None,
    precision: Annotated[
        Literal["auto", "bf16", "fp16", "fp32"],
        typer.Option(help="The precision of matrix products."),
    ] = "auto",
    device: Device = "auto",
    options: Settings = None,
) -> None:
    """Train a bundled model on the bundled data set or on your images.

    Run the same command again to resume. `evalkit list training` shows presets, costs and options.

    \b
    Examples:
      evalkit train gan --out weights --set gan.loss=non-saturating --set gan.gradient_penalty=1
      evalkit train dalle --out weights --data photos
      torchrun --nproc-per-node 2 -m evalkit train dalle --out weights
    """
    with clean():
        from evalkit.training import train as function
        from evalkit.training.options import of_model

        folder = function(
            model,
            out=out,
            preset=preset,
            data=data,
            seed=seed,
            steps=steps,
            batch=batch,
            accumulate=accumulate,
            scenes=scenes,
            every=every,
            precision=precision,
            device=device or "auto",
            options=of_model(options or [], model),
        )
        print_lines(folder)


def judge(
    models: Annotated[str, typer.Option(help="Generators, joined by commas.")] = "dalle,gan",
    count: Annotated[int, typer.Option(help="The number of held-out prompts.")] = 1000,
    seed: Annotated[int, typer.Option(help="The seed of the images.")] = 0,
    device: Device = "auto",
    grid: Annotated[
        Path | None,
        typer.Option(
            help="Write a PNG of the first 64 prompts: the real scenes, then each generator."
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Use these prompts, such as COCO captions, and check for the objects they name."
        ),
    ] = None,
    phrases: Annotated[
        bool,
        typer.Option(
            "--phrases",
            help="Use prompts such as `a red circle on a white background` and check the shape and "
            "its colour.",
        ),
    ] = False,
    appraise: Annotated[
        bool,
        typer.Option("--appraise", help="Measure variety, copying, fine detail and FID instead."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Test generators on held-out scenes with an independent network as the judge.

    \b
    Examples:
      evalkit judge --models dalle,gan --grid samples.png
      evalkit judge --models dalle --prompts coco_val.txt
    """
    with clean():
        where = device or "auto"
        if appraise:
            from evalkit.judge.appraisal import appraise as function

            found = function(models, count=count, seed=seed, device=where)
            cells = [
                (row.model, row.property, f"{row.value:.2f}", f"{row.real:.2f}", row.meaning)
                for row in found
            ]
            print_rows(("model", "property", "value", "real scenes", "meaning"), cells, as_json)
            return
        from evalkit.judge.judge import judge as ask

        rows = ask(
            models,
            count=count,
            seed=seed,
            device=where,
            grid=grid,
            prompts=prompts,
            phrases=phrases,
        )
        if as_json:
            print_json([row._asdict() for row in rows])
            return
        shown = [
            (
                row.model,
                row.prompts,
                row.question,
                f"{row.value:.1%}",
                f"{row.low:.1%} to {row.high:.1%}",
                str(row.images),
            )
            for row in rows
        ]
        print_rows(
            ("model", "prompts", "question", "accuracy", "95% interval", "images"), shown, False
        )
