"""The command `evalkit init`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from evalkit.cli.options import Models, Prompts
from evalkit.cli.output import clean, print_lines, print_next


def init(
    folder: Annotated[Path, typer.Argument(help="Where the files go.")] = Path("."),
    models: Models = None,
    prompts: Prompts = None,
) -> None:
    """Write commented starter files: evalkit.toml for a run, gate.toml for the gate.

    Existing files are not overwritten.

    \b
    Examples:
      evalkit init
      evalkit init checks --models mine=path/to/model --prompts prompts.txt
    """
    with clean():
        from evalkit.init.init import init as function
        from evalkit.specs import split_models

        named = None if models is None else [one for text in models for one in split_models(text)]
        for path in function(folder, models=named, prompts=prompts):
            print_lines(path)
        if folder != Path("."):
            print_next(f"cd {shlex.quote(str(folder))}")
        print_next("evalkit run --config evalkit.toml --out reports/main")
        print_next("evalkit baseline save reports/main --reason 'the first one'")
        print_next("evalkit run --config evalkit.toml --out reports/new  # another checkpoint")
        print_next("evalkit gate reports/new --config gate.toml")
