"""The commands `evalkit run`, `generate`, `score` and `report`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from evalkit.cli.compare import AllowMismatch, ComparisonOut
from evalkit.cli.options import (
    BatchSize,
    Compared,
    ConfigFile,
    Device,
    DryRun,
    Encoders,
    Engine,
    Folder,
    GroupColumn,
    InPrecision,
    InShard,
    Json,
    MaxCost,
    Metrics,
    Models,
    OnBad,
    Only,
    Open,
    Out,
    PerPrompt,
    Perturb,
    Prompts,
    Reference,
    RetryAmbiguous,
    ScorerSettings,
    Seed,
    Settings,
    Shards,
    SingleFile,
    TextColumn,
    Zip,
    arguments,
)
from evalkit.cli.output import clean, print_estimates, print_lines, print_metrics, print_next


def run(
    models: Models = None,
    prompts: Prompts = None,
    out: Out = None,
    per_prompt: PerPrompt = None,
    seed: Seed = None,
    reference: Reference = None,
    metrics: Metrics = None,
    encoders: Encoders = None,
    precision: InPrecision = None,
    device: Device = None,
    batch_size: BatchSize = None,
    max_cost: MaxCost = None,
    retry_ambiguous: RetryAmbiguous = False,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    perturb: Perturb = None,
    text_column: TextColumn = None,
    group_column: GroupColumn = None,
    options: Settings = None,
    engine: Engine = None,
    shards: Shards = None,
    as_json: Json = False,
    open_report: Open = False,
) -> None:
    """Generate images, score them and write the report; run it again to resume.

    A run folder takes more prompts, images per prompt, models and metrics. What is not given comes
    from the folder. The named models are compared.

    \b
    Examples:
      evalkit run --models dalle,gan --prompts coco_val.txt
      evalkit run --out reports/first --per-prompt 4
      evalkit run --models dalle,some/folder --prompts p.jsonl --set dalle.temperature=0.9
      evalkit run --models my_model:generate --prompts p.txt --metrics fid,kid --json
      evalkit run --models dalle --prompts p.txt --engine ray --shards 64
    """
    given = locals()
    with clean():
        from evalkit import api
        from evalkit.shards import refuse_copies
        from evalkit.terminal import show_page

        refuse_copies()
        if dry_run:
            return print_estimates(api.estimate_run(**arguments(api.run, given)), as_json)
        made = api.run(**arguments(api.run, given))
        page = made.report_path / "index.html"
        print_metrics(made.metrics(), made.path, as_json, f"open {shlex.quote(str(page))}")
        if open_report:
            show_page(page, True)


def generate(
    models: Models = None,
    prompts: Prompts = None,
    out: Out = None,
    per_prompt: PerPrompt = None,
    seed: Seed = None,
    device: Device = None,
    batch_size: BatchSize = None,
    max_cost: MaxCost = None,
    retry_ambiguous: RetryAmbiguous = False,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    perturb: Perturb = None,
    text_column: TextColumn = None,
    group_column: GroupColumn = None,
    options: Settings = None,
    shard: InShard = None,
    engine: Engine = None,
    shards: Shards = None,
) -> None:
    """Make the images only.

    \b
    Examples:
      evalkit generate --models noise --prompts prompts.txt --out reports/noise --set noise.size=64
      evalkit generate --models openai:gpt-image-2 --prompts prompts.txt --dry-run
      evalkit generate --models dalle --prompts prompts.txt --out reports/large --shard 3/8
      evalkit generate --models dalle --prompts prompts.txt --engine local --set local.workers=4
    """
    given = locals()
    with clean():
        from evalkit import api

        made = api.generate(**arguments(api.generate, given))
        if dry_run:
            print_estimates(made)
        else:
            print_next(f"{_others(shard)}evalkit score {shlex.quote(str(made.path))}")
            print_lines(made.path)


def encode(
    path: Folder,
    metrics: Metrics = None,
    models: Compared = None,
    encoders: Encoders = None,
    reference: Reference = None,
    precision: InPrecision = None,
    on_bad: OnBad = "refuse",
    device: Device = "auto",
    batch_size: BatchSize = None,
    options: ScorerSettings = None,
    shard: InShard = None,
    engine: Engine = None,
    shards: Shards = None,
) -> None:
    """Encode the images of a run for a later `score`, in one process or in shards.

    `score` with the same options then finds the features and measures; alone it does both.

    \b
    Examples:
      evalkit encode reports/large --shard 3/8
      torchrun --nproc-per-node 8 -m evalkit encode reports/large --metrics fid,clip_score
    """
    given = locals()
    with clean():
        from evalkit.score.encode import encode as function

        made = function(**_of_scoring(given))
        print_next(f"{_others(shard)}evalkit score {shlex.quote(str(made.path))}")
        print_lines(made.path)


def _of_scoring(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `score` or `encode` as its function takes them."""
    from evalkit.config import parse_settings

    taken = {name: value for name, value in given.items() if name != "as_json"}
    device, options = given["device"] or "auto", parse_settings(given["options"] or ())
    return taken | {"device": device, "options": options}


