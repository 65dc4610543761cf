"""How commands are listed in --help, and the option that every command has."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, cast

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from evalkit.cli.output import state
from evalkit.cli.signals import STOPPED, exit_code
from evalkit.hints import plural
from evalkit.terminal import one_line

SECTIONS: Mapping[str, Sequence[str]] = {
    "Compare models": ("init", "run", "generate", "encode", "score", "report", "compare"),
    "Ask people and models": ("rate",),
    "Regressions": ("gate", "baseline"),
    "Publish": ("figures", "tables", "export"),
    "Look things up": ("list", "doctor", "reference", "weights"),
    "More": ("conventions", "crosscheck", "serve", "train", "judge"),
}


NEAR = 0.8  # of two spellings: --prompt and --prompts 0.94, --out and --quiet 0.46


def set_quiet(wanted: bool) -> None:
    """The callback of --quiet, before a command and after it."""
    state["quiet"] = state["quiet"] or wanted


Quiet = Annotated[
    bool,
    typer.Option(
        "-q",
        "--quiet",
        help="Print results and errors only: no log and no progress.",
        callback=set_quiet,
        expose_value=False,
    ),
]


_alone = typer.Typer(add_completion=False)  # makes an option of the annotation


@_alone.command()
def _only_quiet(quiet: Quiet = False) -> None: ...


class Command(TyperCommand):
    """A command that takes --quiet after its name, too, and no empty argument."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params += typer.main.get_command(_alone).params

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """Refuse `score "$RUN"` of a variable without a value: "" would be the current folder."""
        for before, one in zip(["", *args], args, strict=False):
            if not one and not before.startswith("-"):
                raise typer.BadParameter(
                    "an argument is empty; expected a path or a name. Is a variable of the shell"
                    " without a value?"
                )
        return super().make_context(info_name, args, parent, **extra)


class WithDefault(TyperGroup):
    """A group whose callback is a command of its own: it runs unless the next word is another.

    `evalkit gate RUN` is the callback, `evalkit gate selftest RUN` a command of the group. A path
    that is called like such a command is written as `./selftest`.
    """

    def __init__(
        self, *, params: Any = None, callback: Any = None, help: str = "", **settings: Any
    ) -> None:
        super().__init__(help=help, **settings)
        self.default = Command(
            self.name, params=params, callback=callback, help=help, rich_markup_mode=None
        )

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        if args and args[0] in self.commands:
            return super().make_context(info_name, args, parent, **extra)
        return self.default.make_context(info_name, args, parent, **extra)


@contextlib.contextmanager
def _printable_message() -> Iterator[None]:
    """The error of a wrong option repeats it: without characters that control a terminal."""
    try:
        yield
    except Exception as error:
        message, context = getattr(error, "message", None), getattr(error, "ctx", None)
        is_help = context is not None and message == context.get_help()  # a group without a command
        if isinstance(message, str) and not is_help:
            error.message = one_line(message)  # pyright: ignore[reportAttributeAccessIssue]
        if context is not None and hasattr(error, "possibilities"):
            _where_it_belongs(cast(Any, error), context.find_root().command)
        raise


def _where_it_belongs(error: Any, root: TyperGroup) -> None:
    """An unknown option is misspelt, or an option of other commands: the message says which.

    Without this, an option of another command gets "Possible options" that only look alike.
    """
    name = str(error.option_name)
    error.possibilities = get_close_matches(name, error.possibilities or (), 3, NEAR)
    having = [] if error.possibilities else list(_having(name, root, ()))
    if having:
        more = f" and {plural(len(having) - 4, 'other command')}" if len(having) > 4 else ""
        error.message += f". It is an option of {', '.join(having[:4])}{more}."


def _having(name: str, group: TyperGroup, words: tuple[str, ...]) -> Iterator[str]:
    for word, command in group.commands.items():
        command = getattr(command, "default", command)
        if isinstance(command, TyperGroup):
            yield from _having(name, command, (*words, word))
        elif any(name in parameter.opts for parameter in command.params):
            yield f"`{' '.join(('evalkit', *words, word))}`"


class Commands(TyperGroup):
    """The commands in sections, each with a whole sentence; a signal ends them with one, too."""

    def main(self, *args: Any, **settings: Any) -> Any:
        try:
            return super().main(*args, **settings)
        except (KeyboardInterrupt, SystemExit) as ended:
            if isinstance(ended, SystemExit) and ended.code != 130:
                raise
            print(STOPPED, file=sys.stderr)
            raise SystemExit(exit_code()) from None

    def make_context(self, *args: Any, **settings: Any) -> Any:
        with _printable_message():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: Any) -> Any:
        with _printable_message():
            return super().invoke(ctx)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        listed = {name for names in SECTIONS.values() for name in names}
        rest = [name for name in self.list_commands(ctx) if name not in listed]
        for title, names in {**SECTIONS, "Other": rest}.items():
            rows = [(name, self.commands[name].get_short_help_str(300)) for name in names]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
