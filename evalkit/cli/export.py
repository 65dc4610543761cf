"""The commands `evalkit export …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.options import Compared, Folder
from evalkit.cli.output import clean, print_lines, print_next

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Results where others read them: model pages, data sets, experiment trackers.",
)


@app.command("hub")
def export_hub(
    path: Folder,
    dataset: Annotated[
        str, typer.Option(help="The benchmark on the Hugging Face Hub, owner/name.")
    ],
    out: Annotated[Path, typer.Option(help="The model's repository, or any folder.")],
    model: Annotated[
        str, typer.Option(help="A label of the run; not needed if it has one model.")
    ] = "",
    metrics: Annotated[
        str | None,
        typer.Option(help="Names joined by commas.  [default: all metrics of images]"),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="METRIC=TASK, which task of the benchmark a metric is; may be repeated."
            "  [default: its own name]"
        ),
    ] = None,
    source_url: Annotated[str, typer.Option(help="Where the run is published.")] = "",
    on: Annotated[
        str, typer.Option(help="The day of the evaluation.  [default: that of metrics.json]")
    ] = "",
) -> None:
    """Write .eval_results/*.yaml for the model's page on the Hugging Face Hub. Sends nothing.

    \b
    Example:
      evalkit export hub reports/first --model dalle --dataset me/prompts --out path/to/repository
    """
    with clean():
        from evalkit.export.hub import export_hub as function

        made = function(
            path,
            dataset=dataset,
            out=out,
            model=model,
            metrics=metrics,
            task=task or (),
            source_url=source_url,
            on=on,
        )
        print_next("add these files to the model's repository in a pull request")
        print_lines(*made)


@app.command("imagefolder")
def export_imagefolder(
    path: Folder,
    out: Annotated[Path, typer.Option(help="A new folder.")],
    models: Compared = None,
) -> None:
    """Write images with prompts and scores as a data set: images and metadata.jsonl.

    \b
    Example:
      evalkit export imagefolder reports/first --out first-images
    """
    with clean():
        from evalkit.export.imagefolder import export_imagefolder as function

        folder = function(path, out=out, models=models)
        print_next(f'datasets.load_dataset("imagefolder", data_dir="{folder}")')
        print_lines(folder)


@app.command("tracker")
def export_tracker(
    path: Folder,
    tracker: Annotated[
        str,
        typer.Argument(help="tensorboard, mlflow, wandb, or package.module:attribute."),
    ],
    name: Annotated[
        str, typer.Option(help="Of the tracker's run.  [default: that of the run folder]")
    ] = "",
) -> None:
    """Log numbers, result files and the report to an experiment tracker.

    The tracker takes its address and key from its own settings, such as MLFLOW_TRACKING_URI.

    \b
    Examples:
      evalkit export tracker reports/first tensorboard
      MLFLOW_TRACKING_URI=http://127.0.0.1:5000 evalkit export tracker reports/first mlflow
    """
    with clean():
        from evalkit.export.tracker import export_tracker as function

        numbers = function(path, tracker, name=name)
        print(f"{len(numbers)} numbers logged")
