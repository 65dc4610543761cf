"""The mutants of a Python file: one change each, by the usual operators on its syntax tree.

Arithmetic, comparisons, `and` and `or`, `not`, conditions, numbers +-1, truth values, minimum and
maximum, swapped arguments, returned values, deleted statements. Not made: changes of texts,
messages, annotations and decorators, and of `zip(strict=)`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

_ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
_COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
_PAIRS = (("min", "max"), ("amin", "amax"), ("any", "all"), ("clamp_min", "clamp_max"))
_OPPOSITES = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}
_NOT_MUTATED = ("annotation", "returns", "decorator_list")
_COMPOUND = (ast.FunctionDef, ast.ClassDef)


class Mutant(NamedTuple):
    """One change of one file."""

    path: str
    site: int
    variant: int
    lines: tuple[int, ...]  # of the changed statement; of an `if` or a loop, its header
    at_import: bool  # the statement runs when the module is imported
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.text}"


def mutants_of(path: Path) -> Iterator[Mutant]:
    """All mutants of a file, in the order of its text."""
    for site, (_, _, _, node, statement, inside) in enumerate(_sites(_parsed(path))):
        body = getattr(statement, "body", None)
        last = body[0].lineno - 1 if body else statement.end_lineno
        lines = tuple(range(statement.lineno, max(last, statement.lineno) + 1))
        for variant, changed in enumerate(_variants(node)):
            was, now = (" ".join(ast.unparse(one).split())[:90] for one in (node, changed))
            text = f"{node.lineno}:{node.col_offset}: {was}  ->  {now}"
            at_import = not inside or isinstance(statement, _COMPOUND)
            yield Mutant(str(path), site, variant, lines, at_import, text)


def code_of(mutant: Mutant | None, path: Path) -> CodeType:
    """The module with this change, or with none."""
    tree = _parsed(path)
    if mutant is not None:
        parent, field, place, node, *_ = list(_sites(tree))[mutant.site]
        changed = _variants(node)[mutant.variant]
        if place is None:
            setattr(parent, field, changed)
        else:
            getattr(parent, field)[place] = changed
    return compile(ast.fix_missing_locations(tree), str(path), "exec")


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _sites(parent: Any, statement: Any = None, inside: bool = False) -> Iterator[tuple]:
    """Nodes that may be mutated: parent, field, place in a list, node, statement, in a function."""
    for field, value in ast.iter_fields(parent):
        if field in _NOT_MUTATED:
            continue
        for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or _is_text(node):
                continue
            of = node if isinstance(node, ast.stmt) else statement
            within = inside or isinstance(parent, ast.FunctionDef | ast.Lambda)
            if of is not None:
                yield parent, field, place, node, of, within
            yield from _sites(node, of, within)


def _is_text(node: ast.AST) -> bool:
    """Docstrings, formatted texts, arguments of errors and of the log, `zip(strict=)`."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.JoinedStr() | ast.keyword(arg="strict"):
            return True
        case ast.Expr():
            return ast.unparse(node).startswith(("log.", "warnings."))
        case ast.Call(func=func):
            return ast.unparse(func).endswith("Error")
    return False


def _variants(node: Any) -> list[Any]:
    """What may stand in the place of a node."""
    match node:
        case ast.AugAssign(op=op) if type(op) in _ARITHMETIC:
            return [_with(node, op=_ARITHMETIC[type(op)]()), ast.Pass()]
        case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
            of_text = any(map(_is_message, (node.left, node.right)))
            return [] if of_text else [_with(node, op=_ARITHMETIC[type(op)]())]
        case ast.Compare(ops=[op]):
            return [_with(node, ops=[other()]) for other in _COMPARISONS[type(op)]]
        case ast.BoolOp(op=op):
            return [_with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())]
        case ast.Constant(value=bool(value)):
            return [ast.Constant(not value)]
        case ast.Constant(value=int(value) | float(value)):
            # One more than 1e150 is 1e150.
            return [ast.Constant(one) for one in (value + 1, value - 1) if one != value]
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            return [operand]
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            if isinstance(test, ast.Compare) or _named(test) == "TYPE_CHECKING":
                return []  # its comparison is mutated
            return [_with(node, test=ast.UnaryOp(ast.Not(), test))]
        case ast.Name(id=name, ctx=ast.Load()) if name in _OPPOSITES:
            return [_with(node, id=_OPPOSITES[name])]
        case ast.Attribute(attr=name, ctx=ast.Load()) if name in _OPPOSITES:
            return [_with(node, attr=_OPPOSITES[name])]
        case ast.Call(args=[first, second, *rest]) if _named(node.func) not in _OPPOSITES:
            starred = isinstance(first, ast.Starred) or isinstance(second, ast.Starred)
            if starred or ast.unparse(first) == ast.unparse(second):
                return []
            return [_with(node, args=[second, first, *rest])]
        case ast.Return(value=value) if value is not None and _named(value) != "None":
            return [ast.Return(ast.Constant(None))]
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Continue() | ast.Break():
            return [ast.Pass()]
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            return [ast.Pass()]
    return []


def _is_message(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str)


def _named(node: ast.AST) -> str:
    return ast.unparse(node).rpartition(".")[2]


def _with(node: Any, **changes: Any) -> Any:
    """A copy of a node with other fields."""
    copied = deepcopy(node)
    for field, value in changes.items():
        setattr(copied, field, value)
    return copied
