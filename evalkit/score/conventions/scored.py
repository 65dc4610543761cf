"""The cosines of a reward model, of which its conventions are multiples.

Answers are those of `score` with the convention "cosine", and share its caches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit import plugins
from evalkit.config import Value
from evalkit.core import EvalkitError
from evalkit.features.answers import answers
from evalkit.features.image_sets import ImageSet
from evalkit.run_folder import Run
from evalkit.scorer import VALUE
from evalkit.scorers.rewards import ClipReward


class Scored(NamedTuple):
    """A reward model and its options, without the convention."""

    scorer: str
    options: tuple[tuple[str, Value], ...] = ()


class Rewards(NamedTuple):
    """The cosines of a reward model, float64 [N], and the factor of each of its conventions."""

    cosines: NDArray[np.float64]
    factors: Mapping[str, float]


def rewards(
    run: Run,
    images: ImageSet,
    texts: Sequence[str],
    source: Scored,
    device: str,
    batch_size: int,
) -> Rewards | str:
    """The cosines of images and their texts, or in words why there are none; nothing is fetched.

    Raises EvalkitError for invalid images.
    """
    scorer, given = plugins.scorer(source.scorer), {**dict(source.options), "convention": "cosine"}
    try:
        loaded = plugins.load_scorer(scorer, given, device, run.path)
    except EvalkitError as error:
        return "; ".join(filter(None, (error.message.removesuffix("."), error.hint)))
    if not isinstance(loaded, ClipReward):
        raise TypeError(f"{source.scorer} is no multiple of a cosine")
    cache = run.answers_path(images.model, loaded.name)
    label = f"{images.model}: {loaded.name}"
    found = answers(images.files, texts, loaded, cache, batch_size=batch_size, label=label)
    return Rewards(found.values[VALUE][:, 0].numpy(), loaded.factors())