def _others(shard: str | None) -> str:
    """What comes before the next command where this one did a part."""
    return "when all shards are done, " if shard not in (None, "0/1") else ""


def score(
    path: Annotated[
        Path, typer.Argument(help="A run folder, or a folder, zip, tar or npz of images.")
    ],
    metrics: Metrics = None,
    only: Only = False,
    models: Compared = None,
    encoders: Encoders = None,
    reference: Reference = None,
    precision: InPrecision = None,
    on_bad: OnBad = "refuse",
    device: Device = "auto",
    batch_size: BatchSize = None,
    options: ScorerSettings = None,
    as_json: Json = False,
) -> None:
    """Score the images of a run, or images from anywhere.

    A run keeps its metrics, encoders and reference: --metrics adds to them, --only replaces them.
    Images from anywhere get the run folder reports/NAME-HASH: its path is the last line.

    \b
    Examples:
      evalkit score reports/first --metrics vendi
      evalkit score reports/first --metrics fid,kid --only
      evalkit score reports/first --models dalle,gan
      evalkit score some/folder --json
      evalkit score samples.npz --metrics all --encoders mini --on-bad skip
    """
    given = locals()
    with clean():
        from evalkit.score.evidence import NO_PROMPTS
        from evalkit.score.records import MEASURES
        from evalkit.score.score import results_folder
        from evalkit.score.score import score as function
        from evalkit.shards import refuse_copies

        refuse_copies()
        rows = function(**_of_scoring(given))
        results = results_folder(path)
        then = f"evalkit report {shlex.quote(str(results))}"
        asked = [row for row in rows if row.metric not in MEASURES]
        if path.is_dir() and asked and all(row.note.endswith(NO_PROMPTS) for row in asked):
            named = metrics or ",".join(dict.fromkeys(row.metric for row in asked))
            then = f"evalkit run --models {shlex.quote(str(path))} --prompts FILE --metrics {named}"
        print_metrics(rows, results, as_json, then)


def report(
    path: Annotated[
        list[str], typer.Argument(help="A run folder; several are compared, see `evalkit compare`.")
    ],
    out: ComparisonOut = None,
    allow_mismatch: AllowMismatch = None,
    single_file: SingleFile = False,
    zip: Zip = False,
    open_report: Open = False,
) -> None:
    """Write report/index.html and report.md of a scored run, or of several in one page.

    \b
    Examples:
      evalkit report reports/first --open
      evalkit report reports/first --single-file --zip
      evalkit report reports/main reports/pr
    """
    with clean():
        from evalkit.compare.report import report as function
        from evalkit.terminal import show_page

        page = function(
            path, out=out, allow_mismatch=allow_mismatch, single_file=single_file, zip=zip
        )
        show_page(page, open_report)
        print_lines(page.parents[1])


def tables(
    path: Folder,
    columns: Annotated[
        str | None,
        typer.Option(help="Labels of the models to show, joined by commas.  [default: all]"),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Names of the metrics to show, joined by commas.  [default: all]"),
    ] = None,
    width: Annotated[
        str,
        typer.Option(
            help="The paper: icml, cvpr, aaai, acl, neurips, iclr; any fits all of these but acl."
        ),
    ] = "any",
    out: Annotated[
        Path | None, typer.Option(help="The folder of the files.  [default: RUN/report/tables]")
    ] = None,
) -> None:
    """Write the tables of a scored run for papers: LaTeX, BibTeX and CSV.

    Each table is a float that fits one column, or table* where it needs the whole page.

    \b
    Examples:
      evalkit tables reports/first
      evalkit tables reports/first --columns dalle,gan --metrics fid,clip_score --width icml
      evalkit tables reports/first --width neurips --out paper/tables
    """
    with clean():
        from evalkit.report.tables import tables as function

        for file in function(path, columns=columns, metrics=metrics, width=width, out=out):
            print_lines(file)
