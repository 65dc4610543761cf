"""PickScore: which image of a prompt people pick (Kirstain et al. 2023,
https://arxiv.org/abs/2305.01569).

A CLIP ViT-H/14 that was trained on choices of users, with the preprocessing of transformers. The
paper's score is the cosine times the learned scale, exp(logit_scale), which is about 100.
"""

from __future__ import annotations

from functools import partial

from evalkit.encoders.clip import Clip
from evalkit.scorer import Scorer
from evalkit.scorers.rewards import ClipReward, lacking

_NAME = "pickscore"
_FACTORS = {
    "logit": lambda scale: scale,
    "logit/26": lambda scale: scale / 26,
    "cosine": lambda scale: 1.0,
}


def load(*, convention: str = "logit", device: str = "auto") -> ClipReward:
    """PickScore v1, as "logit", "logit/26" or "cosine"."""
    return ClipReward(_NAME, "pickscore-v1", convention, _FACTORS, Clip, device)


PICKSCORE = Scorer(
    _NAME,
    "higher",
    load=load,
    title="PickScore",
    question="Which images would people pick for the prompt?",
    meaning="Preference of people for an image of its prompt, as predicted by PickScore v1.",
    paper="https://arxiv.org/abs/2305.01569",
    missing=partial(lacking, _NAME),
)
