"""The results of a run at a terminal: metrics as rows, models as columns.

In a pipe or a log the same table has no colours and 80 columns. Where the columns do not fit, there
is one line for each metric and model instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from evalkit.cli.stdout import Stdout, plain
from evalkit.report import numbers, sentences
from evalkit.report.facts import Facts
from evalkit.report.findings import RULE, Cell, Finding
from evalkit.report.labels import labels, shorten
from evalkit.report.robustness import robustness
from evalkit.terminal import printable

MARK = "*"
GAP = 2  # columns between two cells of the long form
TITLE = 28  # characters of a metric's title
MOST_GROUPS = 12  # lines of the table by group
LABEL = 8  # characters of a model's label, at least
COLUMNS_PER_MODEL = 20  # for more than four models
# Of the numbers from the manifests, those of a first look; the report has all of them.
_RECORDS = ("refusal_rate", "images_per_second", "cost_per_image")
# Digits to leave out, and what stands between a value and its interval: the first that fits.
_FORMS = ((0, " "), (1, " "), (0, "\n"), (1, "\n"))
_COMMAND = re.compile(r"`(evalkit [^`]+)`")
_FETCH = "evalkit weights fetch "
_SYMMETRIC = "↓ lower is better, ↑ higher is better; ± half of the 95% interval."
_LISTED = "↓ lower is better, ↑ higher is better."
_MARKED = (
    f" {MARK} best, or no significant difference from the best, where another model is"
    f" significantly worse ({RULE})."
)


class Block(NamedTuple):
    """Rows of the table under one heading."""

    heading: str  # the encoder
    lines: list[tuple[str, Finding]]  # with their names


def print_results(facts: Facts) -> None:
    """Print the table and, below it, what was concluded and what the signs mean."""
    console = Stdout()
    blocks, of_groups = _blocks(facts), _groups(facts)
    wide = _wide(blocks, facts.models, console.width)
    _print(console, wide or _long(blocks, facts.models, console.width))
    _print_groups(console, facts, of_groups)
    _print_changes(console, facts)
    marked = any(
        cell.bold
        for block in (*blocks, *of_groups)
        for _, finding in block.lines
        for cell in finding.cells.values()
    )
    legend = (_SYMMETRIC if wide else _LISTED) + (_MARKED if marked else "")
    measured = " ".join(filter(None, [sentences.lede(facts), sentences.basis(facts)]))
    concluded = filter(None, [sentences.conclusion(facts), sentences.rated(facts)])
    for part in (concluded, (measured, legend, *_limits(facts))):
        for place, text in enumerate(part):
            _print(console, Text(plain(printable(text if place else f"\n{text}"))))


def mending_command(facts: Facts) -> str:
    """What to do next where the reason of a missing value names a command; "" if there is none.

    The weights of all reasons are fetched by one command.
    """
    commands: list[str] = []
    more = ""
    for finding in facts.concluded:
        for cell in finding.cells.values():
            found = None if cell.measured else _COMMAND.search(cell.note)
            if found and (not commands or found[1].startswith(_FETCH)):
                more = " with `--reference NAME`" if "--reference" in cell.note else more
                commands.append(found[1])
    if not commands:
        return ""
    first, *others = dict.fromkeys(commands)
    if first.startswith(_FETCH):
        first = " ".join([first, *(one.removeprefix(_FETCH) for one in others)])
    return f"{first}, then the same command again{more}"


def _blocks(facts: Facts) -> list[Block]:
    """Metrics by encoder, in the order of the rows, then what the manifests say."""
    encoders: dict[str, list[Finding]] = {}
    for finding in facts.concluded:
        encoders.setdefault(finding.encoder, []).append(finding)
    without = encoders.pop("", [])
    found = [_block(name, of_encoder) for name, of_encoder in encoders.items()]
    found += [_block("no encoder", without)] if without else []
    for finding in facts.rated:
        found.append(_block(f"{finding.encoder}, study {finding.reference}", [finding]))
    records = [
        finding
        for finding in facts.findings
        if finding.measure.name in _RECORDS and any(row.value for row in finding.measured)
    ]
    return [*found, _block("generation", records)] if records else found


def _block(heading: str, found: Sequence[Finding]) -> Block:
    return Block(heading, [(_title(finding), finding) for finding in found])


def _groups(facts: Facts) -> list[Block]:
    """The values per image by group of prompts, a block for each metric; [] without groups."""
    return [
        Block(
            f"{shorten(one.whole.title, TITLE)} {one.whole.arrow}",
            [
                (f"  {name}", one.groups[group])
                for group, name in labels(list(one.groups), TITLE).items()
            ],
        )
        for one in facts.by_group
        if one.whole.measured and not one.whole.measure.from_records
    ]


def _print_groups(console: Console, facts: Facts, blocks: Sequence[Block]) -> None:
    """The table by group of prompts, with at most MOST_GROUPS lines."""
    for block in blocks:
        shown = block._replace(lines=block.lines[:MOST_GROUPS])
        table = _wide([shown], facts.models, console.width, "group")
        if table is None:  # a line for each group and model
            shown = block._replace(lines=block.lines[: max(1, MOST_GROUPS // len(facts.models))])
            table = _long([shown], facts.models, console.width, "group")
        print()
        _print(console, table)
        if more := len(block.lines) - len(shown.lines):
            print(plain(f"  … {numbers.plural(more, 'more group')} in the report"))


def _wide(
    blocks: Sequence[Block], models: Sequence[str], width: int, what: str = "metric"
) -> Table | None:
    """The table with one column per model; None if it does not fit. what: each line's name."""
    if len(models) > max(4, width // COLUMNS_PER_MODEL):
        return None
    titles = [title for block in blocks for title in (block.heading, *dict(block.lines))]
    first = max(Text(title).cell_len for title in titles) + 1
    room = (width - first) // len(models) - 1  # with a mark, or a blank in its place
    short = [f"{label} " for label in labels(models, max(LABEL, room - 1)).values()]
    if max(Text(label).cell_len for label in short) > room:
        return None
    table = _table((what, *short), left=1, gap=1)
    for block in blocks:
        table.add_row(_heading(block))
        for title, finding in block.lines:
            row = _row(finding, models, room)
            if not row:
                return None
            table.add_row(Text(title), *row)
    return table


def _row(finding: Finding, models: Sequence[str], room: int) -> list[Text]:
    """The values of one metric; [] if one of them does not fit into `room` columns."""
    cells = [finding.cells.get(model) for model in models]
    for fewer, between in _FORMS:
        if fewer and between == " " and any(_coarse(cell) for cell in cells):
            continue
        texts = [_cell(finding, cell, fewer, between) for cell in cells]
        if all(line.cell_len <= room for text in texts for line in text.split()):
            return texts
    return []


def _coarse(cell: Cell | None) -> bool:
    """Whether one digit less would change the interval by a quarter or more."""
    if cell is None or cell.row.low is None or cell.row.high is None:
        return False
    return (cell.row.high - cell.row.low) / 2 < 2 * 10.0 ** (1 - cell.digits)


def _long(
    blocks: Sequence[Block], models: Sequence[str], width: int, what: str = "metric"
) -> Table:
    """The table with one row per metric and model, without metrics that have no value."""
    blocks = [Block(name, measured) for name, found in blocks if (measured := _measured(found))]
    rows = [
        (title, *_listed(cell))
        for _, found in blocks
        for title, finding in found
        for cell in finding.cells.values()
    ]
    names = (what, "value ", "95% interval")
    widths = (
        max(Text(text).cell_len for text in column) for column in zip(names, *rows, strict=True)
    )
    short = labels(models, max(LABEL, width - sum(widths) - 3 * GAP))
    table = _table((what, "model", *names[1:]), left=2, gap=GAP)
    for block in blocks:
        table.add_row(_heading(block))
        for title, finding in block.lines:
            for model, cell in finding.cells.items():
                value, ends = _listed(cell)
                table.add_row(Text(title), Text(short[model]), Text(value, _style(cell)), ends)
    return table


def _listed(cell: Cell) -> tuple[str, str]:
    """A value with its mark, and its interval."""
    value = numbers.number(cell.row.value, cell.digits) if cell.measured else "-"
    return _marked(value, cell), _ends(cell, cell.digits)


def _measured(lines: Sequence[tuple[str, Finding]]) -> list[tuple[str, Finding]]:
    return [(title, finding) for title, finding in lines if finding.measured]


def _table(names: Sequence[str], left: int, gap: int) -> Table:
    """An empty table with aligned columns, the first `left` of them to the left."""
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="bold")
    for place, name in enumerate(names):
        table.add_column(Text(name), justify="left" if place < left else "right", no_wrap=True)
    return table


