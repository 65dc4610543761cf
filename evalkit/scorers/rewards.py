"""What reward models share: pinned weights, conventions, and a network that is loaded late.

A reward model is a network with one number for an image and its prompt. Published numbers differ in
their scale, so the convention is part of the scorer's name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.encoders import clip_model, weights
from evalkit.encoders.clip import Clip
from evalkit.encoders.inputs import exact
from evalkit.hints import nearest
from evalkit.models.load import device_of


class Reward(ABC):
    """A reward model. Its network is loaded at the first call: kept answers need none in memory."""

    def __init__(self, scorer: str, name: str, recipe: str, device: str) -> None:
        """
        Args:
            scorer: the name of its weights (`evalkit weights list`).
            name: states the version and the convention.
            recipe: what else an answer depends on: preprocessing and convention.

        Raises EvalkitError where weights are missing or damaged.
        """
        found = weights.obtain(scorer, fetch_missing=False)
        self.name = name
        self.files = [path for _, path in found]
        self.device = torch.device(device_of(device))
        self.fingerprint = "/".join([*(item.sha256[:16] for item, _ in found), recipe])

    def __call__(self, images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
        """RGB images of any size and their prompts -> a number for each pair."""
        with exact():
            return self.rewards(images, prompts).double().tolist()

    @abstractmethod
    def rewards(self, images: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        """The numbers, [N]."""


class ClipReward(Reward):
    """The cosine of an image and its prompt in a CLIP ViT-H/14 that was trained on preferences."""

    def __init__(
        self,
        scorer: str,
        version: str,
        convention: str,
        factors: Mapping[str, Callable[[float], float]],
        encoder: type[Clip],
        device: str,
    ) -> None:
        """
        Args:
            factors: by convention what the cosine is multiplied by, given exp(logit_scale).
            encoder: states the preprocessing.

        Raises EvalkitError for an unknown convention, and where weights are missing or damaged.
        """
        if convention not in factors:
            raise EvalkitError(
                f"{scorer} has no convention {convention!r}; expected {' or '.join(factors)}.",
                nearest(convention, factors)
                or f"Change it with `--set {scorer}.convention={next(iter(factors))}`.",
                code="scorers-53",
            )
        name = f"{version}-{convention.replace('/', '-')}"
        super().__init__(scorer, name, f"{encoder.preprocessing}/{convention}", device)
        self._factor, self._factors, self._encoder = factors[convention], factors, encoder

    @cached_property
    def _clip(self) -> Clip:
        state = clip_model.read_state(self.files[0])
        return self._encoder(self.name, state, str(self.device), activation="gelu", image_head=80)

    @cached_property
    def _tokenizer(self) -> Any:
        return clip_model.tokenizer()

    def rewards(self, images: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        clip = self._clip
        pool = clip(torch.stack([clip.prepare(image) for image in images]))["pool"].cpu()
        scale = clip.model.logit_scale.exp().item()
        return self._factor(scale) * torch.cosine_similarity(pool, clip.text(prompts))

    def factors(self) -> dict[str, float]:
        """By convention what the cosine is multiplied by; this loads the network."""
        scale = self._clip.model.logit_scale.exp().item()
        return {name: factor(scale) for name, factor in self._factors.items()}

    def truncated(self, prompts: Sequence[str]) -> int:
        """The number of prompts that are longer than the context of 77 tokens."""
        rows = clip_model.tokens(self._tokenizer, prompts)
        return sum(len(row) > clip_model.CONTEXT for row in rows)


def lacking(scorer: str) -> str:
    """What this machine lacks for a scorer, and how to get it; "" for nothing."""
    gone = weights.missing(scorer)
    size = sum(item.size for item in gone) / 1e6
    return f"{weights.how_to_get(scorer)} ({size:,.0f} MB)" if gone else ""


def affine(state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Linear layers without activations between them as one map: float64 [D] and [].

    state: "layers.N.weight" and "layers.N.bias", where N grows from the input to the one output.
    Layers of dropout, which have no weights and do nothing here, leave gaps.
    """
    numbers = sorted({int(name.split(".")[1]) for name in state})
    weight, bias = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for number in reversed(numbers):
        bias = bias + weight @ state[f"layers.{number}.bias"].double()
        weight = weight @ state[f"layers.{number}.weight"].double()
    return weight[0], bias[0]
