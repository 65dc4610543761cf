"""The teachers of a dalle that learns by knowledge distillation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.models.dalle import GUIDANCE, Dalle
from evalkit.models.load import load_dalle
from evalkit.training.runtime.checkpoints import differences, tokenizer_field


@dataclass(frozen=True)
class Teachers:
    networks: Sequence[Dalle]
    guided: float  # guidance of the teachers; 1 = none
    guidance: float  # that the student needs at sampling

    @torch.no_grad()
    def logits(self, texts: Tensor, tokens: Tensor, hidden: Tensor, empty: Tensor) -> Tensor:
        """The mean of the teachers' logits, with classifier-free guidance where it is not 1.

        empty: int64 [1, T], the tokens of the empty text.
        """
        with_text = self._mean(texts, tokens, hidden)
        if self.guided == 1:
            return with_text
        without = self._mean(empty[:, : texts.shape[1]].expand(len(texts), -1), tokens, hidden)
        return torch.lerp(without, with_text, self.guided)

    def _mean(self, texts: Tensor, tokens: Tensor, hidden: Tensor) -> Tensor:
        return torch.stack([teacher(texts, tokens, hidden) for teacher in self.networks]).mean(0)


def load_teachers(
    paths: Sequence[Path], student: dict[str, Any], guided: float, device: str
) -> Teachers:
    """Trained dalles as teachers. student: the configuration of the student.

    Raises EvalkitError for a teacher with other text tokens or image tokens than the student, for a
    guided teacher that is to be guided again, and for teachers that need different guidance.
    """
    loaded, needed = [load_dalle(path) for path in paths], set[float]()
    for path, (_, config) in zip(paths, loaded, strict=True):
        fields = ("codes", "side", "pieces", "context", *tokenizer_field(config))
        if found := differences(fields, config, student):
            raise EvalkitError(
                f"The teacher {path} differs from its student in {found}.",
                "Train both on the same image tokenizer and CLIP.",
                code="training-25",
            )
        needed.add(float(config.get("guidance", GUIDANCE)))
        if guided != 1 and 1.0 in needed:
            raise EvalkitError(
                f"The teacher {path} learned from a guided teacher itself, "
                "so it cannot be guided again.",
                "Train a teacher that needs guidance (`evalkit train dalle`), or set"
                " dalle.guided=1.",
                code="training-26",
            )
    if guided == 1 and len(needed) > 1:
        raise EvalkitError(
            f"The teachers need different guidance: {', '.join(map(str, sorted(needed)))}.",
            "Name teachers that need the same guidance.",
            code="training-27",
        )
    networks = [teacher.eval().to(device) for teacher, _ in loaded]
    return Teachers(networks, guided, needed.pop() if guided == 1 else 1.0)