def _heading(block: Block) -> Text:
    return Text(block.heading, style="dim")


def _title(finding: Finding) -> str:
    return f"  {shorten(finding.title, TITLE)} {finding.arrow}"


def _print_changes(console: Console, facts: Facts) -> None:
    """What small changes of the prompts cost, one line for each metric, model and change."""
    made = robustness(facts)
    if not made:
        return
    table = Table("changed prompts", "", "changed - original", "", box=None, pad_edge=False)
    for finding, lines in made:
        for one in lines:
            interval = f" ({one.interval.replace(' to ', '..')})" if one.interval else ""
            difference = f"{one.difference}{interval}"
            model = facts.labels.get(one.model, one.model)
            title = f"{shorten(finding.title, TITLE)} {finding.arrow}"
            table.add_row(Text(title), Text(f"{model}, {one.kind}"), difference, one.verdict)
    print()
    _print(console, table)


def _cell(finding: Finding, cell: Cell | None, fewer: int, between: str) -> Text:
    """`17.0 ± 2.9`; `0.98 (0.93..0.99)` if the interval is not symmetrical; - if not measured."""
    if cell is None or cell.row.value is None:
        return Text("- ")
    row, digits = cell.row, max(0, cell.digits - fewer)
    value, low, high = cell.row.value, row.low, row.high
    lines = [numbers.number(value, digits)]
    if low is not None and high is not None and not finding.measure.from_records:
        half, unit = (high - low) / 2, 10.0**-digits
        if abs(high + low - 2 * value) > unit:
            ends = _ends(cell, digits)
            lines.append(ends if between == "\n" else f"({ends})")
        else:
            lines.append(
                f"± {numbers.number(half, digits)}" if half > unit / 2 else f"± <{unit:.{digits}f}"
            )
    first, *rest = plain(between.join(lines)).split("\n")  # before widths are measured
    return Text("\n".join([_marked(first, cell), *(f"{line} " for line in rest)]), _style(cell))


