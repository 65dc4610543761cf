"""The options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from evalkit.cli import completion

Models = Annotated[
    list[str] | None,
    typer.Option(
        help="Names, package.module:attribute, or folders, joined by commas; label=NAME gives a"
        " label. May be repeated.",
        autocompletion=completion.models,
    ),
]
Prompts = Annotated[
    str | None,
    typer.Option(
        help="A file (txt, jsonl, json, csv, tsv, parquet, COCO captions), a folder of txt files,"
        " suite or geneval (bundled), or suite:GROUP."
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(help="The column of the prompts in a table or JSON.  [default: by its name]"),
]
GroupColumn = Annotated[
    str | None, typer.Option(help="The column of the prompts' groups.  [default: by its name]")
]
Perturb = Annotated[
    str | None,
    typer.Option(
        help="Add variants of each prompt with the same seeds, joined by commas: lowercase,"
        " uppercase, typos, spaces, contractions, expansions."
    ),
]
InShard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="i/N",
        help="Do only shard i of N, counted from 0, such as 3/8; other processes do the others. "
        " [default: as torchrun, Slurm or Kubernetes say, else all]",
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="Divide the work among other processes: local (of this machine), slurm (jobs) or ray."
        " Options: --set local.workers=4, slurm.partition=gpu."
    ),
]
Shards = Annotated[
    int | None,
    typer.Option(help="Into how many parts an engine divides the run.  [default: 4 per worker]"),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(help="A TOML file with the same keys, such as another run's run.toml. Flags win."),
]
Out = Annotated[
    str | None,
    typer.Option(
        help="The run folder.  [default: a folder in reports/ that the same command finds again]"
    ),
]
PerPrompt = Annotated[int | None, typer.Option(help="Images per prompt.  [default: 1]")]
Seed = Annotated[
    int | None,
    typer.Option(help="The run's seed; each image derives its own from it.  [default: 0]"),
]
Reference = Annotated[
    str | None,
    typer.Option(help="Reference statistics: a name from `evalkit reference list`, or a path."),
]
Metrics = Annotated[
    str | None,
    typer.Option(
        help="Metrics, scorers and presets joined by commas: all, default, quality, alignment, "
        "preference, diversity, copying.  [default: default]",
        autocompletion=completion.metrics,
    ),
]
Only = Annotated[
    bool, typer.Option("--only", help="Measure exactly the metrics of --metrics; drop others.")
]
Compared = Annotated[
    str | None,
    typer.Option(
        "--models", help="Labels of the models to compare, joined by commas.  [default: all]"
    ),
]
Encoders = Annotated[
    str | None,
    typer.Option(
        show_default=False,
        help="auto, standard, mini, or names joined by commas.  [default: auto]",
        autocompletion=completion.encoders,
    ),
]
InPrecision = Annotated[
    Literal["exact", "tf32", "bf16"] | None,
    typer.Option(
        "--precision",
        show_default=False,
        help="In which the encoders compute; faster ones have other names and are less exact."
        " Scorers compute as always."
        "  [default: exact]",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(show_default=False, help="auto, cpu, cuda, cuda:1, mps or xpu.  [default: auto]"),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        show_default=False,
        help="Images per batch; results agree up to rounding.  [default: 32; on a GPU, encoders of"
        " score and run take as many as fit]",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="An option of a model, scorer or engine: dalle.temperature=0.9. May be repeated.",
    ),
]
ScorerSettings = Annotated[
    list[str] | None,
    typer.Option("--set", help="An option of a scorer: vqa_score.template=plain. May be repeated."),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        help="The limit in US dollars for remote services in this run; at the limit it stops."
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Print what the images would cost, and stop: nothing is sent or written."
    ),
]
RetryAmbiguous = Annotated[
    bool,
    typer.Option(
        "--retry-ambiguous",
        help="Send requests again that got no proper answer: each may be charged twice.",
    ),
]
OnBad = Annotated[
    Literal["refuse", "skip"],
    typer.Option(help="Invalid images: refuse the set, or skip and list them."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the rows as JSON, and nothing else, on stdout.")
]
Folder = Annotated[Path, typer.Argument(help="A run folder.")]
SingleFile = Annotated[
    bool,
    typer.Option(
        "--single-file",
        help="Also write report/RUN.html for mailing: one file of at most 20 MB, with thumbnails.",
    ),
]
Zip = Annotated[
    bool,
    typer.Option(
        "--zip", help="Also write report/RUN.zip for mailing: the page with all its images."
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Show the report in the browser.")]


def arguments(function: Callable[..., object], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a command that its Python function takes; both use the same names."""
    from evalkit.config import parse_settings
    from evalkit.specs import split_models

    taken = {name: given[name] for name in inspect.signature(function).parameters if name in given}
    if taken.get("models") is not None:
        taken["models"] = [text for value in given["models"] for text in split_models(value)]
    return taken | {"options": parse_settings(given["options"] or ())}
