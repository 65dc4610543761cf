"""Any text-to-image pipeline of the diffusers library, by folder or hub name.

Every image has its own torch.Generator on the CPU, so its noise is the same on every device and at
every position of a batch. All 54 text-to-image pipelines of diffusers 0.42 take a list of
generators. Images are always made in batches of `batch`, filled up with empty prompts: the shapes
of the arithmetic, and therefore the image, do not depend on the number of images requested
together. Another `batch` changes an image only by floating-point rounding; `batch=1` gives the
images of the library itself. A few pipelines pad the prompts of a batch to the longest one
(CogView4, Qwen-Image): with `batch` > 1 their images depend on the rest of the batch by rounding.

Needs the extra `diffusers`.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from PIL import Image as PILImage
from PIL.Image import Image

from evalkit.core import EvalkitError, Refusal
from evalkit.generators.pipeline_files import (
    find_pipeline,
    first_sentence,
    hash_pipeline,
    quiet,
    read_index,
    refuse_pickles,
)
from evalkit.generators.pipeline_setup import (
    DTYPES,
    check_arguments,
    check_installed,
    dtype_of,
    loader_of,
    place_on,
)
from evalkit.models.load import device_name, device_of

_PARAMETERS = {  # option -> parameter of a call in the library
    "steps": "num_inference_steps",
    "guidance": "guidance_scale",
    "height": "height",
    "width": "width",
}


@dataclass(frozen=True)
class Pipeline:
    """A loaded pipeline as a generator."""

    pipeline: Any  # diffusers.DiffusionPipeline
    arguments: Mapping[str, object]  # of every call, by the library's names
    batch: int
    device: str
    fingerprint: str
    dtype: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as used, with the pipeline's own defaults."""
        parameters = inspect.signature(self.pipeline.__call__).parameters
        defaults = {name: one.default for name, one in parameters.items()}
        found: dict[str, Any] = {"device": device_name(self.device), "dtype": self.dtype}
        for name, parameter in _PARAMETERS.items():
            value = self.arguments.get(parameter, defaults.get(parameter))
            if isinstance(value, int | float):
                found[name] = value
        scheduler = getattr(self.pipeline, "scheduler", None)
        return found | ({} if scheduler is None else {"scheduler": type(scheduler).__name__})

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image | Refusal]:
        result: list[Image | Refusal] = []
        for start in range(0, len(prompts), self.batch):
            texts = list(prompts[start : start + self.batch])
            batch_seeds = list(seeds[start : start + self.batch])
            missing = self.batch - len(texts)
            with quiet(), _one_sentence(self.batch):
                images = self._draw(texts + [""] * missing, batch_seeds + [0] * missing)
                notes = [_note(self.pipeline, text) for text in texts]
            images = images[: len(texts)]
            for image, note in zip(images, notes, strict=True):
                if note and isinstance(image, Image):
                    image.info["note"] = note
            result += images
        return result

    def peak_memory(self) -> int:
        """Bytes: of the accelerator since loading, or without one the memory of this process."""
        if self.device.startswith("cuda"):
            return torch.cuda.max_memory_allocated(self.device)
        return _peak_resident()

    def _draw(self, prompts: list[str], seeds: list[int]) -> list[Image | Refusal]:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        made = self.pipeline(
            prompt=prompts, generator=generators, output_type="np", **self.arguments
        )
        images = getattr(made, "images", None)
        if images is None or len(images) != len(prompts):
            raise EvalkitError(
                f"{type(self.pipeline).__name__} did not return an image for each prompt.",
                "Name a text-to-image pipeline.",
                code="generators-9",
            )
        wanted = self.arguments.get("height"), self.arguments.get("width")
        if isinstance(images, numpy.ndarray) and wanted[0] and images.shape[1:3] != wanted:
            raise EvalkitError(
                f"{type(self.pipeline).__name__} returned {images.shape[2]} x {images.shape[1]} "
                f"pixels; expected {wanted[1]} x {wanted[0]}.",
                "Choose a width and height that it supports.",
                code="generators-10",
            )
        unsafe = (
            getattr(made, "nsfw_content_detected", None)
            or getattr(made, "nsfw_detected", None)
            or [False] * len(images)
        )
        return [_checked(image, bool(flag)) for image, flag in zip(images, unsafe, strict=True)]


