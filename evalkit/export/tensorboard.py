"""TensorBoard: scalars and the report as text, in `tensorboard/` of the run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.utils.tensorboard.writer import SummaryWriter

from evalkit.files import plain_name


class TensorBoard:
    """The tracker `tensorboard`. Files stay where they are: an event file holds none."""

    def __init__(self, *, folder: Path, name: str) -> None:
        self._place = folder / "tensorboard" / plain_name(name)

    def log(self, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        with SummaryWriter(str(self._place)) as writer:
            for name, value in metrics.items():
                writer.add_scalar(name, value)
            for path in files:
                if path.name == "report.md":
                    writer.add_text("report", path.read_text(encoding="utf-8"))
