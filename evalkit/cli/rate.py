"""The commands `evalkit rate …`."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from evalkit.cli.options import Compared, Folder, Json, RetryAmbiguous
from evalkit.cli.output import clean, print_json, print_lines, print_next, print_note

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Ratings of the images of a run, by people or models: collect, import, export, summarize.",
)


@app.command("serve")
def rate_serve(
    runs: Annotated[
        list[Path],
        typer.Argument(help="A run folder; or several with the same prompts and other models."),
    ],
    study: Annotated[
        str,
        typer.Option(help="The name of the study.  [default: preference, opinion or checklist]"),
    ] = "",
    mode: Annotated[
        str,
        typer.Option(
            help="pairwise, scale or checklist.  [default: pairwise for two or more models]"
        ),
    ] = "",
    models: Compared = None,
    config: Annotated[
        Path | None, typer.Option(help="A study file with the same keys. Options win.")
    ] = None,
    items: Annotated[
        int | None, typer.Option(help="Items per rater.  [default: all, at most 100]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of orders and sides.  [default: 0]")] = None,
    raters: Annotated[
        str | None,
        typer.Option(help="Names joined by commas; each gets a link.  [default: rater-1]"),
    ] = None,
    prolific: Annotated[
        str,
        typer.Option(help="A completion code: participants of Prolific join by one link."),
    ] = "",
    host: Annotated[
        str,
        typer.Option(help="The address to listen on; any but loopback needs --raters."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 8010,
    url: Annotated[
        str, typer.Option(help="Where raters reach the page, if a proxy stands before it.")
    ] = "",
    open_page: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            help="Open the page in the browser.  [default: on loopback, if there is a display]",
        ),
    ] = None,
) -> None:
    """Serve a page on which people rate the images of a run; prints their links.

    Without options it asks which of two images is better (A/B). Ratings are kept in the run. The
    same command continues the study.

    \b
    Examples:
      evalkit rate serve reports/first
      evalkit rate serve reports/first --raters anna,ben --mode scale
      evalkit rate serve reports/first --host 0.0.0.0 --raters anna,ben --items 50
    """
    with clean():
        from evalkit.rate.serve.serve import rate_serve as function

        function(
            runs,
            study=study,
            mode=mode,
            models=models or (),
            config=config,
            items=items,
            seed=seed,
            raters=raters or (),
            prolific=prolific,
            host=host,
            port=port,
            url=url,
            open_page=open_page,
        )


@app.command("judge")
def rate_judge(
    path: Folder,
    model: Annotated[str, typer.Option(help="The name of the model at the service.")],
    kind: Annotated[
        Literal["rubric", "pairwise"],
        typer.Option(help="Each image on a scale, or each pair of images in both orders."),
    ] = "rubric",
    base_url: Annotated[
        str,
        typer.Option(help="Up to and including /v1.  [default: OPENAI_BASE_URL, else OpenAI]"),
    ] = "",
    api_key_env: Annotated[
        str,
        typer.Option(help="The NAME of the environment variable with the key; none for no key."),
    ] = "",
    rubric: Annotated[
        Path | None,
        typer.Option(help="A TOML file with questions and their scales.  [default: alignment]"),
    ] = None,
    study: Annotated[
        str, typer.Option(help="The name of the study.  [default: of the model and the kind]")
    ] = "",
    models: Compared = None,
    items: Annotated[
        int | None, typer.Option(help="Images or pairs, a random sample.  [default: all]")
    ] = None,
    temperature: Annotated[float, typer.Option(help="Sent with each request.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Sent with each request; also of the sample.")] = 0,
    max_tokens: Annotated[int, typer.Option(help="The most tokens of an answer.")] = 512,
    max_side: Annotated[
        int, typer.Option(help="Images with a longer side are scaled down to it, in pixels.")
    ] = 1024,
    extra: Annotated[
        str,
        typer.Option(help="Further fields of the request, a JSON object; null leaves one out."),
    ] = "",
    timeout: Annotated[float, typer.Option(help="Seconds for one answer.")] = 120.0,
    input_price: Annotated[
        float | None, typer.Option(help="US dollars per million input tokens.")
    ] = None,
    output_price: Annotated[
        float | None, typer.Option(help="US dollars per million output tokens.")
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(help="The limit in US dollars for this study; at the limit it stops."),
    ] = None,
    concurrency: Annotated[int, typer.Option(help="The most requests in flight.")] = 256,
    snapshots: Annotated[
        Literal["one", "any"],
        typer.Option(help="Stop where another snapshot of the model answers, or let all vote."),
    ] = "one",
    retry_ambiguous: RetryAmbiguous = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the number of requests and their cost: nothing is sent."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Let a model with a chat API rate the images of a run; the same command resumes.

    Its votes are never pooled with those of people. Keys are read from the environment only.

    \b
    Examples:
      evalkit rate judge reports/first --model gpt-4.1-mini --dry-run
      evalkit rate judge reports/first --model gpt-4.1-mini --kind pairwise --items 200
      evalkit rate judge reports/first --model qwen --base-url http://127.0.0.1:8000/v1
    """
    with clean():
        from evalkit.rate.judge.judge import rate_judge as function
        from evalkit.terminal import dollars

        made = function(
            path,
            model=model,
            kind=kind,
            base_url=base_url,
            api_key_env=api_key_env,
            rubric=rubric,
            study=study,
            models=models or (),
            items=items,
            temperature=temperature,
            seed=seed,
            max_tokens=max_tokens,
            max_side=max_side,
            extra=extra,
            timeout=timeout,
            input_price=input_price,
            output_price=output_price,
            max_cost=max_cost,
            concurrency=concurrency,
            snapshots=snapshots,
            retry_ambiguous=retry_ambiguous,
            dry_run=dry_run,
        )
        if as_json:
            return print_json(made._asdict())
        if dry_run:
            cost = f"at most about {dollars(made.total)}" if made.total is not None else "unknown"
            print_lines(f"{made.missing} of {made.requests} requests are open, cost {cost}")
            if made.total is None:
                print_note("The price is not known: give it with --input-price and --output-price.")
            return None
        print_lines(f"{made.study}: {made.votes} votes, cost {dollars(made.cost)}")
        for reason, count in sorted(made.without.items()):
            print_lines(f"no vote: {count} {reason}")
        print_next(f"evalkit rate summary {shlex.quote(str(path))}")
        print_lines(path)


