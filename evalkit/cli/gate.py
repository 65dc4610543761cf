"""The commands `evalkit gate`, `evalkit gate selftest` and `evalkit baseline …`."""

from __future__ import annotations

import contextlib
import shlex
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.commands import WithDefault
from evalkit.cli.options import Json
from evalkit.cli.output import (
    SYSTEM_ERRORS,
    clean,
    print_json_text,
    print_lines,
    print_next,
    system_error,
)
from evalkit.core import EvalkitError
from evalkit.terminal import printable

app = typer.Typer(cls=WithDefault, rich_markup_mode=None)
baseline = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Baselines of the gate: one small file each, fit for git.",
)
Candidate = Annotated[str, typer.Argument(help="RUN if it has one model, else RUN:LABEL.")]


@app.callback()
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
      evalkit gate selftest reports/main:model
    """
    with clean():
        from evalkit.cli.gate_table import print_gate
        from evalkit.gate.gate import gate as function
        from evalkit.gate.gate import to_json
        from evalkit.gate.github import annotation_lines, leave_refusal
        from evalkit.run_folder import Run
        from evalkit.specs import split_run

        try:
            with _defects_end_with_2():
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
        except EvalkitError as error:
            for line in leave_refusal(error, candidate, junit):
                print(line, file=sys.stderr)
            raise
        if as_json:
            print_json_text(to_json(made).rstrip("\n"))
        else:
            for line in annotation_lines(made):
                print(line)
            print_gate(made)
        page = Run(split_run(candidate)[0]).report_path / "index.html"
        if report and page.is_file():
            print_next(f"open {shlex.quote(str(page))}")
        raise typer.Exit(made.exit_code)


@app.command()
def selftest(
    candidate: Annotated[
        str | None, typer.Argument(help="RUN if it has one model, else RUN:LABEL.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A gate.toml with margins and tiers.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Gate these metrics only, joined by commas.")
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="The probability of any false alarm.  [default: 0.05]"),
    ] = None,
    splits: Annotated[int, typer.Option(help="Random splits, at least 20.")] = 200,
    generate: Annotated[
        bool,
        typer.Option("--generate", help="Make the images again with half the guidance, too."),
    ] = False,
    devices: Annotated[
        tuple[str, str] | None,
        typer.Option(
            help="Two runs of one model on two devices: is their difference within the margins?",
            metavar="RUN RUN",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Test the gate on the images of a model: false alarms, planted damage, smallest change.

    Exit codes: 0 the gate holds what it promises, 2 wrong input, 3 too many false alarms, a damage
    that is found in less than 95% of the splits, or devices that differ by more than a margin.

    \b
    Examples:
      evalkit gate selftest reports/main:model
      evalkit gate selftest reports/main:model --config gate.toml --json
      evalkit gate selftest --devices reports/cpu reports/cuda
    """
    with clean():
        from evalkit.cli.selftest_table import print_selftest
        from evalkit.gate.selftest.selftest import gate_selftest, to_json

        settings = {"config": config, "metrics": metrics, "alpha": alpha, "splits": splits}
        with _defects_end_with_2():
            made = gate_selftest(candidate, **settings, generate=generate, devices=devices)  # pyright: ignore
        if as_json:
            print_json_text(to_json(made).rstrip("\n"))
        else:
            print_selftest(made)
        raise typer.Exit(made.exit_code)


@contextlib.contextmanager
def _defects_end_with_2() -> Iterator[None]:
    """Python ends with 1 after any exception, and that is the code of a regression."""
    try:
        yield
    except EvalkitError:
        raise
    except Exception as error:
        if isinstance(error, SYSTEM_ERRORS) and system_error(error):
            raise  # one sentence is enough
        print(printable(traceback.format_exc()), file=sys.stderr)
        raise typer.Exit(2) from error


@baseline.command("save")
def baseline_save(
    candidate: Candidate,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("baseline.json"),
    reason: Annotated[
        str, typer.Option(help="Required: why this is the baseline; part of its history.")
    ] = "",
) -> None:
    """Write the baseline file of a model of a scored run.

    \b
    Example:
      evalkit baseline save reports/main:model --reason 'release 1.2'
    """
    with clean():
        from evalkit.gate.baseline import baseline_save as function

        with _defects_end_with_2():
            path = function(candidate, out=out, reason=reason)
        print_next(f"evalkit gate RUN:LABEL --baseline {path}")
        print_lines(path)


@baseline.command("update")
def baseline_update(
    candidate: Candidate,
    baseline: Annotated[Path, typer.Option(help="The file to replace.")] = Path("baseline.json"),
    reason: Annotated[
        str, typer.Option(help="Required: why this is the baseline; part of its history.")
    ] = "",
    config: Annotated[Path | None, typer.Option(help="A gate.toml with margins and tiers.")] = None,
    allow_mismatch: Annotated[
        list[str] | None, typer.Option(help="A condition that may differ. Repeatable.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also take a model that regressed; its history says so."),
    ] = False,
) -> None:
    """Replace a baseline by a model that is not worse: it is gated against it first.

    Exit codes as those of `evalkit gate`; with any other than 0 the file stays as it is.

    \b
    Example:
      evalkit baseline update reports/pr:model --baseline baseline.json --reason 'release 1.3'
    """
    with clean():
        from evalkit.gate.baseline import baseline_update as function

        with _defects_end_with_2():
            path = function(
                candidate,
                baseline=baseline,
                reason=reason,
                config=config,
                allow_mismatch=allow_mismatch,
                force=force,
            )
        print_next(f"evalkit gate RUN:LABEL --baseline {path}")
        print_lines(path)
