"""A metric of the same images under every known convention, and which of them a quoted value fits.

`fid.py` measures FID, `per_image.py` the means of numbers per image, of which `clip_score.py` and
`preference.py` list the conventions. `target.py` compares any of them with the quoted value.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit.core import EvalkitError
from evalkit.hints import nearest
from evalkit.score.conventions import clip_score, preference
from evalkit.score.conventions import target as targets
from evalkit.score.conventions.fid import rows_of_fid
from evalkit.score.conventions.per_image import Convention, rows_per_image
from evalkit.score.conventions.table import ConventionRow, ConventionTable
from evalkit.score.presets import expand

__all__ = ["ConventionRow", "ConventionTable", "conventions"]


class _About(NamedTuple):
    """What is said of a metric's quoted value."""

    title: str
    article: str
    lowest: float
    example: str
    otherwise: str  # what explains a value that fits no convention
    per_image: Sequence[Convention] = ()  # of a mean of numbers per image


METRICS = {
    "fid": _About(
        "FID",
        "an",
        0,
        "12.6",
        "A different number of images, or different reference images, prompts or weights",
    ),
    "clip_score": _About(
        "CLIP score",
        "a",
        -100,
        "31.2",
        "Different images, prompts or weights, or prompts cut short,",
        clip_score.CONVENTIONS,
    ),
    "pickscore": _About(
        "PickScore", "a", -1000, "22.1", "Different images or prompts", preference.PICKSCORE
    ),
}
_HPS = _About("HPS", "an", -100, "28.1", "Different images or prompts", preference.HPS)
METRICS |= {"hpsv2": _HPS, "hpsv2.1": _HPS}  # one table with both versions


def conventions(
    folder: Path | str,
    *,
    metric: str = "fid",
    reference: str | None = None,
    target: float | str | None = None,
    weights: str = "",
    device: str = "auto",
    batch_size: int = 32,
) -> ConventionTable:
    """A metric of the images of one model under each convention.

    Args:
        folder: images (a folder, zip, tar or array), a run of one model, or `RUN:LABEL`. All but
            FID need a run, or the folder of one model in a run.
        metric: `fid`, `clip_score`, `pickscore`, or `hpsv2` or `hpsv2.1` (one table of both).
        reference: for FID: real images (as `folder`), or reference statistics of some of the
            encoders `inception*`.
        target: a quoted value; a text such as "12.60" keeps its number of digits. A convention fits
            it if the difference is within half of the last digit (and `tools_differ` of the value),
            or otherwise if it lies in the convention's 95% interval over images or prompts.
        weights: a file to use in place of the pinned one; the notes then state its SHA-256. For
            CLIP score, it takes the place of the network with the same size of patches; reward
            models have their own.
        device: where the networks run.
        batch_size: images per batch; results agree up to rounding.

    Raises EvalkitError if there are no images, no weights, no reference or prompts where the metric
    needs them, several models, or no such model.
    """
    meant = expand([metric])  # "FID" and "clip-score" are understood
    name = meant[0] if len(meant) == 1 else metric
    if name not in METRICS:
        raise EvalkitError(
            f"There are no conventions of the metric {metric!r}; expected {', '.join(METRICS)}.",
            nearest(metric, METRICS) or "Name one of these with `--metric`.",
            code="score-1",
        )
    about = METRICS[name]
    quoted = None
    if target is not None:
        what = f"{about.article} {about.title}"
        quoted = targets.quoted(target, what, about.lowest, about.example)
    if weights and name in ("pickscore", "hpsv2", "hpsv2.1"):
        raise EvalkitError(
            f"{about.title} has weights of its own, and {weights} is not used.",
            "Leave `--weights` out; `evalkit weights import` takes a file from a disk.",
            code="score-2",
        )
    if not about.per_image:
        if not reference:
            raise EvalkitError(
                "FID compares with real images, and there is no reference.",
                "Give real images or reference statistics with `--reference`; or use"
                " `--metric clip_score`, which compares with the prompts.",
                code="score-3",
            )
        rows, notes = rows_of_fid(Path(folder), reference, weights, device, batch_size)
    else:
        if reference:
            raise EvalkitError(
                f"{about.title} compares with the prompts, and the reference {reference!r} is"
                " not used.",
                "Leave `--reference` out, or use `--metric fid`.",
                code="score-4",
            )
        rows, notes = rows_per_image(
            about.per_image, about.title, Path(folder), weights, device, batch_size
        )
    verdict = ""
    if quoted is not None:
        rows = [targets.compared(row, quoted) for row in rows]
        verdict = targets.verdict(rows, quoted, about.otherwise)
    return ConventionTable(name, rows, verdict, notes)
