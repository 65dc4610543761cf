"""Writes docs/errors.md and docs/errors/ from the errors in the source; `--check` compares."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit.escape import markdown

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "evalkit"
FEW = 10  # errors of a room that has no page of its own
OTHERS = "others"
GAP = "…"  # a name or a number
LEGEND = f"“{GAP}” stands for names and numbers.\n"
COMPOSED = {  # whose words are put together elsewhere
    "images-1": "The image … is damaged, animated, too large, or of a kind that is refused.",
    "locks-1": "Another process works on the same part of the run.",
    "plugin_calls-1": "The plug-in … failed: …",
    "plugin_calls-2": "The plug-in … failed: ….",
    "prompts-32": "Line … of … has … fields; expected ….",
    "rate-1": "The two files or raters contradict each other: one may have the reversed scale.",
    "rate-23": "The question … of … has no list of different texts as anchors.",
    "rate-27": "Some raters or files seem to answer from 0 to 4, others from 1 to 5.",
    "rate-28": "Few answers are above a smaller scale: a larger scale, or a mistake.",
}
HEAD = """# Errors by code

Made from the source by `python docs/make_errors.py`; do not edit.

Every error ends with a code in brackets, such as `[score-1]`: the part of evalkit that found it,
and a number that never changes. In Python it is `error.code`. [Troubleshooting](troubleshooting.md)
explains the most frequent ones. Look the code up on the page of its part:

| part | errors |
|---|---|
"""
TAIL = """
Three codes have no number:

| code | meaning |
|---|---|
| `system` | the system refused memory, a thread or a file; `evalkit doctor` shows what there is |
| `output` | the reader of the output has ended, or the output cannot be written |
| `incomplete` | everything is written, but a metric failed, or a model has no usable image |

Wrong options of a command are said by the command line itself, with its usage and exit code 2.
Errors of plug-ins have the code of the place that called them.
"""


class Error(NamedTuple):
    code: str
    message: str
    hint: str


def errors() -> Iterator[Error]:
    """Every error that has a code of its own, in the order of the source."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module, constants = _parsed(path), _constants(path)
        found: dict[str, Error] = {}
        for place in ast.walk(module):  # inner functions come after the outer ones, and are right
            if not isinstance(place, ast.Module | ast.FunctionDef):
                continue
            known = {**constants, **_assigned(place)}
            for node in ast.walk(place):
                if isinstance(node, ast.Call) and (code := _code(node)):
                    hints = [key.value for key in node.keywords if key.arg == "hint"]
                    message, *more = (_text(one, known) for one in [*node.args, *hints])
                    message = COMPOSED.get(code, message)
                    found[code] = Error(code, message, more[0] if more else "")
        yield from sorted(found.values(), key=lambda one: int(one.code.rpartition("-")[2]))


def pages() -> dict[Path, str]:
    """The content of each page."""
    rooms: dict[str, list[Error]] = {}
    for error in errors():
        rooms.setdefault(error.code.rpartition("-")[0], []).append(error)
    large = {room: some for room, some in sorted(rooms.items()) if len(some) >= FEW}
    small = {room: some for room, some in sorted(rooms.items()) if room not in large}
    places = {room: f"{room}.md" for room in large} | {
        room: f"{OTHERS}.md#{room}" for room in small
    }
    listed = [
        f"| [{room}](errors/{places[room]}) | {len(some)} |\n"
        for room, some in sorted(rooms.items())
    ]
    made = {DOCS / "errors.md": HEAD + "".join(listed) + TAIL}
    for room, some in large.items():
        made[DOCS / "errors" / f"{room}.md"] = f"# Errors: {room}\n\n{LEGEND}\n{_table(some)}"
    # A heading for each part: the list in errors.md leads to it.
    sections = [f"\n## {room}\n\n{_table(some)}" for room, some in small.items()]
    others = f"# Errors of other parts\n\n{LEGEND}" + "".join(sections)
    made[DOCS / "errors" / f"{OTHERS}.md"] = others
    return made


def _table(some: Sequence[Error]) -> str:
    rows = [f"| `{one.code}` | {_cell(one.message)} | {_cell(one.hint)} |\n" for one in some]
    return "| code | message | what to do |\n|---|---|---|\n" + "".join(rows)


def _code(call: ast.Call) -> str:
    """The code that a call gives to an error; "" for another call."""
    given = [key.value for key in call.keywords if key.arg == "code"]
    found = given[0].value if given and isinstance(given[0], ast.Constant) else ""
    return found if isinstance(found, str) and "-" in found else ""


Known = Mapping[str, Sequence[ast.expr]]


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _constants(path: Path) -> Known:
    """By name, the texts that a module assigns or imports at its top level, and of properties."""
    found: dict[str, list[ast.expr]] = {}
    for node in _parsed(path).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                found[node.targets[0].id] = [node.value]
        elif isinstance(node, ast.ClassDef):
            for one in node.body:
                match one:
                    case ast.FunctionDef(body=[*_, ast.Return(value=ast.JoinedStr() as text)]):
                        found[one.name] = [text]
                    case _:
                        pass
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("evalkit."):
            source = PACKAGE.parent.joinpath(*str(node.module).split("."))
            file = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
            names = [one.name for one in node.names if one.name.strip("_").isupper()]
            texts = _constants(file) if names else {}
            found |= {name: list(texts[name]) for name in names if name in texts}
    return found


def _assigned(place: ast.Module | ast.FunctionDef) -> Known:
    """By name of a variable, what it may be."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(place):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return found


def _text(node: ast.expr, known: Known) -> str:
    """The words of a message, with gaps for what is known only when it is raised."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, known) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        part = node.value
        if isinstance(part, ast.Name):  # a constant; a variable is a gap
            return _text(part, known) if part.id.strip("_").isupper() else GAP
        return _text(part, known) if isinstance(part, ast.IfExp | ast.Call) else GAP
    if isinstance(node, ast.IfExp):
        return " / ".join(filter(None, [_text(node.body, known), _text(node.orelse, known)]))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, known) + _text(node.right, known)
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("did_you_mean"):
        return "The closest names are suggested."
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "plural":
        one, *many = (str(ast.literal_eval(word)) for word in node.args[1:])
        return f"{GAP} {many[0] if many else one + 's'}"
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "remedy":
        return f"Make the folder writable, free some space, or {_text(node.args[1], known)}."
    if isinstance(node, ast.Attribute):  # a property
        return " / ".join(_text(one, {}) for one in known.get(node.attr, ())) or GAP
    if isinstance(node, ast.Name):
        texts = [_text(one, {}) for one in known.get(node.id, ())]
        return " / ".join(dict.fromkeys(text for text in texts if text != GAP)) or GAP
    return GAP


def _cell(text: str) -> str:
    """The text in a cell of a table; what is in backticks stays code."""
    if not text.strip(f"{GAP}. "):  # nothing that is always said
        return ""
    parts = " ".join(text.split()).split("`")
    return "`".join(
        part.replace("|", "\\|") if place % 2 else markdown(part)
        for place, part in enumerate(parts)
    )


def main() -> None:
    made, folder = pages(), DOCS / "errors"
    there = {path: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    if "--check" in sys.argv:
        there[DOCS / "errors.md"] = (DOCS / "errors.md").read_text(encoding="utf-8")
        if there != made:
            sys.exit("docs/errors differs from the source: run `python docs/make_errors.py`.")
        return
    folder.mkdir(exist_ok=True)
    for path in there.keys() - made.keys():
        path.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
