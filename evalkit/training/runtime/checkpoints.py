"""Weights and training states on disk: fp16 safetensors with their configuration for users, full
states to resume from.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save
from torch import Tensor, nn

from evalkit.core import EvalkitError
from evalkit.files import write_atomically
from evalkit.models.load import FIELDS


def save_weights(path: Path, state: dict[str, Tensor], config: dict[str, Any]) -> None:
    """fp16 safetensors; the configuration that rebuilds the network travels in the header."""
    half = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in state.items()
    }
    write_atomically(path, save(half, metadata={"config": json.dumps(config)}))


def begin_with(
    network: nn.Module,
    path: Path,
    trained: nn.Module,
    theirs: dict[str, Any],
    config: dict[str, Any],
) -> None:
    """Give a network the weights of a trained one, which was read from a file; what that has not
    stays as it is. Raises EvalkitError where it is of another shape, or of another image tokenizer,
    with the fields that differ.
    """
    if found := differences((*FIELDS[config["kind"]], *tokens_of(theirs)), theirs, config):
        raise EvalkitError(
            f"{path} is of another shape: it differs in {found}.",
            "Repeat its options, or begin anew without weights.",
        )
    network.load_state_dict(network.state_dict() | trained.state_dict())


class Average:
    """Exponential moving average of a network's weights, with a warm-up of its horizon (Tero Karras
    et al. 2018).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.restart(network)

    def restart(self, network: nn.Module) -> None:
        """Begin anew with the weights as they are."""
        self.steps = 0
        self.weights = {
            name: value.detach().clone() for name, value in network.state_dict().items()
        }

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - keep)
            else:
                self.weights[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state["weights"].items():
            self.weights[name].copy_(value)
        self.steps = state["steps"]


class Parts(Protocol):
    """Whatever has a state: networks, optimisers, averages."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...


class Checkpoint:
    """A training on disk: `<model>.safetensors` for users, `<model>.pt` to go on from. Each is
    written whole or not at all.
    """

    def __init__(
        self, weights: Path, config: dict[str, Any], average: Average, **parts: Parts
    ) -> None:
        """config: what rebuilds the network, and what a resumed training must agree with. parts:
        all else that has a state.
        """
        self.weights, self.config, self.average = weights, config, average
        self._parts: dict[str, Parts] = {**parts, "average": average}

    def resume(self) -> int:
        """Put every part where the last checkpoint left it: the number of steps done, 0 where there
        is none.

        Raises EvalkitError where the file is damaged, no state of ours, or of another training,
        with the fields that differ.
        """
        path = self.weights.with_suffix(".pt")
        if not path.is_file():
            return 0
        try:
            with warnings.catch_warnings(
                action="ignore"
            ):  # of what it thinks of files that are none
                state = torch.load(path, map_location="cpu", weights_only=True)
            theirs = json.loads(state["config"])
        except (
            pickle.UnpicklingError,
            RuntimeError,
            KeyError,
            TypeError,
            ValueError,
            EOFError,
        ) as error:
            raise EvalkitError(
                f"{path} is no checkpoint of a training.", "Move it away to begin anew."
            ) from error
        if found := differences(self.config, theirs, self.config):
            raise EvalkitError(
                f"{path} is of another training: it differs in {found}.",
                "Repeat its options, or give another --out.",
            )
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        return state["step"]

    def save(self, step: int) -> None:
        save_weights(self.weights, self.average.weights, self.config | {"steps": step})
        state = {name: part.state_dict() for name, part in self._parts.items()}
        file = io.BytesIO()
        torch.save(
            state | {"step": step, "config": json.dumps(self.config)}, file
        )  # tensors and plain values: loads with weights_only
        write_atomically(self.weights.with_suffix(".pt"), file.getvalue())


def differences(names: Iterable[str], theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """The fields of two headers that differ, with both values; empty where none does. Theirs comes
    from a file, and may lack some.
    """
    ours = json.loads(json.dumps(ours))
    wrong = [name for name in names if theirs.get(name) != ours[name]]
    return ", ".join(
        f"{name} ({_short(theirs.get(name))} there, {_short(ours[name])} now)" for name in wrong
    )


def tokens_of(header: dict[str, Any]) -> list[str]:
    """The field that says whose image tokens a dalle writes, where it does: a gan writes none, and
    dalles did not always say it.
    """
    return [name for name in ("image_tokenizer",) if name in header]


def _short(value: object) -> str:
    return f"{len(value)} entries" if isinstance(value, list) and len(value) > 8 else str(value)