@app.command("import")
def rate_import(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Ratings from MTurk, Label Studio, ImagenHub, an arena, Prolific, Rapidata or"
            " Appen, or a long table."
        ),
    ],
    run: Annotated[Path, typer.Option(help="The run folder.")],
    study: Annotated[
        str,
        typer.Option(help="The name of the study.  [default: as the files name it, else imported]"),
    ] = "",
    format: Annotated[
        str, typer.Option(help="auto, or a name from docs/ratings/imports.md, such as mturk.")
    ] = "auto",
    kind: Annotated[
        Literal["human", "model"],
        typer.Option(help="Who rated, where a file does not state it."),
    ] = "human",
    scale: Annotated[
        str,
        typer.Option(help="The lowest and highest value that was used, such as 0-4."),
    ] = "",
    rename: Annotated[
        list[str] | None,
        typer.Option(help="NAME=LABEL: a model's name in the files, and its label in the run."),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="A question that is not imported, such as comments. May be repeated."),
    ] = None,
    reversed_scales: Annotated[
        Literal["refuse", "keep", "flip"],
        typer.Option(help="Raters and files whose scores are the reverse of all others."),
    ] = "refuse",
    on_bad: Annotated[
        Literal["refuse", "skip"],
        typer.Option(help="Values that cannot be imported: refuse all, or import the rest."),
    ] = "refuse",
) -> None:
    """Import ratings that were collected with another tool; nothing is dropped silently.

    \b
    Examples:
      evalkit rate import Batch_12_batch_results.csv --run reports/first
      evalkit rate import rater1.tsv rater2.tsv --run reports/first --rename SDXL=sdxl
      evalkit rate import votes.csv --run reports/first --scale 0-4 --on-bad skip
    """
    with clean():
        from evalkit.rate.import_ratings import parse_rename
        from evalkit.rate.import_ratings import rate_import as function

        made = function(
            files,
            run=run,
            study=study,
            format=format,
            kind=kind,
            scale=scale,
            rename=parse_rename(rename or ()),
            ignore=ignore,
            reversed_scales=reversed_scales,
            on_bad=on_bad,
        )
        print_lines(*made.sentences())


