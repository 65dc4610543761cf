"""Calls of an encoder: what it returns is checked, and what it raises names it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from evalkit.core import Encoder, EvalkitError, TextEncoder
from evalkit.hints import a_type
from evalkit.models.load import device_name
from evalkit.plugin_calls import DECODING, apart, is_own, named, unchanged

_CORRECT = "Correct the encoder, then run the same command again: the images are kept."

# Libraries multiply matrices of few rows in another order on a CPU. With at least as many rows,
# features do not depend on what else is in a batch, so shards give the bits of one process.
_FEWEST = 16

Arrays = dict[str, NDArray[np.float32]]  # by name of the feature, [N, D]


def prepare(image: Image, encoder: Encoder) -> Tensor:
    """The image as the encoder prepares it, which may change the image. Runs in any thread."""
    with _named(encoder), unchanged(DECODING):
        pixels: object = encoder.prepare(image)
    if not isinstance(pixels, Tensor) or not pixels.numel():
        found = "an empty tensor" if isinstance(pixels, Tensor) else a_type(pixels)
        raise _wrong(encoder, f"{found} from prepare", "a tensor [3, H, W]")
    return pixels


def stacked(pixels: Sequence[Tensor], encoder: Encoder) -> Tensor:
    """Prepared images of one size as a new tensor [N, ...]. Runs in any thread.

    For an encoder on CUDA it is in page-locked memory, from which a copy to the device needs no
    processor.
    """
    if len({item.data_ptr() for item in pixels}) < len(pixels):
        raise _wrong(encoder, "one tensor for several images from prepare", "a new one for each")
    with _named(encoder):
        plain = [item.detach() for item in pixels]
        if not (_on_cuda(encoder) and plain[0].device.type == "cpu"):
            return torch.stack(plain)
        shape = (len(plain), *plain[0].shape)
        locked = torch.empty(shape, dtype=plain[0].dtype, device="cpu", pin_memory=True)
        return torch.stack(plain, out=locked)


def launch(
    batch: Tensor,
    encoder: Encoder,
    requested: Collection[str],
    call: Callable[[Tensor], object] | None = None,
) -> Callable[[], Arrays]:
    """Call the encoder on a stacked batch; the function that is returned gives its features.

    call: how it is called, see `encoders.batches.in_parts`; None: as it is.

    Features on a CUDA device are copied from it in the background, and only this function waits for
    them: the next batch can be launched before.
    """
    count, found, copies = len(batch), None, []
    more = _further(encoder, count)
    batch = torch.cat([batch, *[batch[-1:]] * more]) if more else batch
    with _named(encoder), unchanged(DECODING):
        values: object = (call or encoder)(batch)
        if isinstance(values, Mapping):
            wanted = {name: value for name, value in values.items() if name in requested}
            found = {name: _copied(value) for name, value in wanted.items()}
            if more:
                found = {name: _first(value, count, more) for name, value in found.items()}
            on_cuda = [one for one in wanted.values() if isinstance(one, Tensor) and one.is_cuda]
            copies = [torch.cuda.current_stream(one.device).record_event() for one in on_cuda]
    if found is None:
        raise _wrong(encoder, a_type(values), "a dict of features by name")

    def finish() -> Arrays:
        with _named(encoder):
            for copy in copies:
                copy.synchronize()
        arrays = _checked(encoder, found, count, "images")
        # Page-locked memory is scarce, and features are kept to the end.
        return {name: array.copy() for name, array in arrays.items()} if copies else arrays

    return finish


def encode_text(encoder: TextEncoder, texts: Sequence[str]) -> Arrays:
    """The features "pool" of texts."""
    count, more = len(texts), _further(encoder, len(texts))
    with _named(encoder), apart(encoder):
        found = _copied(encoder.text([*texts, *[texts[-1]] * more]))
    return _checked(encoder, {"pool": _first(found, count, more)}, count, "prompts")


def _further(encoder: Encoder, count: int) -> int:
    """How many copies of the last image or text evalkit's own encoder gets beside `count`."""
    on_cpu = str(getattr(encoder, "device", "")) == "cpu"
    alone = not is_own(encoder) or getattr(encoder, "grouped", False)
    return max(0, _FEWEST - count) if on_cpu and count and not alone else 0


def _first(found: Tensor | str, count: int, more: int) -> Tensor | str:
    """The features without those of copies."""
    whole = isinstance(found, Tensor) and found.ndim == 2 and len(found) == count + more
    return found[:count] if whole and isinstance(found, Tensor) else found


def made_on(encoder: object) -> frozenset[str]:
    """The device and the number format of an encoder or a scorer, {""} where it states none."""
    device, dtype = getattr(encoder, "device", None), getattr(encoder, "dtype", "float32")
    return frozenset({"" if device is None else f"{device_name(str(device))} {dtype}"})


def _on_cuda(encoder: Encoder) -> bool:
    """Whether it says that it computes on CUDA."""
    device = str(getattr(encoder, "device", ""))
    return device.partition(":")[0] == "cuda" and torch.cuda.is_available()


def _copied(value: object) -> Tensor | str:
    """The features as a new float32 tensor on the CPU, or in words what they are instead.

    A copy from CUDA is under way when this returns.
    """
    if not isinstance(value, Tensor | np.ndarray):
        return f"of the type {type(value).__name__}"
    found = torch.as_tensor(value).detach()
    if not found.is_floating_point():
        return f"of the type {found.dtype}"
    if found.is_cuda:
        return found.to(torch.float32).to("cpu", non_blocking=True)
    return found.to("cpu", torch.float32, copy=True)


def _checked(encoder: Encoder, found: Mapping[str, Tensor | str], count: int, what: str) -> Arrays:
    """The arrays. Raises EvalkitError unless each is finite and has the shape [count, D]."""
    arrays: Arrays = {}
    for name, values in found.items():
        wrong = values if isinstance(values, str) else f"of shape {list(values.shape)}"
        if not isinstance(values, str) and values.ndim == 2 and len(values) == count:
            array = values.numpy()
            if array.size and np.isfinite(array).all():
                arrays[name] = array
                continue
            wrong = "that are not finite" if array.size else wrong
        expected = f"finite float32 numbers of shape [{count}, D]"
        raise _wrong(encoder, f"{name!r} features {wrong} for {count} {what}", expected)
    return arrays


def _wrong(encoder: Encoder, found: str, expected: str) -> EvalkitError:
    return EvalkitError(
        f"The encoder {encoder.name!r} returned {found}; expected {expected}.",
        _CORRECT,
        code="features-4",
    )


def _named(encoder: Encoder) -> contextlib.AbstractContextManager[None]:
    """An exception in the code of an encoder becomes one sentence that names it."""
    memory_hint = "Try a smaller `--batch-size`; the images are kept."
    return named(encoder, f"The encoder {encoder.name!r} failed", _CORRECT, memory_hint)
