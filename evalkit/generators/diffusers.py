"""Any text-to-image pipeline of the diffusers library, by local folder or hub name. Needs the extra
`diffusers`.

Every image has a torch.Generator of its own on the CPU, so its noise is the same on every device
and in every place of a batch. All 54 text-to-image pipelines of diffusers 0.42 take a list of
generators. Pictures are always drawn `batch` at once, filled up with empty prompts: the shapes of
the arithmetic, and so the picture, do not depend on how many are asked for together. Another
`batch` changes a picture by the rounding of floats only; `batch=1` is what the library draws alone.
A few pipelines pad the prompts of a batch to the longest (CogView4, Qwen-Image): with `batch` > 1
their pictures depend on their companions by such a rounding.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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
from evalkit.models.load import device_of

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_OTHER_MEDIA = {
    "num_frames",
    "audio_length_in_s",
    "audio_end_in_s",
    "audio_duration",
    "audio_duration_in_s",
}


@dataclass(frozen=True)
class Pipeline:
    """A loaded pipeline as a generator."""

    pipeline: Any  # diffusers.DiffusionPipeline
    arguments: Mapping[str, object]  # of every call, by the library's names
    batch: int
    device: str
    fingerprint: str

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image | Refusal]:
        drawn: list[Image | Refusal] = []
        for start in range(0, len(prompts), self.batch):
            texts, own = (
                list(prompts[start : start + self.batch]),
                list(seeds[start : start + self.batch]),
            )
            missing = self.batch - len(texts)
            with quiet(), _one_sentence(self.batch):
                pictures = self._draw(texts + [""] * missing, own + [0] * missing)[: len(texts)]
                notes = [_note(self.pipeline, self.arguments, text) for text in texts]
            for picture, note in zip(pictures, notes, strict=True):
                if note and isinstance(picture, Image):
                    picture.info["note"] = note
            drawn += pictures
        return drawn

    def peak_memory(self) -> int:
        """Bytes: the most that was allocated on the accelerator since loading, or the most that
        this process had in memory.
        """
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
                f"{type(self.pipeline).__name__} gave no image for each prompt.",
                "Expected a text-to-image pipeline.",
            )
        wanted = self.arguments.get("height"), self.arguments.get("width")
        if isinstance(images, numpy.ndarray) and wanted[0] and images.shape[1:3] != wanted:
            found = f"{images.shape[2]} x {images.shape[1]} pixels where {wanted[1]} x {wanted[0]} were asked for"
            raise EvalkitError(
                f"{type(self.pipeline).__name__} gave {found}.",
                "Ask for a width and height that it can make.",
            )
        unsafe = (
            getattr(made, "nsfw_content_detected", None)
            or getattr(made, "nsfw_detected", None)
            or [False] * len(images)
        )
        return [_picture(image, bool(hit)) for image, hit in zip(images, unsafe, strict=True)]


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
    """Any text-to-image pipeline of the diffusers library; from safetensors only, and no code of
    the model's is run.

    Args:
        model: a folder with a model_index.json, or a name on the hub; what is in the hub's cache
            needs no network.
        device: auto, cpu, cuda, cuda:N, mps or xpu.
        dtype: fp32, bf16, fp16, or auto: on an accelerator fp16 for U-Nets and bf16 for
            transformers, else fp32.
        steps: denoising steps; without it the pipeline's own. Distilled models need theirs:
            SDXL-Turbo steps=1, guidance=0.
        guidance: scale of classifier-free guidance; without it the pipeline's own.
        height: pixels, with `width`; without them the pipeline's own.
        width: pixels.
        negative_prompt: what the picture should not show.
        batch: images drawn at once, filled up with empty prompts; more are faster on an accelerator
            and take more memory.
        variant: of the weight files, such as fp16.
        revision: branch, tag or commit on the hub.
        compile: compile the denoiser: minutes at the first picture, faster ones after it.
        offload: keep on the accelerator only the part that computes (slower, less memory).
    """
    _check_installed()
    for name, value, low in (
        ("steps", steps, 1),
        ("height", height, 1),
        ("width", width, 1),
        ("batch", batch, 1),
        ("guidance", guidance, 0),
    ):
        if value is not None and value < low:
            raise EvalkitError(
                f"The option {name} is {value}; expected at least {low}.",
                "Change it with --set or in the configuration.",
            )
    if (height is None) != (width is None):
        raise EvalkitError(
            "The options height and width are given together or not at all.",
            "Give both with --set.",
        )
    if dtype not in ("auto", *DTYPES):
        raise EvalkitError(
            f"The option dtype is {dtype!r}; expected auto, fp32, bf16 or fp16.",
            "Change it with --set or in the configuration.",
        )
    where = device_of(device)
    folder, name = find_pipeline(model, revision, variant)
    index = read_index(folder)
    number = _dtype(dtype, where, "unet" in index)
    refuse_pickles(folder, index)
    kind = _kind(str(index.get("_class_name")), folder)
    given = {
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "height": height,
        "width": width,
    }
    arguments: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    arguments |= {"negative_prompt": [negative_prompt] * batch} if negative_prompt else {}
    identity = name or hash_pipeline(folder)
    with quiet(), _one_sentence(batch):
        extra = {"variant": variant} if variant else {}
        pipeline = kind.from_pretrained(
            str(folder), dtype=number, use_safetensors=True, local_files_only=True, **extra
        )
    _check_arguments(pipeline, arguments, batch)
    if where.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(where)
    with quiet(), _one_sentence(batch):
        _place(pipeline, where, offload, compile)
    identity = json.dumps([identity, arguments, batch, str(number), variant])
    return Pipeline(
        pipeline,
        arguments,
        batch,
        where,
        f"sha256:{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
    )


def _check_installed() -> None:
    missing = [
        name
        for name in ("diffusers", "transformers", "accelerate")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise EvalkitError(
            f"The generator 'diffusers' needs {', '.join(missing)}.",
            "Install it with `pip install 'evalkit[diffusers]'`.",
        )


def _dtype(name: str, device: str, unet: bool) -> torch.dtype:
    """auto: fp32 on the CPU; else what the families were trained and published in, bf16 only where
    the device has it.
    """
    if name != "auto":
        return DTYPES[name]
    if device == "cpu":
        return torch.float32
    if unet:
        return torch.float16
    return (
        torch.bfloat16
        if not device.startswith("cuda") or torch.cuda.is_bf16_supported()
        else torch.float32
    )


def _kind(name: str, folder: Path) -> Any:
    """The class that loads the folder: its own, or the one that makes images from text alone with
    the same parts.
    """
    import diffusers

    with quiet():
        found = getattr(diffusers, name, None)
    if found is None:
        hint = f"It has diffusers {diffusers.__version__}; a newer one may know it."
        raise EvalkitError(
            f"{folder} is a {name}, which the installed diffusers library does not know.", hint
        )
    parameters = inspect.signature(found.__call__).parameters
    if "prompt" not in parameters or _OTHER_MEDIA & set(parameters):
        raise EvalkitError(
            f"{folder} is a {name}, which makes no image from a text.",
            "Name a text-to-image pipeline.",
        )
    if "image" not in parameters:
        return found
    from diffusers.pipelines.auto_pipeline import (
        AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
        AutoPipelineForText2Image,
        _get_task_class,
    )

    if (
        _get_task_class(AUTO_TEXT2IMAGE_PIPELINES_MAPPING, name, throw_error_if_not_exist=False)
        is None
    ):
        raise EvalkitError(
            f"{folder} is a {name}, which makes no image from a text alone.",
            "Name a text-to-image pipeline.",
        )
    return AutoPipelineForText2Image


def _check_arguments(pipeline: Any, arguments: Mapping[str, object], batch: int) -> None:
    parameters = inspect.signature(pipeline.__call__).parameters
    for name in arguments:
        if name not in parameters:
            raise EvalkitError(
                f"{type(pipeline).__name__} has no {name}.", "Leave out the option of that name."
            )
    if "generator" not in parameters or (
        batch > 1 and "list" not in str(parameters["generator"].annotation).lower()
    ):
        raise EvalkitError(
            f"{type(pipeline).__name__} takes no seed for each image of a batch.",
            "Use `--set MODEL.batch=1`.",
        )


def _place(pipeline: Any, device: str, offload: bool, compiled: bool) -> None:
    pipeline.set_progress_bar_config(disable=True)
    if offload and device == "cpu":
        raise EvalkitError(
            "The option offload moves parts between the CPU and an accelerator; here the device is cpu.",
            "Leave it out.",
        )
    if offload:
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.to(device)
    if compiled:
        for name in ("unet", "transformer"):
            if getattr(pipeline, name, None) is not None:
                getattr(pipeline, name).compile()


def _picture(image: Any, unsafe: bool) -> Image | Refusal:
    """Floats [H, W, 3] in 0..1 to a picture. A black one of the safety checker, or of NaN, is no
    picture and never scored.
    """
    if unsafe:
        return Refusal("refused_output", "the pipeline's safety checker blacked it out")
    if not isinstance(image, numpy.ndarray):  # PIL, in spite of what was asked
        return image.convert("RGB")
    if not numpy.isfinite(image).all():
        return Refusal("malformed", "the pipeline computed NaN; dtype fp32 or bf16 may help")
    pixels = (image * 255).round().astype(numpy.uint8)
    return PILImage.fromarray(numpy.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels)


def _note(pipeline: Any, arguments: Mapping[str, object], prompt: str) -> str:
    """What of a prompt no text encoder read. A pipeline with several reads as much as the longest
    of them.
    """
    default = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    cuts: list[tuple[int, int]] = []
    for name, part in pipeline.components.items():
        if not name.startswith("tokenizer") or part is None:
            continue
        length = len(part(prompt).input_ids)
        limits = [part.model_max_length]
        if (
            default is not None
            and isinstance(default.default, int)
            and "CLIP" not in type(part).__name__
        ):
            limits = [default.default]
        cuts.append((min(limits), length))
    if not cuts or any(length <= limit for limit, length in cuts):
        return ""
    limit, length = max(cuts)
    return f"only the first {limit} of the prompt's {length} tokens were read"


def _peak_resident() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere


@contextlib.contextmanager
def _one_sentence(batch: int) -> Iterator[None]:
    """Whatever the library raises, as one sentence."""
    try:
        yield
    except EvalkitError:
        raise
    except torch.OutOfMemoryError as error:
        hint = f"Try `--set MODEL.batch={max(1, batch // 2)}`, `offload=true`, or a smaller height and width; finished images are kept."
        raise EvalkitError(
            "The diffusers pipeline does not fit into the accelerator's memory.", hint
        ) from error
    except Exception as error:
        raise EvalkitError(
            f"The diffusers pipeline failed: {type(error).__name__}: {first_sentence(error)}"
        ) from error
