"""The rules of GenEval: detected objects and a task to right or wrong, with the reasons.

They are those of evaluation/evaluate_images.py of djghosh13/geneval, with its defaults: objects
above a threshold, the best 16 of each class, and no suppression of overlapping ones (its
`max_overlap` of 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.scorers.geneval.task import Clause, Task

VERSION = "1"  # part of the fingerprint: increases whenever an answer changes
THRESHOLD, COUNTING_THRESHOLD = 0.3, 0.9  # of the scores of Mask2Former
_MOST = 16  # objects of a class
_MARGIN = 0.1  # of the widths or heights of two objects, by which their centres must differ


class Found(NamedTuple):
    """A detected object of one class."""

    box: tuple[float, float, float, float]  # left, upper, right, lower, in pixels
    score: float  # 0..1
    mask: NDArray[np.bool_] | None = None  # [H, W] of the image
    colour: str = ""  # where the detector knows it


Objects = Mapping[str, Sequence[Found]]  # by class
ColoursOf = Callable[[Sequence[Found], str], list[str]]  # objects of a class -> their colours


def kept(found: Objects, threshold: float) -> dict[str, list[Found]]:
    """The objects that count, best first: those with a score above the threshold."""
    return {
        name: sorted((one for one in some if one.score > threshold), key=lambda one: -one.score)[
            :_MOST
        ]
        for name, some in found.items()
    }


def faults(task: Task, found: Objects, colours_of: ColoursOf) -> list[str]:
    """What is wrong with an image, in words; [] where it shows what its prompt asks for.

    Only as many objects of a class as a clause asks for are looked at, the best ones.

    Args:
        found: as `kept` returns them.
        colours_of: called where a clause names a colour.
    """
    wrong: list[str] = []
    targets: Sequence[Found] | None = None  # the objects of the first clause, if it holds
    for place, clause in enumerate(task.include):
        objects = found.get(clause.name, ())[: clause.count]
        fault = _fault(clause, objects, targets, colours_of)
        wrong += [fault] if fault else []
        if place == 0 and not fault:
            targets = objects
    for clause in task.exclude:
        count = len(found.get(clause.name, ()))
        if count >= clause.count:
            wrong.append(f"{clause.name}: expected fewer than {clause.count}, found {count}")
    return wrong


def _fault(
    clause: Clause, objects: Sequence[Found], targets: Sequence[Found] | None, colours_of: ColoursOf
) -> str:
    """What of a clause does not hold; "" where all does."""
    name, count = clause.name, clause.count
    if len(objects) < count:
        return f"{name}: expected {count} or more, found {len(objects)}"
    if clause.colour:
        colours = colours_of(objects, name)
        if colours.count(clause.colour) < count:
            return f"{name}: expected {clause.colour}, found {', '.join(colours)}"
    if clause.position:
        if targets is None:
            return f"{name}: there is nothing that it could be {clause.position}"
        for one in objects:
            for target in targets:
                stands = relations(one.box, target.box)
                if clause.position not in stands:
                    found = " and ".join(sorted(stands)) or "near its place"
                    return f"{name}: expected {clause.position} the target, found {found}"
    return ""


def relations(one: Sequence[float], other: Sequence[float]) -> set[str]:
    """Where a box stands relative to another: none, one or two of POSITIONS.

    The offset of the centres is shortened by a tenth of both widths and heights. What is left, as a
    share of the whole offset, must be above one half.
    """
    shares = []
    offset = [(one[k] + one[k + 2] - other[k] - other[k + 2]) / 2 for k in (0, 1)]
    for k in (0, 1):
        sides = abs(one[k + 2] - one[k]) + abs(other[k + 2] - other[k])
        left = max(abs(offset[k]) - _MARGIN * sides, 0)
        shares.append(math.copysign(left, offset[k]))
    if max(map(abs, shares)) < 1e-3:  # pixels
        return set()
    across, down = (share / math.hypot(*offset) for share in shares)
    stated = {
        "left of": across < -0.5,
        "right of": across > 0.5,
        "above": down < -0.5,
        "below": down > 0.5,
    }
    return {name for name, holds in stated.items() if holds}