def _marked(text: str, cell: Cell) -> str:
    """The text with a mark, or with a blank in its place: digits stand below each other."""
    return text + (MARK if cell.bold else " ")


def _style(cell: Cell) -> str:
    return "bold green" if cell.bold else ""


def _ends(cell: Cell, digits: int) -> str:
    """`low..high`; "" if there is no interval."""
    if not cell.measured or cell.row.low is None:
        return ""
    return f"{numbers.number(cell.row.low, digits)}..{numbers.number(cell.row.high, digits)}"


def _print(console: Console, shown: RenderableType) -> None:
    """Print without blanks at line ends; a narrow terminal wraps a table, and nothing is cut."""
    width = max(console.width, console.measure(shown).minimum)
    with console.capture() as capture:
        console.print(shown, width=width, crop=False)
    for line in capture.get().splitlines():
        print(line.rstrip())


def _limits(facts: Facts) -> Iterator[str]:
    """What limits the meaning of the values, and why others are missing."""
    if banner := sentences.banner(facts):
        yield banner
    if not facts.bundled_encoders and (text := sentences.comparable(facts)):
        yield text
    yield from _cautions(facts)
    yield from _not_measured(facts)


def _cautions(facts: Facts) -> Iterator[str]:
    """Each caution of the rows and why an interval is missing, with the metrics.

    The banner has the cautions of blind encoders.
    """
    concerned: dict[str, list[str]] = {}
    for finding in facts.concluded:
        if finding.encoder not in facts.blind_encoders:
            missing = {row.interval for row in finding.measured if row.interval.startswith("no ")}
            for text in (*finding.row_cautions, *sorted(missing)):
                concerned.setdefault(text, []).append(finding.title)
    for text, titles in concerned.items():
        yield f"{numbers.listing(titles)}: {text}."


def _not_measured(facts: Facts) -> Iterator[str]:
    """Each reason why values are missing, with the metrics and models that it concerns."""
    concerned: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for finding in facts.concluded:
        missing: dict[str, list[str]] = {}
        for model, cell in finding.cells.items():
            if not cell.measured:
                missing.setdefault(cell.note, []).append(model)
        for note, models in missing.items():
            concerned.setdefault((note, tuple(models)), []).append(finding.title)
    for (note, models), titles in concerned.items():
        whose = "" if len(models) == len(facts.models) else f" of {numbers.listing(models)}"
        yield f"{numbers.listing(titles)}{whose}: not measured: {note.rstrip('.')}."