def load(
    *,
    model: str,
    device: str = "auto",
    dtype: str = "auto",
    steps: int | None = None,
    guidance: float | None = None,
    height: int | None = None,
    width: int | None = None,
    negative_prompt: str = "",
    batch: int = 1,
    variant: str = "",
    revision: str = "",
    compile: bool = False,
    offload: bool = False,
) -> Pipeline:
    """Any text-to-image pipeline of the diffusers library, from safetensors only.

    Code in the folder or repository of the model is never run.

    Args:
        model: a folder with a model_index.json, or a name on the hub; a model in the hub's cache
            needs no network.
        device: auto, cpu, cuda, cuda:N, mps or xpu.
        dtype: fp32, bf16, fp16, or auto: on an accelerator fp16 for U-Nets and bf16 for
            transformers, else fp32.
        steps: denoising steps; default: the pipeline's. Distilled models need their own value:
            SDXL-Turbo steps=1, guidance=0.
        guidance: scale of classifier-free guidance; default: the pipeline's.
        height: pixels, with `width`; default: the pipeline's.
        width: pixels.
        negative_prompt: what the image should not show.
        batch: images made together, filled up with empty prompts; more are faster on an accelerator
            and need more memory.
        variant: of the weight files, such as fp16.
        revision: branch, tag or commit on the hub.
        compile: compile the denoiser: the first image takes minutes, later ones are faster.
        offload: keep only the part that computes on the accelerator (slower, less memory).
    """
    check_installed()
    _check_options(dtype, steps=steps, height=height, width=width, batch=batch, guidance=guidance)
    where = device_of(device)
    folder, name = find_pipeline(model, revision, variant)
    index = read_index(folder)
    torch_dtype = dtype_of(dtype, where, "unet" in index)
    refuse_pickles(folder, index)
    loader = loader_of(str(index.get("_class_name")), folder)
    given = {"steps": steps, "guidance": guidance, "height": height, "width": width}
    arguments: dict[str, object] = {
        _PARAMETERS[name]: value for name, value in given.items() if value is not None
    }
    arguments |= {"negative_prompt": [negative_prompt] * batch} if negative_prompt else {}
    identity = name or hash_pipeline(folder)
    with quiet(), _one_sentence(batch):
        extra = {"variant": variant} if variant else {}
        pipeline = loader.from_pretrained(
            str(folder), dtype=torch_dtype, use_safetensors=True, local_files_only=True, **extra
        )
    check_arguments(pipeline, arguments, batch)
    if where.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(where)
    with quiet(), _one_sentence(batch):
        place_on(pipeline, where, offload, compile)
    identity = json.dumps([identity, arguments, batch, str(torch_dtype), variant])
    digest = hashlib.sha256(identity.encode()).hexdigest()
    dtype_name = str(torch_dtype).removeprefix("torch.")
    return Pipeline(pipeline, arguments, batch, where, f"sha256:{digest[:16]}", dtype_name)


def _check_options(dtype: str, **numbers: float | None) -> None:
    for name, value in numbers.items():
        low = 0 if name == "guidance" else 1
        if value is not None and value < low:
            raise EvalkitError(
                f"The option {name} is {value}; expected at least {low}.",
                "Change it with --set or in the configuration.",
                code="generators-11",
            )
    if (numbers["height"] is None) != (numbers["width"] is None):
        raise EvalkitError(
            "Only one of the options height and width is set; expected both or none.",
            "Set both with --set.",
            code="generators-12",
        )
    if dtype not in ("auto", *DTYPES):
        raise EvalkitError(
            f"The option dtype is {dtype!r}; expected auto, fp32, bf16 or fp16.",
            "Change it with --set or in the configuration.",
            code="generators-13",
        )


def _checked(image: Any, unsafe: bool) -> Image | Refusal:
    """Floats [H, W, 3] in 0..1 as an image. Blanked and NaN images are refusals, never scored."""
    if unsafe:
        return Refusal("refused_output", "the pipeline's safety checker blanked the image")
    if not isinstance(image, numpy.ndarray):  # some pipelines return PIL for output_type="np"
        return image.convert("RGB")
    if not numpy.isfinite(image).all():
        return Refusal("malformed", "the pipeline computed NaN; dtype fp32 or bf16 may help")
    pixels = (image * 255).round().astype(numpy.uint8)
    return PILImage.fromarray(numpy.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels)


def _note(pipeline: Any, prompt: str) -> str:
    """A note on a truncated prompt. Of several text encoders, the one that reads most counts."""
    parameter = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    default = parameter.default if parameter is not None else None
    cuts: list[tuple[int, int]] = []
    for name, part in pipeline.components.items():
        if not name.startswith("tokenizer") or part is None:
            continue
        limit = part.model_max_length
        if isinstance(default, int) and "CLIP" not in type(part).__name__:
            limit = default
        cuts.append((limit, len(part(prompt).input_ids)))
    if not cuts or any(length <= limit for limit, length in cuts):
        return ""
    limit, length = max(cuts)
    return f"only the first {limit} of the prompt's {length} tokens were read"


def _peak_resident() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere


@contextlib.contextmanager
def _one_sentence(batch: int) -> Iterator[None]:
    """Every exception of the library as one sentence."""
    try:
        yield
    except EvalkitError:
        raise
    except torch.OutOfMemoryError as error:
        raise EvalkitError(
            "The diffusers pipeline does not fit into the accelerator's memory.",
            f"Try `--set MODEL.batch={max(1, batch // 2)}`, `offload=true`, or a smaller height "
            "and width; finished images are kept.",
            code="generators-14",
        ) from error
    except Exception as error:
        raise EvalkitError(
            f"The diffusers pipeline failed: {type(error).__name__}: {first_sentence(error)}",
            code="generators-15",
        ) from error
