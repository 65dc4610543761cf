"""The command line. Each command parses its options, calls one function and prints.

Nothing slow is imported before a command runs.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
import warnings
from typing import Annotated, Any, TextIO, cast

import typer

from evalkit.cli import export, gate, lists, rate, reference, weights
from evalkit.cli.commands import Command, Commands, Quiet
from evalkit.cli.compare import compare
from evalkit.cli.conventions import conventions
from evalkit.cli.crosscheck import crosscheck
from evalkit.cli.figures import figures
from evalkit.cli.init import init
from evalkit.cli.output import OUTPUT_ERRORS, nobody_reads, print_version, state
from evalkit.cli.run import encode, generate, report, run, score, tables
from evalkit.cli.serve import serve
from evalkit.cli.training import judge, train
from evalkit.terminal import printable

app = typer.Typer(
    name="evalkit",
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(rate.app, name="rate")
app.add_typer(gate.app, name="gate")
app.add_typer(gate.baseline, name="baseline")
app.add_typer(export.app, name="export")
app.add_typer(reference.app, name="reference")
app.add_typer(lists.app, name="list")
app.add_typer(weights.app, name="weights")
for command in (
    init,
    run,
    generate,
    encode,
    score,
    report,
    compare,
    tables,
    figures,
    conventions,
    crosscheck,
    train,
    judge,
    serve,
    lists.doctor,
):
    app.command()(command)
for group in (
    app, gate.app, gate.baseline, rate.app, export.app, reference.app, lists.app, weights.app
):  # fmt: skip
    for registered in group.registered_commands:
        registered.cls = Command


@app.callback()
def start(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and a more detailed log.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", is_eager=True, callback=print_version
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Compare text-to-image generators: images, scores with intervals, and a report.

    \b
    Examples:
      evalkit run --models path/to/a,path/to/b --prompts prompts.txt
      evalkit run --models dalle,gan,some/folder --prompts coco_val.txt --out reports/first
      evalkit run --config reports/first/run.toml --out reports/again
      evalkit score some/folder
    """
    state["debug"] = debug
    context.call_on_close(lambda: state.update(debug=False, quiet=False))


def main() -> None:
    """The console script, once it is imported."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller (`>&-`): there is nobody to print for
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif stream.errors == "strict":  # an encoding that does not have a character stops nothing
            stream.reconfigure(errors="backslashreplace")
    # Of Pillow; evalkit has a limit of its own.
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds", RuntimeWarning)
    _keep_stdout_apart()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in OUTPUT_ERRORS:
            raise
        nobody_reads()
        with contextlib.suppress(OSError):  # stderr may be full, too
            print(
                f"error: the output cannot be written: {error.strerror}. [output]", file=sys.stderr
            )
        sys.exit(2)
    except Exception:  # as Python prints it, without characters that control a terminal
        print(printable(traceback.format_exc()), file=sys.stderr)
        sys.exit(1)
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        sys.stdout = sys.stderr  # for what plug-ins print at the end of the process
        _end_in_time(sys.exc_info()[1])


_LAST = 10.0  # seconds that threads of plug-ins have after the results


def _end_in_time(ending: BaseException | None) -> None:
    """End the process although a plug-in left threads running, for which Python would wait."""
    mine = threading.current_thread()
    others = [one for one in threading.enumerate() if one is not mine and not one.daemon]
    if not others or not isinstance(ending, SystemExit):
        return
    code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)

    def end() -> None:
        with contextlib.suppress(OSError, ValueError):
            print(
                f"{len(others)} threads of plug-ins were still running and were ended.",
                file=sys.stderr,
                flush=True,
            )
        os._exit(code)

    timer = threading.Timer(_LAST, end)
    timer.daemon = True
    timer.start()


class _Results:
    """Standard output for the main thread, standard error for the threads of plug-ins."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        main = threading.current_thread() is threading.main_thread()
        return getattr(self._stream if main else sys.stderr, name)


def _keep_stdout_apart() -> None:
    """Move standard output: whatever else writes to descriptor 1 writes to standard error.

    These are libraries in C, programs that a plug-in starts, and `os.write`.
    """
    stdout = sys.stdout
    try:
        stdout.flush()
        results = os.dup(stdout.fileno())
        os.dup2(sys.stderr.fileno(), 1)
    except (OSError, ValueError):  # no files, as in tests
        return
    moved = open(  # noqa: SIM115
        results, "w", encoding=stdout.encoding, errors=stdout.errors, newline=""
    )
    moved.reconfigure(line_buffering=bool(stdout.line_buffering))
    sys.stdout = cast(TextIO, _Results(moved))
