"""The commands `evalkit gate` and `evalkit baseline …`."""

from __future__ import annotations

import shlex
import traceback
from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.options import Json
from evalkit.cli.output import clean, print_next
from evalkit.core import EvalkitError

baseline = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Baselines of the gate: one small file each, fit for git.",
)
Candidate = Annotated[str, typer.Argument(help="RUN if it has one model, else RUN:LABEL.")]


def gate(
    candidate: Candidate,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="RUN:LABEL, or a file of `evalkit baseline save`, also git:REVISION:FILE."
            "  [default: that of the configuration]"
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A gate.toml with margins and tiers.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Gate these metrics only, joined by commas.")
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="The probability of any false alarm.  [default: 0.05]"),
    ] = None,
    allow_mismatch: Annotated[
        list[str] | None,
        typer.Option(help="A condition that may differ; recorded in every output. Repeatable."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the decisions as JUnit XML.")] = None,
    report: Annotated[
        bool, typer.Option(help="Write the candidate's report with the decisions.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Is a model worse than its baseline by more than allowed? For CI.

    Exit codes: 0 no regression, 1 regression, 2 wrong input, 3 not decided where the configuration
    asks for a verdict, 4 not comparable.

    \b
    Examples:
      evalkit gate reports/pr:model --baseline reports/main:model
      evalkit gate reports/pr:model --baseline baseline.json --config gate.toml --junit gate.xml
      evalkit gate reports/pr:model --baseline git:main:baseline.json
    """
    with clean():
        from evalkit.cli.gate_table import print_gate
        from evalkit.gate.gate import gate as function
        from evalkit.gate.gate import to_json
        from evalkit.gate.github import annotation_lines
        from evalkit.gate.snapshot import split_name
        from evalkit.run_folder import Run

        try:
            made = function(
                candidate,
                baseline=baseline,
                config=config,
                metrics=metrics,
                alpha=alpha,
                allow_mismatch=allow_mismatch,
                junit=junit,
                report=report,
            )
        except EvalkitError:
            raise
        except Exception as error:  # else Python ends with 1, the code of a regression
            traceback.print_exc()
            raise typer.Exit(2) from error
        if as_json:
            print(to_json(made), end="")
        else:
            for line in annotation_lines(made):
                print(line)
            print_gate(made)
        page = Run(split_name(candidate)[0]).report_path / "index.html"
        if report and page.is_file():
            print_next(f"open {shlex.quote(str(page))}")
        raise typer.Exit(made.exit_code)


@baseline.command("save")
def baseline_save(
    candidate: Candidate,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("baseline.json"),
    reason: Annotated[
        str, typer.Option(help="Why this is the baseline; part of its history.")
    ] = "",
) -> None:
    """Write the baseline file of a model of a scored run.

    \b
    Example:
      evalkit baseline save reports/main:model --reason 'release 1.2'
    """
    with clean():
        from evalkit.gate.baseline import baseline_save as function

        path = function(candidate, out=out, reason=reason)
        print_next(f"evalkit gate RUN:LABEL --baseline {path}")
        print(path)
