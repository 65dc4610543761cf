"""The class, precision, arguments and device of a diffusers pipeline, checked."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from evalkit.core import EvalkitError
from evalkit.generators.pipeline_files import quiet

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_OTHER_MEDIA = {
    "num_frames",
    "audio_length_in_s",
    "audio_end_in_s",
    "audio_duration",
    "audio_duration_in_s",
}


def check_installed() -> None:
    missing = [
        name
        for name in ("diffusers", "transformers", "accelerate")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise EvalkitError(
            f"The generator 'diffusers' needs packages that are not installed:"
            f" {', '.join(missing)}.",
            "Type in the clone of evalkit: `pip install '.[diffusers]'`.",
            code="generators-49",
        )


def dtype_of(name: str, device: str, unet: bool) -> torch.dtype:
    """auto: fp32 on the CPU, else the precision that the family of models was trained in."""
    if name != "auto":
        return DTYPES[name]
    if device == "cpu":
        return torch.float32
    if unet:
        return torch.float16
    has_bf16 = not device.startswith("cuda") or torch.cuda.is_bf16_supported()
    return torch.bfloat16 if has_bf16 else torch.float32


def loader_of(name: str, folder: Path) -> Any:
    """The class that loads the folder: its own, or the text-to-image class of the same parts."""
    import diffusers

    with quiet():
        found = getattr(diffusers, name, None)
    if found is None:
        raise EvalkitError(
            f"{folder} is a {name}, which diffusers {diffusers.__version__} does not have.",
            "Try a newer version of diffusers.",
            code="generators-50",
        )
    parameters = inspect.signature(found.__call__).parameters
    if "prompt" not in parameters or _OTHER_MEDIA & set(parameters):
        raise EvalkitError(
            f"{folder} is a {name}, which does not make images from text.",
            "Name a text-to-image pipeline.",
            code="generators-51",
        )
    if "image" not in parameters:
        return found
    from diffusers.pipelines.auto_pipeline import (
        AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
        AutoPipelineForText2Image,
        _get_task_class,
    )

    mapping = AUTO_TEXT2IMAGE_PIPELINES_MAPPING
    if _get_task_class(mapping, name, throw_error_if_not_exist=False) is None:
        raise EvalkitError(
            f"{folder} is a {name}, which does not make images from text alone.",
            "Name a text-to-image pipeline.",
            code="generators-52",
        )
    return AutoPipelineForText2Image


def check_arguments(pipeline: Any, arguments: Mapping[str, object], batch: int) -> None:
    parameters = inspect.signature(pipeline.__call__).parameters
    for name in arguments:
        if name not in parameters:
            raise EvalkitError(
                f"{type(pipeline).__name__} does not take {name}.",
                "Leave that option out.",
                code="generators-53",
            )
    if "generator" not in parameters or (
        batch > 1 and "list" not in str(parameters["generator"].annotation).lower()
    ):
        raise EvalkitError(
            f"{type(pipeline).__name__} does not take a seed for each image of a batch.",
            "Use `--set MODEL.batch=1`.",
            code="generators-54",
        )


def place_on(pipeline: Any, device: str, offload: bool, compiled: bool) -> None:
    pipeline.set_progress_bar_config(disable=True)
    if offload and device == "cpu":
        raise EvalkitError(
            "The option offload needs an accelerator, and the device is cpu.",
            "Leave it out.",
            code="generators-55",
        )
    if offload:
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.to(device)
    if compiled:
        for name in ("unet", "transformer"):
            if getattr(pipeline, name, None) is not None:
                getattr(pipeline, name).compile()
