"""Draw what benchmarks/gate.py printed: false alarms, and damages found, by the number of images.

python benchmarks/gate_curves.py OUT.png gan=GAN.tsv photos=PHOTOS.tsv
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator, PercentFormatter, ScalarFormatter

from evalkit.figures.parts import new_figure
from evalkit.figures.style import COLOURS, DOTTED, INK, MARKERS, PNG_DPI, drawing

ALPHA = 0.05
MARGINS = {"itself, margins configured": "default margins", "itself, margins none": "no margin"}
DAMAGES = {
    "jpeg": "JPEG, quality 10",
    "blur": "blur, radius 1 pixel",
    "shuffled": "images of other prompts",
    "dropped": "10% missing",
    "collapse": "10% copies",
    "black": "10% black",
}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def false_alarms(axes: Axes, tables: dict[str, list[dict[str, str]]]) -> None:
    for at, (images, rows) in enumerate(tables.items()):
        for (against, margins), filled in zip(MARGINS.items(), (True, False), strict=True):
            some = [row for row in rows if row["against"] == against]
            size = [int(row["N"]) * (1 + 0.06 * at - 0.03 * (not filled)) for row in some]
            share = [float(row["regressed"]) for row in some]
            ends = [[float(end) for end in row["95% interval"].split(" to ")] for row in some]
            axes.errorbar(
                size,
                share,
                yerr=[
                    [max(one - low, 0.0) for one, (low, _) in zip(share, ends, strict=True)],
                    [high - one for one, (_, high) in zip(share, ends, strict=True)],
                ],
                color=COLOURS[at],
                marker=MARKERS[at],
                markeredgecolor=COLOURS[at],
                markeredgewidth=0.8,
                markerfacecolor=COLOURS[at] if filled else "white",
                markersize=3.5,
                linestyle="-" if filled else "--",
                linewidth=0.9,
                label=f"{images}, {margins}",
            )
    axes.axhline(ALPHA, color=INK, linestyle=DOTTED, linewidth=0.8)
    axes.annotate("alpha", (1, ALPHA), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    axes.set_ylim(0, 0.08)
    axes.set_title("False alarms of the whole table")


def found(axes: Axes, rows: list[dict[str, str]], title: str) -> None:
    for at, (damage, label) in enumerate(DAMAGES.items()):
        some = [row for row in rows if row["against"] == damage]
        axes.plot(
            [int(row["N"]) * 1.03 ** (at - 2.5) for row in some],  # equal curves stay visible
            [float(row["regressed"]) for row in some],
            color=COLOURS[at],
            marker=MARKERS[at],
            markersize=3.5,
            linewidth=0.9,
            label=label,
            clip_on=False,
        )
    axes.axhline(0.95, color=INK, linestyle=DOTTED, linewidth=0.8)
    axes.set_ylim(0, 1.04)
    axes.set_title(title)


def ticks(sizes: set[int]) -> list[int]:
    """The sizes, without those whose labels would touch the next larger one's."""
    kept: list[int] = []
    for size in sorted(sizes, reverse=True):
        if not kept or kept[-1] / size > 1.5:
            kept.append(size)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("tables", nargs="+", metavar="NAME=TABLE.tsv")
    given = parser.parse_args()
    named = dict(one.split("=", 1) for one in given.tables)
    tables = {name: read(Path(path)) for name, path in named.items()}
    with drawing("icml", "two") as page:
        figure = new_figure(page, 2.4)
        left, *others = figure.subplots(1, 1 + len(tables))
        false_alarms(left, tables)
        for axes, (name, rows) in zip(others, tables.items(), strict=True):
            found(axes, rows, f"Planted damage found, {name}")
        for axes in (left, *others):
            axes.set_xscale("log")
            axes.set_xlabel("images of each model")
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.grid(visible=True, axis="y")
        left.legend(loc="upper right")
        others[-1].legend(loc="center")
        everything = [row for rows in tables.values() for row in rows]
        for axes, rows in zip((left, *others), (everything, *tables.values()), strict=True):
            axes.set_xticks(ticks({int(row["N"]) for row in rows}))
        figure.savefig(given.out, dpi=PNG_DPI)


if __name__ == "__main__":
    main()
