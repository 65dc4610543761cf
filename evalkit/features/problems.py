"""Models of a run without any usable image: none at all, or black ones only."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

from evalkit.core import IncompleteRunWarning
from evalkit.features.image_sets import ImageSet


def warn_of_problems(sets: Sequence[ImageSet]) -> None:
    """Give an IncompleteRunWarning for each model without an image that is not black."""
    for images in sets:
        if problem := _problem(images):
            warnings.warn(problem, IncompleteRunWarning, stacklevel=3)


def _problem(images: ImageSet) -> str:
    """What is wrong with a model, in one sentence; "" for nothing."""
    count = len(images.files)
    if not count and images.requested:
        return f"The model {images.model!r} gave no image: {_outcomes(images)}."
    facts = map(images.validation.of, images.files)
    if count and all(one.black for one in facts):  # most often, the first image decides
        what = "The image" if count == 1 else f"All {count:,} images"
        return f"{what} of the model {images.model!r} {'is' if count == 1 else 'are'} black."
    return ""


def _outcomes(images: ImageSet) -> str:
    """How many requests failed, and the most frequent reason."""
    failed = [record for record in images.all_records if record.status not in ("ok", "missing")]
    if not failed:
        return f"all {images.requested:,} are missing"
    text = f"{len(failed):,} of {images.requested:,} requests refused or failed"
    if images.missing:
        text += f", {len(images.missing):,} missing"
    reasons = Counter((record.detail or record.status).rstrip(".") for record in failed)
    detail, often = reasons.most_common(1)[0]
    return f"{text}, {'all' if often == len(failed) else f'{often:,} of them'} with: {detail}"