@app.command("export")
def rate_export(
    path: Folder,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    format: Annotated[
        Literal["csv", "json"], typer.Option(help="One long table, or studies and ratings.")
    ] = "csv",
    spreadsheet: Annotated[
        bool,
        typer.Option(
            "--spreadsheet",
            help="For Excel and the like: a byte order mark, and no cell runs as a formula.",
        ),
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="With earlier revisions of changed answers.")
    ] = False,
) -> None:
    """Write all ratings of a run as one table; prints its path.

    \b
    Examples:
      evalkit rate export reports/first --out ratings.csv
      evalkit rate export reports/first --out ratings.csv --spreadsheet
    """
    with clean():
        from evalkit.rate.export_ratings import rate_export as function

        print_lines(
            function(path, out=out, format=format, spreadsheet=spreadsheet, history=history)
        )


@app.command("summary")
def rate_summary(path: Folder, as_json: Json = False) -> None:
    """Summarize the ratings of a run, and which metrics agree with them.

    A scored run gets the values as rows of metrics.json; the report shows them.

    \b
    Examples:
      evalkit rate summary reports/first
      evalkit rate summary reports/first --json
    """
    with clean():
        from evalkit.cli.ratings_table import print_ratings
        from evalkit.rate.summary import rate_summary as function
        from evalkit.ratings.rows import MEASURES
        from evalkit.run_folder import Run

        found = function(path)
        if as_json:
            return print_json([dataclasses.asdict(one) for one in found])
        run = Run(path)
        rows = run.metrics() if run.is_scored else []
        measured = [row.metric for row in rows if row.encoder and row.metric not in MEASURES]
        print_ratings(found, run.agreement(), measured)
        print_next(f"evalkit report {shlex.quote(str(path))}")
        print_lines(path)


@app.command("plan")
def rate_plan(
    effect: Annotated[
        float,
        typer.Option(
            help="What the study is to find: the win rate above one half, or points of a scale."
        ),
    ],
    mode: Annotated[
        Literal["pairwise", "scale"], typer.Option(help="Pairs of images, or single images.")
    ] = "pairwise",
    models: Annotated[int, typer.Option(help="How many models are compared.")] = 2,
    raters: Annotated[int, typer.Option(help="How many raters take part.")] = 5,
    raters_per_prompt: Annotated[
        int | None, typer.Option(help="How many of them rate each prompt.  [default: all]")
    ] = None,
    power: Annotated[
        float, typer.Option(help="The probability with which the effect is to be found.")
    ] = 0.8,
    tie_share: Annotated[float, typer.Option(help="The expected share of ties.")] = 0.2,
    path: Annotated[
        Path | None,
        typer.Option(help="A run with ratings, whose variances are used (a pilot study)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """How many prompts, raters and answers a study needs to find an effect.

    \b
    Examples:
      evalkit rate plan --effect 0.1 --models 3 --raters 5
      evalkit rate plan --effect 0.3 --mode scale --raters 8 --raters-per-prompt 3
      evalkit rate plan --effect 0.05 --path reports/pilot
    """
    with clean():
        from evalkit.rate.plan import rate_plan as function

        found = function(
            effect=effect,
            mode=mode,
            models=models,
            raters=raters,
            raters_per_prompt=raters_per_prompt,
            power=power,
            tie_share=tie_share,
            path=path,
        )
        if as_json:
            return print_json([row._asdict() for row in found])
        for name, value in found[0]._asdict().items():
            if name == "prompts" and value is None:
                value = "no number is enough"
            if value is not None:
                print_lines(f"{name.replace('_', ' ')}: {value}")
