"""Errors speak Python in Python: every hint of the sources, translated and checked."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from typer.main import get_command

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.hints import BELOW, GROUPS, did_you_mean, in_python

PACKAGE = Path(evalkit.__file__).parent


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        ("Choose another --out.", "Choose another `out`."),
        ("Name a file: `--prompts FILE`.", "Name a file: `prompts=FILE`."),
        ("Generate more: `--per-prompt 2`.", "Generate more: `per_prompt=2`."),
        ("Use `--dry-run` or `--on-bad skip`.", 'Use `dry_run` or `on_bad="skip"`.'),
        (
            "For example `--set dalle.temperature=0.9 --set a/b.size=…`.",
            'For example `options={"dalle": {"temperature": 0.9}, "a/b": {"size": ...}}`.',
        ),
        ("Change it with --set.", "Change it with `options`."),
        (
            "`evalkit weights fetch clip-b32` or `evalkit weights fetch inception clip-b32`",
            '`evalkit.weights_fetch("clip-b32")` or'
            ' `evalkit.weights_fetch(["inception", "clip-b32"])`',
        ),
        ("See `evalkit list metrics --json`.", "See `evalkit.list_metrics()`."),
        (
            "`evalkit score 'my runs/a' --metrics fid,kid --encoders mini`",
            '`evalkit.score("my runs/a", metrics="fid,kid", encoders="mini")`',
        ),
        ("`evalkit gate selftest RUN`", "`evalkit.gate_selftest(RUN)`"),
        ("`evalkit gate RUN --baseline b`", '`evalkit.gate(RUN, baseline="b")`'),
        ("`evalkit reference build IMAGES`", "`evalkit.reference_build(IMAGES)`"),
        ("`evalkit train gan --out a --json`", '`evalkit.train("gan", out="a")`'),
        ("`evalkit serve gan --dry-run --port 0`", '`evalkit.serve("gan", dry_run=True, port=0)`'),
        ("`pip install '.[timm]'`", "`pip install '.[timm]'`"),
        ("`it's`, a--b, — and `a --b`", "`it's`, a--b, — and `a --b`"),
    ],
)  # fmt: skip
def test_commands_and_options_become_calls_and_parameters(hint: str, expected: str) -> None:
    assert in_python(hint) == expected


def test_an_error_speaks_python_and_keeps_the_hint_of_the_command_line() -> None:
    with pytest.raises(EvalkitError, match=r"For example `options=.\"dalle\"") as error:
        raise EvalkitError("Wrong.", "For example `--set dalle.size=1`.")
    assert error.value.hint == "For example `--set dalle.size=1`."
    with pytest.raises(EvalkitError, match="Give `prompts`, or") as error:
        evalkit.run("noise")
    assert "--" not in str(error.value)


def texts() -> list[tuple[str, str]]:
    """All texts of the package except docstrings, with their place; values in them are `x`."""
    found: list[tuple[str, str]] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if "cli" in path.relative_to(PACKAGE).parts:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        inside: set[ast.AST] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr):  # a docstring
                inside.add(node.value)
            if isinstance(node, ast.JoinedStr):
                inside |= set(node.values)
                parts = (
                    part.value
                    if isinstance(part, ast.Constant)
                    else {"{kind}": "encoder"}.get(ast.unparse(ast.JoinedStr([part]))[2:-1], "x")
                    for part in node.values
                )
                found.append((f"{path.name}:{node.lineno}", "".join(map(str, parts))))
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node not in inside
            ):
                found.append((f"{path.name}:{node.lineno}", node.value))
    return found


SPOKEN = [(place, text) for place, text in texts() if re.search(r"`evalkit |(?<!\w)--[a-z]", text)]


def test_the_hints_of_the_package_are_found() -> None:
    assert len(SPOKEN) > 60


@pytest.mark.parametrize(("place", "text"), SPOKEN, ids=[place for place, _ in SPOKEN])
def test_every_hint_is_python_in_python(place: str, text: str) -> None:
    """Calls in it are of public functions and have parameters of these."""
    spoken = in_python(text)
    assert not re.search(r"`evalkit |(?<![\w-])--[a-z]", spoken), spoken
    for code in re.findall(r"`(evalkit\.\w+\(.*?\))`", spoken):
        call = ast.parse(code).body[0].value  # type: ignore[attr-defined]
        function = getattr(evalkit, call.func.attr)
        signature = inspect.signature(function)
        signature.bind_partial(*call.args, **{item.arg: item.value for item in call.keywords})


def test_messages_name_no_options() -> None:
    """The message is the same in Python and at the command line; the hint is translated."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "EvalkitError":
                message = ast.unparse(node.args[0])
                assert not re.search(r"(?<!\w)--[a-z]|`evalkit ", message), message


def test_the_groups_of_commands_are_those_of_the_command_line() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    groups = {name for name, command in commands.items() if hasattr(command, "commands")}
    beside = {name: tuple(commands[name].commands) for name in groups - set(GROUPS)}
    assert groups == {*GROUPS, *BELOW}
    assert beside == BELOW


def test_each_known_name_is_listed_once() -> None:
    assert did_you_mean("x", ["bb", "aa", "bb"]) == "Known: aa, bb."


def test_the_first_part_of_several_names_is_answered_with_all_of_them() -> None:
    known = ["clip-l14", "clip-b32", "clap", "inception", "inception-clean"]
    assert did_you_mean("clip", known) == "Did you mean one of clip-b32, clip-l14?"
    assert did_you_mean("incepton", known) == "Did you mean 'inception'?"
