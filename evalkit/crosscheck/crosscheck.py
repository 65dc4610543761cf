"""The same images through evalkit and through other tools, number by number.

Each tool works in its own convention, with the same weights, beside evalkit's encoder of that
convention. Two values agree if they differ by no more than the rounding of the other tool:

- FID: 1e-5 of |m1 - m2|^2 + tr C1 + tr C2, the terms that it subtracts from each other: features
  and means in float32, and roots of eigenvalues that should be 0.
- KID: 1e-6 of the mean kernel of a feature with itself, of both sides: sums in float32.
- Inception score: 1e-5 of its value: probabilities in float32.
"""

from __future__ import annotations

import logging
import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from evalkit.core import EvalkitError
from evalkit.crosscheck import stages
from evalkit.crosscheck.sides import one_size, open_side
from evalkit.crosscheck.tool import HUB_NAME, Features, Job, Metric, Tool, installed, quiet
from evalkit.crosscheck.tools import TOOLS
from evalkit.encoders import inception
from evalkit.encoders import weights as weight_files

log = logging.getLogger(__name__)
State = Literal["agrees", "differs", "failed", "not compared", "not installed"]


@dataclass(frozen=True)
class CrosscheckRow:
    """One metric of one tool."""

    tool: str
    version: str  # "" if it is not installed
    encoder: str  # of evalkit, whose preprocessing is that of the tool
    metric: str
    state: State
    theirs: float | None = None
    ours: float | None = None
    difference: float | None = None  # theirs - ours
    tolerance: float | None = None  # the rounding of the tool
    stage: str = ""  # the first that differs: decode, resize, features or statistics
    note: str = ""  # settings, a reason, or what differs


def crosscheck(
    folder: Path | str, *, reference: Path | str, weights: str = "", batch_size: int = 32
) -> list[CrosscheckRow]:
    """FID, KID and inception score of images by torch-fidelity, torchmetrics, pytorch-fid,
    clean-fid and evalkit.

    It runs on the CPU, with the same decoded files and the same weights in all of them. Tools that
    are not installed have a row that says so.

    Args:
        folder: images (a folder, zip, tar or array), or a run of one model.
        reference: real images (the same).
        weights: a file to use in place of the pinned one.
        batch_size: images per batch; 1 for tools that stack images, if these have several sizes.

    Raises EvalkitError if there are no images, no weights, several models, or none of the tools.
    """
    if not any(map(installed, TOOLS)):
        raise EvalkitError(
            "None of the tools to compare with can be used"
            f" ({', '.join(tool.package for tool in TOOLS)}).",
            "Run `pip install torch-fidelity pytorch-fid clean-fid`.",
            code="crosscheck-1",
        )
    network, digest = inception.load_network(device="cpu", path=weights, fetch=False)
    file = Path(weights) if weights else weight_files.obtain("inception", False)[0][1]
    rows: list[CrosscheckRow] = []
    with tempfile.TemporaryDirectory(prefix="evalkit-crosscheck-") as place:
        home = Path(place)
        fake, real = (
            open_side(Path(side), home / name)
            for side, name in ((folder, "generated"), (reference, "real"))
        )
        shared = home / "hub" / "checkpoints" / HUB_NAME
        shared.parent.mkdir(parents=True)
        # The other tools load whatever a file has; this one has tensors only.
        torch.save(weight_files.read_tensors(file), shared)
        job = Job(fake, real, shared, batch_size if one_size((fake, real)) else 1)
        for tool in TOOLS:
            encoder = inception.Inception(tool.encoder, network, digest)
            made = _rows(tool, job, encoder, batch_size)
            for row in made:
                log.info("%s, %s: %s", row.tool, row.metric, row.state)
            rows += made
    return rows


def _rows(
    tool: Tool, job: Job, encoder: inception.Inception, batch_size: int
) -> list[CrosscheckRow]:
    found, metrics = installed(tool), tool.metrics(job)
    blank = [
        CrosscheckRow(tool.package, found, tool.encoder, one.name, "not compared", note=one.note)
        for one in metrics
    ]
    if not found:
        needs = "torch-fidelity" if tool.package == "torchmetrics" else tool.package
        note = f"pip install {needs}"
        return [replace(row, state="not installed", note=note) for row in blank]
    unread = (job.fake.suffixes | job.real.suffixes) - tool.formats if tool.formats else set()
    if unread:
        note = f"it does not read {', '.join(sorted(unread))} files"
        return [replace(row, note=note) for row in blank]
    fake, real = (side.features(encoder, batch_size) for side in (job.fake, job.real))
    wanted = [one.name for one in metrics if not one.why_not]
    try:
        with quiet(job.weights):
            values = tool.measure(job, wanted)
    except Exception as error:  # of another tool, in a version of its own
        note = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return [replace(row, state="failed", note=note) for row in blank]
    rows = [
        _compared(row, one, values[one.name], fake, real)
        if one.name in values
        else replace(row, note=one.why_not)
        for row, one in zip(blank, metrics, strict=True)
    ]
    if any(row.state == "differs" for row in rows):
        stage, note = _first_difference(tool, job, encoder)
        rows = [
            replace(row, stage=stage, note=note) if row.state == "differs" else row for row in rows
        ]
    return rows


def _compared(
    row: CrosscheckRow, metric: Metric, theirs: float, fake: Features, real: Features
) -> CrosscheckRow:
    if not math.isfinite(theirs):
        return replace(row, state="failed", note=f"its value is {theirs}")
    ours = float(metric.ours(fake, real))
    difference, tolerance = theirs - ours, _TOLERANCES[metric.name](fake, real, ours)
    state: State = "agrees" if abs(difference) <= tolerance else "differs"
    return replace(
        row, state=state, theirs=theirs, ours=ours, difference=difference, tolerance=tolerance
    )


def _first_difference(tool: Tool, job: Job, encoder: inception.Inception) -> tuple[str, str]:
    """The first stage that differs on the first images of both sides."""
    files = [path for side in (job.fake, job.real) for path in side.files[: stages.FIRST]]
    names = [
        str(image.path) for side in (job.fake, job.real) for image in side.images[: stages.FIRST]
    ]
    try:
        with quiet(job.weights):
            theirs = tool.trace(files, job.weights)
    except Exception as error:  # of another tool, in a version of its own
        return "", f"its stages cannot be read ({type(error).__name__})"
    return stages.first_difference(theirs, files, names, encoder)


# --- the rounding of the tools ---
def _fid_tolerance(fake: Features, real: Features, value: float) -> float:
    x, y = fake["pool"].double(), real["pool"].double()
    apart = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    return 1e-5 * float(apart + x.var(dim=0).sum() + y.var(dim=0).sum())


def _kid_tolerance(fake: Features, real: Features, value: float) -> float:
    sides = (fake["pool"].double(), real["pool"].double())
    kernels = [(x.square().mean(dim=1) + 1).pow(3).mean() for x in sides]
    return 1e-6 * float(sum(kernels))


def _score_tolerance(fake: Features, real: Features, value: float) -> float:
    return 1e-5 * value


_TOLERANCES = {
    "fid": _fid_tolerance,
    "kid": _kid_tolerance,
    "inception_score": _score_tolerance,
}
