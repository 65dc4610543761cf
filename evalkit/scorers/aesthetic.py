"""The aesthetic score of LAION: how much people like the look of an image, of about 1 to 10.

Version 2, `sac+logos+ava1-l14-linearMSE` (https://github.com/christophschuhmann/
improved-aesthetic-predictor): five linear layers on the unit feature of CLIP ViT-L/14, with the
preprocessing of OpenAI's code. There is no activation between the layers, so they are one map.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import normalize

from evalkit.encoders import clip_model
from evalkit.encoders.clip import PaperClip
from evalkit.encoders.weights import read_tensors
from evalkit.scorer import Scorer
from evalkit.scorers.rewards import Reward, affine, lacking

_NAME = "aesthetic"


class Aesthetic(Reward):
    """The score of an image; prompts are not read."""

    def __init__(self, *, device: str = "auto") -> None:
        super().__init__(_NAME, "aesthetic-v2", f"{PaperClip.preprocessing}/unit", device)

    @cached_property
    def _head(self) -> tuple[Tensor, Tensor]:
        return affine(read_tensors(self.files[0]))

    @cached_property
    def _clip(self) -> PaperClip:
        return PaperClip(self.name, clip_model.read_state(self.files[1]), str(self.device))

    def rewards(self, images: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        pool = self._clip(torch.stack([self._clip.prepare(image) for image in images]))[
            "pool"
        ].cpu()
        weight, bias = self._head
        return normalize(pool.double()) @ weight + bias


AESTHETIC = Scorer(
    _NAME,
    "higher",
    load=Aesthetic,
    title="Aesthetic score",
    question="How much do people like the look of the images?",
    meaning="Rating of an image's look, of about 1 to 10, as predicted from CLIP features.",
    paper="https://arxiv.org/abs/2210.08402",
    aspect="fidelity",
    reads_prompts=False,
    missing=partial(lacking, _NAME),
)
