"""Help, --quiet, completion, lists at a terminal, and the exit code of an incomplete run."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import warnings
from pathlib import Path

import pytest
from forked import Command
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import IncompleteRunWarning

RUN = ("--prompts", "p.txt", "--out", "run")
MEASURED = ("--encoders", "pixels", "--metrics", "vendi")
COMMAND = (sys.executable, "-m", "evalkit")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text("a cat\na dog\na bird\n")
    return tmp_path


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def at_terminal(width: int, *arguments: str, **environment: str) -> str:
    """What a command prints, errors included, at a terminal of this width."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
            patch.delenv(name, raising=False)
        for name, value in ({"TERM": "xterm"} | environment).items():
            patch.setenv(name, value)
        child = Command(arguments, terminal=os.ttyname(side))
    select.select([main], [], [], 60)  # the first output: the other side is open there, too
    os.close(side)
    seen = b""
    try:
        while chunk := os.read(main, 65536):
            seen += chunk
    except OSError:  # the other side is closed
        pass
    os.close(main)
    assert child.wait() == 0
    return seen.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    "path", [(), ("run",), ("list",), ("list", "metrics"), ("weights", "fetch")], ids=" ".join
)
def test_h_is_help_everywhere(path: tuple[str, ...]) -> None:
    assert call(*path, "-h") == call(*path, "--help")
    assert call(*path, "-h")[0] == 0


def test_help_has_every_command_in_a_section() -> None:
    output = call("-h")[1]
    for title in ("Compare models:", "Look things up:", "More:"):
        assert title in output
    assert "Other:" not in output
    assert "..." not in output.split("Compare models:")[1]  # whole sentences


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_quiet_prints_results_and_errors_only(before: bool) -> None:
    arguments = ("run", "--models", "noise", *RUN, *MEASURED)
    status, output, errors = call(*(("-q", *arguments) if before else (*arguments, "--quiet")))
    assert (status, errors) == (0, "")
    assert "Vendi score" in output
    assert output.splitlines()[-1] == "run"
    status, _, errors = call("-q", "run", "--models", "nois", *RUN)
    assert status == 2
    assert errors.startswith("error: There is no generator 'nois'.")
    assert "noise: 3 images" in call("generate", "--models", "noise", *RUN[:3], "other")[2]


def test_a_bar_only_where_there_is_something_to_do() -> None:
    assert "3/3" in at_terminal(200, "generate", "--models", "noise", *RUN)
    again = at_terminal(200, "run", "--models", "noise", *RUN, *MEASURED)
    assert "0/0" not in again
    quiet = at_terminal(200, "generate", "-q", "--models", "noise", *RUN[:3], "other")
    assert quiet == "other\n"


def test_the_table_at_a_terminal_and_in_a_pipe() -> None:
    run = ("-q", "run", "--models", "noise,gan", *RUN, *MEASURED)
    shown = at_terminal(80, *run)
    piped = subprocess.run([*COMMAND, *run], capture_output=True, text=True).stdout
    assert "\x1b[" in shown
    assert "\x1b" not in piped
    uncoloured = at_terminal(80, *run, NO_COLOR="1")
    assert not any(colour in uncoloured for colour in ("\x1b[3", "\x1b[1;3", "\x1b[9"))
    assert piped.splitlines()[0].split() == ["metric", "noise", "gan"]
    assert max(map(len, piped.splitlines())) <= 80


@pytest.mark.parametrize(
    ("typed", "proposed"),
    [
        ("run --models dal", ["dalle"]),
        ("run --models dalle,ga", ["dalle,gan"]),
        ("run --models pho", ["photos/"]),
        ("score x --metrics fid,inception_s", ["fid,inception_score"]),
        ("score x --metrics qua", ["quality"]),
        ("score x --encoders mini-c", ["mini-clip"]),
        ("doc", ["doctor"]),
    ],
)
def test_completion(typed: str, proposed: list[str], place: Path) -> None:
    (place / "photos").mkdir()
    (place / "photos.txt").touch()
    words = {"COMP_WORDS": f"evalkit {typed}", "COMP_CWORD": str(len(typed.split()))}
    result = CliRunner().invoke(
        app, env=words | {"_EVALKIT_COMPLETE": "complete_bash"}, prog_name="evalkit"
    )
    assert result.stdout.splitlines() == proposed


