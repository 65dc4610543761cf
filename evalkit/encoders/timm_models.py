"""Any image model of the library timm as an encoder: `timm:resnet50.a1_in1k`.

Preprocessing is that of the model's own configuration. Needs the extra `timm`.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from evalkit.core import EncoderKind, EvalkitError, Precision
from evalkit.encoders.inputs import in_its_precision, moved
from evalkit.models.load import device_of, hash_tensors
from evalkit.terminal import hub_bars


class TimmModel:
    """Image to "pool" (the features before the classes) and, with classes, "logits"."""

    kind: EncoderKind = "inception"
    precision: Precision = "exact"

    def __init__(self, network: nn.Module, model: str, device: str = "cpu") -> None:
        from timm.data.config import resolve_data_config
        from timm.data.transforms_factory import create_transform

        config: dict[str, Any] = resolve_data_config({}, model=network)
        self.name = "timm-" + "".join(c if c.isalnum() or c in "._-" else "-" for c in model)
        self.device = torch.device(device)
        self.network: Any = network.to(self.device).eval().requires_grad_(False)
        if self.device.type == "cuda":  # faster, and features change by rounding only
            self.network.to(memory_format=torch.channels_last)
        self._transform: Any = create_transform(**config, is_training=False)
        start = json.dumps(config, sort_keys=True).encode()
        self.fingerprint = f"{self.name}/{hash_tensors(network.state_dict(), start)[:16]}"

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> float32 [3, S, S], as the model's configuration states."""
        return self._transform(image)

    @in_its_precision
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """float32 [N, 3, S, S] -> "pool" float32 [N, D], "logits" [N, classes], on its device."""
        features = self.network.forward_features(moved(images, self.device))
        found = {"pool": self.network.forward_head(features, pre_logits=True).float()}
        if self.network.num_classes:
            found["logits"] = self.network.forward_head(features).float()
        return found


def load(*, model: str, device: str = "auto") -> TimmModel:
    """A pretrained model of timm, `timm:NAME`, from its cache or the hub.

    Args:
        model: a name of `timm.list_pretrained()`.

    Raises:
        EvalkitError: timm is missing, does not know the model, or cannot get its weights.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise EvalkitError(
            f"The encoder 'timm:{model}' needs timm, which is not installed.",
            "Type in the clone of evalkit: `pip install '.[timm]'`.",
            code="encoders-27",
        ) from error
    try:
        with hub_bars():
            network = timm.create_model(model, pretrained=True)
    except Exception as error:  # several libraries raise their own
        reason = str(error).strip().partition("\n")[0]
        raise EvalkitError(
            f"timm cannot load {model!r} with its weights: {reason:.200}",
            "See `timm.list_pretrained()` in Python for names; weights need a network or a filled"
            " cache.",
            code="encoders-28",
        ) from error
    return TimmModel(network, model, device_of(device))
