"""Weights and training states on disk: fp16 safetensors with their configuration for users, full states to resume from."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from evalkit.run_folder import write_atomically


def save_weights(path: Path, state: dict[str, Tensor], config: dict[str, Any]) -> None:
    """fp16 safetensors; the configuration that rebuilds the network travels in the header."""
    half = {name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in state.items()}
    write_atomically(path, save(half, metadata={"config": json.dumps(config)}))


def save_state(path: Path, state: dict[str, Any]) -> None:
    """A training state: tensors and plain values only, so that it loads with weights_only."""
    file = io.BytesIO()
    torch.save(state, file)
    write_atomically(path, file.getvalue())


def load_state(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)


class Average:
    """Exponential moving average of a network's weights, with a warm-up of its horizon (Tero Karras et al. 2018)."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - keep)
            else:
                self.weights[name].copy_(value)
