"""Weights and training states on disk.

Weights are fp16 safetensors with their configuration, for users. Full states are for resuming.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from evalkit.core import EvalkitError
from evalkit.files import write_atomically
from evalkit.models.load import FIELDS

Network = TypeVar("Network", bound=nn.Module)
Tensors = list[Tensor] | tuple[Tensor, ...]


def save_weights(path: Path, state: dict[str, Tensor], config: dict[str, Any]) -> None:
    """fp16 safetensors; the configuration that rebuilds the network is in the header."""
    half = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in state.items()
    }
    write_atomically(path, save(half, metadata={"config": json.dumps(config)}))


def initialise_from(
    network: nn.Module,
    path: Path,
    trained: nn.Module,
    theirs: dict[str, Any],
    config: dict[str, Any],
) -> None:
    """Copy the weights of a trained network, which was read from a file, into another.

    Weights that the trained one lacks stay. Raises EvalkitError, with the fields that differ, for
    another shape or another image tokenizer.
    """
    if found := differences((*FIELDS[config["kind"]], *tokenizer_field(theirs)), theirs, config):
        raise EvalkitError(
            f"{path} has another shape: it differs in {found}.",
            "Repeat its options, or start over without weights.",
            code="training-37",
        )
    network.load_state_dict(network.state_dict() | trained.state_dict())


class MovingAverage(AveragedModel, Generic[Network]):
    """Exponential moving average of weights, with a warm-up of its horizon (Karras et al. 2018)."""

    module: Network  # the network with the averaged weights

    def __init__(self, network: Network, decay: float) -> None:
        super().__init__(network, multi_avg_fn=self._average, use_buffers=True)
        self.decay = decay
        self.restart(network)

    def _average(self, averaged: Tensors, current: Tensors, _: object) -> None:
        updates = int(self.n_averaged)  # on the CPU, so that nothing waits for the accelerator
        keep = min(self.decay, (1 + updates) / (10 + updates))
        for average, value in zip(averaged, current, strict=True):
            if value.is_floating_point():
                average.lerp_(value, 1 - keep)
            else:
                average.copy_(value)

    def restart(self, network: Network) -> None:
        """Forget the past: start from the current weights."""
        self.n_averaged.zero_()
        self.update_parameters(network)  # the first update copies


class Stateful(Protocol):
    """A network, an optimiser or an average."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...


class Checkpoint:
    """A training on disk: `<model>.safetensors` for users, `<model>.pt` for resuming.

    Each file is written atomically.
    """

    def __init__(
        self,
        weights: Path,
        config: dict[str, Any],
        average: MovingAverage[Any],
        **parts: Stateful,
    ) -> None:
        """config: rebuilds the network; a resumed training must agree with it.

        parts: everything else that has a state.
        """
        self.weights, self.config, self.average = weights, config, average
        self._parts: dict[str, Stateful] = {**parts, "average": average}

    def resume(self) -> int:
        """Load the last checkpoint into every part; the number of steps done, 0 without checkpoint.

        Raises EvalkitError where the file is damaged, is not a checkpoint, or belongs to another
        training, with the fields that differ.
        """
        path = self.weights.with_suffix(".pt")
        if not path.is_file():
            return 0
        try:
            with warnings.catch_warnings(action="ignore"):  # torch warns about foreign files
                state = torch.load(path, map_location="cpu", weights_only=True)
            theirs = json.loads(state["config"])
            states, step = {name: state[name] for name in self._parts}, state["step"]
        except (
            pickle.UnpicklingError,
            RuntimeError,
            KeyError,
            TypeError,
            ValueError,
            EOFError,
        ) as error:
            raise EvalkitError(
                f"{path} is not a training checkpoint.",
                "Move it to start over.",
                code="training-38",
            ) from error
        if found := differences(self.config, theirs, self.config):
            raise EvalkitError(
                f"{path} belongs to another training: it differs in {found}.",
                "Repeat its options, or give another --out.",
                code="training-39",
            )
        for name, part in self._parts.items():
            part.load_state_dict(states[name])
        return step

    def save(self, step: int) -> None:
        save_weights(self.weights, self.average.module.state_dict(), self.config | {"steps": step})
        state = {name: part.state_dict() for name, part in self._parts.items()}
        file = io.BytesIO()
        # Tensors and plain values only, so that it loads with weights_only.
        torch.save(state | {"step": step, "config": json.dumps(self.config)}, file)
        write_atomically(self.weights.with_suffix(".pt"), file.getvalue())


def differences(names: Iterable[str], theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """The fields of two headers that differ, with both values; empty without differences.

    theirs: from a file; it may lack fields.
    """
    ours = json.loads(json.dumps(ours))
    wrong = [name for name in names if theirs.get(name) != ours[name]]
    return ", ".join(
        f"{name} ({_short(theirs.get(name))} there, {_short(ours[name])} now)" for name in wrong
    )


def tokenizer_field(header: dict[str, Any]) -> list[str]:
    """The header field that identifies the image tokenizer; gans and older dalles have none."""
    return [name for name in ("image_tokenizer",) if name in header]


def _short(value: object) -> str:
    return f"{len(value)} entries" if isinstance(value, list) and len(value) > 8 else str(value)