def test_list_metrics_at_a_terminal_and_as_json() -> None:
    text = at_terminal(80, "list", "metrics")
    assert max(len(line) for line in text.splitlines() if "\x1b" not in line) <= 80
    words = " ".join(text.split())
    assert "How close are the images, as a set, to real ones?" in words
    assert "needs a reference" in words
    assert "here: " in words
    assert "default: fid, kid, inception_score" in words
    rows = {row["name"]: row for row in json.loads(call("list", "metrics", "--json")[1])}
    assert list(rows["fid"])[:8] == [
        *("name", "title", "better", "range", "encoder", "needs", "meaning", "paper")
    ]
    assert all(row["question"].endswith("?") and row["here"] for row in rows.values())


def test_list_scorers_at_a_terminal_and_in_a_pipe() -> None:
    text = at_terminal(80, "list", "scorers")
    assert max(len(line) for line in text.splitlines() if "\x1b" not in line) <= 80
    words = " ".join(text.split())
    assert "VQAScore, higher is better, 0 to 1" in words
    assert "options: model, template='vqascore-3.1'" in words
    header, *rows = call("list", "scorers")[1].splitlines()  # no line is wrapped or cut
    full = {row["name"]: row for row in json.loads(call("list", "scorers", "--json")[1])}
    cells = [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]
    assert {row["name"]: row for row in cells} == full


def test_weights_to_fetch_are_named() -> None:
    code, _, error = call("weights", "fetch")
    assert code == 2
    assert "No weights are named; expected encoders, scorers or files." in error
    assert "Name some of these: " in error
    assert "hpsv2.1" in error


FAULTS = {
    "models_for_tests:refuses_all": (
        "The model 'models_for_tests:refuses_all' gave no image: 3 of 3 requests refused or failed,"
        " all with: unknown parameter 'style'."
    ),
    "models_for_tests:black": "All 3 images of the model 'models_for_tests:black' are black.",
}


@pytest.mark.parametrize("model", FAULTS)
@pytest.mark.parametrize("command", ["run", "generate"])
def test_a_model_without_a_usable_image_ends_with_3_after_everything_is_written(
    command: str, model: str, place: Path
) -> None:
    given = (*RUN, *MEASURED) if command == "run" else RUN
    status, output, errors = call(command, "--models", f"noise,{model}", *given)
    assert status == 3
    assert errors.splitlines()[-1] == f"error: {FAULTS[model]} [incomplete]"
    assert errors.count("error: ") == 1
    assert output.splitlines()[-1] == "run"
    if command == "run":
        assert (place / "run/report/index.html").is_file()
        status, _, errors = call("score", "run", *MEASURED)
        assert (status, errors.splitlines()[-1]) == (3, f"error: {FAULTS[model]} [incomplete]")
        status, output, _ = call("run", "--models", f"noise,{model}", *RUN, *MEASURED, "--json")
        assert status == 3
        assert {row["model"] for row in json.loads(output)} == {"noise", model}


@pytest.mark.parametrize("model", FAULTS)
def test_in_python_it_is_a_warning_and_the_run_is_there(model: str) -> None:
    settings = {"encoders": "pixels", "metrics": ["vendi"], "out": "run"}
    with pytest.warns(IncompleteRunWarning) as caught:
        run = evalkit.run([model], ["a", "b", "c"], **settings)
    assert str(caught[0].message) == FAULTS[model]
    assert (run.report_path / "index.html").is_file()


def test_other_warnings_are_shown_as_ever(place: Path) -> None:
    (place / "warns.py").write_text(
        "import warnings\nfrom models_for_tests import plain\n"
        "def draw(prompts, seeds):\n"
        "    warnings.warn('old weights', DeprecationWarning)\n"
        "    return plain(prompts, seeds)\n"
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert call("generate", "--models", "warns:draw", *RUN)[0] == 0
    assert [str(item.message) for item in caught] == ["old weights"]
