"""Every command is a function of the same name, with the same parameters and defaults."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
from typer.main import get_command

import evalkit
from evalkit.cli.app import app

# Options that print or open what the function returns.
OUTPUT = {"as_json", "open_report"}
OTHER_FUNCTIONS = {  # options that stand for a call of another function
    ("run", "dry_run"): "generate",  # which returns estimates and no run
    ("judge", "appraise"): "appraise",  # which returns rows of another kind
}


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Callable]]:
    """(name of the function, function of the command)."""
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "default"):  # a command and the name of further ones
            yield name, command.default.callback
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield "_".join((*path, name)), command.callback


COMMANDS = dict(commands())


def parameters(function: Callable) -> dict[str, object]:
    """Name to default. None and an empty list both mean that nothing was given."""
    defaults = {name: item.default for name, item in inspect.signature(function).parameters.items()}
    return {
        name: None if value == () else str(value) if isinstance(value, Path) else value
        for name, value in defaults.items()
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_its_function_have_the_same_parameters(name: str) -> None:
    assert name in evalkit.__all__
    command, function = parameters(COMMANDS[name]), parameters(getattr(evalkit, name))
    expected = {
        option: default
        for option, default in command.items()
        if option not in OUTPUT and (name, option) not in OTHER_FUNCTIONS
    }
    assert function == expected


def test_options_without_a_parameter_are_functions() -> None:
    for (command, option), function in OTHER_FUNCTIONS.items():
        assert option in parameters(COMMANDS[command])
        assert function in evalkit.__all__


def test_lists_are_rows_that_pandas_takes(tmp_path: Path) -> None:
    evalkit.generate("noise", ["a cat"], out=tmp_path / "run")
    runs = pandas.DataFrame(evalkit.list_runs(tmp_path))
    assert runs.to_dict("records") == [
        {
            "run": str(tmp_path / "run"),
            "models": "noise",
            "prompts": "1 prompts",
            "images": "1 images",
            "state": "not scored",
        }
    ]
    assert {"dalle", "gan", "noise"} <= {row["name"] for row in evalkit.list_generators()}
    assert {"mini-clip", "inception"} <= {row["name"] for row in evalkit.list_encoders()}
    assert "lower" in pandas.DataFrame(evalkit.list_metrics()).set_index("name").better["fid"]
    assert {row["model"] for row in evalkit.list_training()} >= {"dalle", "gan", "mini-clip"}
    assert {row["kind"] for row in evalkit.list_scenes()} >= {"object", "shape", "colour"}
