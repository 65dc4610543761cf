"""What every tool of a crosscheck has: metrics, values, and stages to look into."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from evalkit.crosscheck.sides import Side

HUB_NAME = "pt_inception-2015-12-05-6726825d.pth"  # of pytorch-fid and clean-fid

Features = Mapping[str, Tensor]  # "pool" and "logits", float32 [N, D]


class Job(NamedTuple):
    """What every tool is asked for."""

    fake: Side
    real: Side
    weights: Path  # a file HUB_NAME in hub/checkpoints
    batch_size: int  # 1 if the images have several sizes

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.fake.files), len(self.real.files)


class Trace(NamedTuple):
    """The stages of some images in a tool."""

    pixels: list[Tensor]  # decoded, uint8 [3, H, W] each; empty if the tool does not decode
    inputs: Tensor  # of the network, float32 [N, 3, 299, 299]
    features: Tensor  # float32 [N, 2048]


@dataclass(frozen=True)
class Metric:
    """A metric that a tool and evalkit compute with the same settings."""

    name: str
    ours: Callable[[Features, Features], Tensor]  # of the generated and the real images
    note: str = ""  # the settings, where they are not the defaults of both
    why_not: str = ""  # why the two cannot have the same settings


class Tool(Protocol):
    """One tool in its own convention."""

    package: str
    encoder: str  # of evalkit, with the same convention
    formats: frozenset[str]  # suffixes that it reads; empty for all

    def metrics(self, job: Job) -> list[Metric]: ...

    def measure(self, job: Job, wanted: Sequence[str]) -> dict[str, float]:
        """The values of the named metrics."""
        ...

    def trace(self, files: Sequence[Path], weights: Path) -> Trace: ...


def installed(tool: Tool) -> str:
    """The version of a tool, "" if it or the torch-fidelity that it needs is not installed."""
    try:
        version("torch-fidelity" if tool.package == "torchmetrics" else tool.package)
        return version(tool.package)
    except PackageNotFoundError:
        return ""


@contextlib.contextmanager
def quiet(weights: Path) -> Iterator[None]:
    """Without the prints and warnings of a tool; torch.hub finds the weights beside `weights`."""
    before, silent = torch.hub.get_dir(), io.StringIO()
    torch.hub.set_dir(weights.parents[1])
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stdout(silent),
            contextlib.redirect_stderr(silent),
            torch.no_grad(),
        ):
            yield
    finally:
        torch.hub.set_dir(before)


def traced(
    pixels: list[Tensor],
    images: Sequence[Tensor],
    network: torch.nn.Module,
    encode: Callable[[Tensor], Tensor],
) -> Trace:
    """What the first convolution of a network is given for each image, and the features."""
    inputs: list[Tensor] = []
    first = next(part for part in network.modules() if isinstance(part, torch.nn.Conv2d))
    handle = first.register_forward_pre_hook(lambda module, given: inputs.append(given[0].clone()))
    features = [encode(image).flatten(1) for image in images]
    handle.remove()
    return Trace(pixels, torch.cat(inputs), torch.cat(features))
