"""The command line: parse, call one function, print. Nothing here computes, and nothing slow is
imported before a command runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.conventions import conventions
from evalkit.cli.options import (
    Again,
    BatchSize,
    ConfigFile,
    Device,
    DryRun,
    Encoders,
    Folder,
    Json,
    MaxCost,
    Metrics,
    Models,
    OnBad,
    Open,
    Out,
    PerPrompt,
    Prompts,
    Reference,
    Seed,
    Settings,
    clean,
    print_estimates,
    print_metrics,
    print_rows,
    print_version,
    split,
    state,
)
from evalkit.cli.reference import app as reference_app
from evalkit.cli.training import judge, train
from evalkit.cli.weights import app as weights_app

app = typer.Typer(
    name="evalkit",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
list_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What is installed, what was run, what the bundled world knows.",
)
app.add_typer(reference_app, name="reference")
app.add_typer(list_app, name="list")
app.add_typer(weights_app, name="weights")


@app.callback()
def start(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks, and more of what happens.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", is_eager=True, callback=print_version
        ),
    ] = False,
) -> None:
    """Compare text-to-image generators: pictures, scores with error bars, and a report.

    \b
    Examples:
      evalkit run --models noise --prompts prompts.txt
      evalkit run --models dalle,gan,some/folder --prompts coco_val.txt --out reports/first
      evalkit run --config reports/first/run.toml --out reports/again
      evalkit list generators
    """
    state["debug"] = debug


@app.command()
def run(
    models: Models = None, prompts: Prompts = None, out: Out = None, per_prompt: PerPrompt = None, seed: Seed = None,
    reference: Reference = None, metrics: Metrics = None, encoders: Encoders = None, device: Device = None,
    batch_size: BatchSize = None, max_cost: MaxCost = None, retry_ambiguous: Again = False, dry_run: DryRun = False,
    config: ConfigFile = None, settings: Settings = None, as_json: Json = False, open_report: Open = False,
) -> None:  # fmt: skip
    """Generate images, score them and write the report; the same command again goes on where it stopped.

    \b
    Examples:
      evalkit run --models dalle,gan --prompts coco_val.txt
      evalkit run --models dalle,some/folder --prompts p.jsonl --per-prompt 4 --set dalle.temperature=0.9
      evalkit run --models my_model:generate --prompts p.txt --metrics fid,kid --json
    """
    with clean():
        from evalkit.api import estimate
        from evalkit.api import run as function
        from evalkit.config import parse_settings
        from evalkit.terminal import show_page

        options = parse_settings(settings or ())
        if dry_run:
            rows = estimate(
                split(models), prompts, config=config, out=out, per_prompt=per_prompt, seed=seed, device=device, max_cost=max_cost,
                retry_ambiguous=retry_ambiguous, options=options,
            )  # fmt: skip
            return print_estimates(rows, as_json)
        made = function(
            split(models), prompts, config=config, out=out, per_prompt=per_prompt, seed=seed, reference=reference, encoders=encoders,
            metrics=split(metrics), device=device, batch_size=batch_size, max_cost=max_cost, retry_ambiguous=retry_ambiguous,
            options=options,
        )  # fmt: skip
        show_page(made.report_path / "index.html", open_report)
        print_metrics(made.metrics(), made.path, as_json)


@app.command()
def generate(
    models: Models = None, prompts: Prompts = None, out: Out = None, per_prompt: PerPrompt = None, seed: Seed = None,
    device: Device = None, batch_size: BatchSize = None, max_cost: MaxCost = None, retry_ambiguous: Again = False,
    dry_run: DryRun = False, config: ConfigFile = None, settings: Settings = None,
) -> None:  # fmt: skip
    """Make the images only.

    \b
    Examples:
      evalkit generate --models noise --prompts prompts.txt --out reports/noise --set noise.size=64
      evalkit generate --models openai:gpt-image-2 --prompts prompts.txt --set openai:gpt-image-2.quality=low --dry-run
    """
    with clean():
        from evalkit.api import estimate
        from evalkit.api import generate as function
        from evalkit.config import parse_settings

        options = parse_settings(settings or ())
        if dry_run:
            rows = estimate(
                split(models), prompts, config=config, out=out, per_prompt=per_prompt, seed=seed, device=device, max_cost=max_cost,
                retry_ambiguous=retry_ambiguous, options=options,
            )  # fmt: skip
            return print_estimates(rows, False)
        made = function(
            split(models), prompts, config=config, out=out, per_prompt=per_prompt, seed=seed, device=device, batch_size=batch_size,
            max_cost=max_cost, retry_ambiguous=retry_ambiguous, options=options,
        )  # fmt: skip
        print(made.path)


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="A run folder, or a folder, zip, tar or npz of images.")],
    metrics: Metrics = None, encoders: Encoders = "auto", reference: Reference = None, on_bad: OnBad = "refuse", device: Device = "auto",
    batch_size: BatchSize = 32, as_json: Json = False,
) -> None:  # fmt: skip
    """Score the images of a run, or images from anywhere.

    \b
    Examples:
      evalkit score reports/first --metrics fid,kid
      evalkit score some/folder --json
      evalkit score samples.npz --metrics all --encoders mini --on-bad skip
    """
    with clean():
        from evalkit.score.score import results_folder
        from evalkit.score.score import score as function

        rows = function(
            folder, metrics=split(metrics) or (), encoders=encoders or "auto", reference=reference,
            on_bad=on_bad, device=device or "auto", batch_size=batch_size or 32,
        )  # fmt: skip
        print_metrics(rows, results_folder(folder), as_json)


@app.command()
def report(folder: Folder, open_report: Open = False) -> None:
    """Write report/index.html and report.md of a scored run.

    \b
    Example:
      evalkit report reports/first --open
    """
    with clean():
        from evalkit.report.report import report as function
        from evalkit.terminal import show_page

        show_page(function(folder), open_report)
        print(folder)


app.command()(conventions)


app.command()(train)
app.command()(judge)


@list_app.command("generators")
def list_generators(as_json: Json = False) -> None:
    """Generators and their options."""
    with clean():
        from evalkit.listing import generators

        print_rows(*generators(), as_json)


@list_app.command("encoders")
def list_encoders(as_json: Json = False) -> None:
    """Encoders."""
    with clean():
        from evalkit.listing import encoders

        print_rows(*encoders(), as_json)


@list_app.command("metrics")
def list_metrics(as_json: Json = False) -> None:
    """Metrics, with the better direction and the paper."""
    with clean():
        from evalkit.listing import metrics

        print_rows(*metrics(), as_json)


@list_app.command("training")
def list_training(as_json: Json = False) -> None:
    """What can be trained: presets with their size, steps, batch and cost, and the options of
    --set.
    """
    with clean():
        from evalkit.training.presets import listing

        print_rows(*listing(), as_json)


@list_app.command("runs")
def list_runs(
    folder: Annotated[Path, typer.Argument(help="Where the runs are.")] = Path("reports"),
    as_json: Json = False,
) -> None:
    """Run folders."""
    with clean():
        from evalkit.listing import runs

        print_rows(*runs(folder), as_json)


@list_app.command("world")
def list_world(as_json: Json = False) -> None:
    """Objects, shapes, colours, relations, backgrounds and styles of the bundled world, with their
    words.
    """
    with clean():
        from evalkit.listing import world

        print_rows(*world(), as_json)


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help="A generator that draws here: a name or package.module:attribute.")],
    host: Annotated[str, typer.Option(help="The address to listen on; other machines reach it only with --token-env.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 8000,
    token_env: Annotated[str, typer.Option(help="The environment variable with the key that callers must send.")] = "",
    device: Device = "auto", settings: Settings = None,
) -> None:  # fmt: skip
    """Put a local model behind the OpenAI Images API; prints its base URL when it is ready.

    \b
    Examples:
      evalkit serve dalle
      evalkit serve dalle --port 0 --set dalle.temperature=0.9
      evalkit serve gan --host 0.0.0.0 --token-env EVALKIT_SERVE_TOKEN
    """
    with clean():
        from evalkit.config import parse_settings
        from evalkit.serve.serve import serve as function

        function(
            model,
            host=host,
            port=port,
            device=device or "auto",
            options=parse_settings(settings or ()),
            token_env=token_env,
        )


@app.command()
def doctor(as_json: Json = False) -> None:
    """Look at this machine and installation: versions, memory, disk, weights, encoders."""
    with clean():
        from evalkit.diagnosis import doctor as function

        print_rows(
            ("topic", "finding", "good"),
            [(item.topic, item.finding, "yes" if item.good else "no") for item in function()],
            as_json,
        )


def main() -> None:
    """The console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
