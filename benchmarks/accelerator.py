"""Encoders on one card, or on a CPU: speed, decoding, memory, errors of faster modes, other tools.

    python benchmarks/accelerator.py [--images FOLDER] [--count 1024] [--seconds 450] [--quick]
        [--device cuda] [--parts network,end,decode,error,same,tools] [--out accelerator.json]
        [--encoders inception,clip-b32,dinov2-l14]

Prints one table in Markdown and writes the same rows as JSON. Networks have seeded random weights,
as speed does not depend on weights; errors may. Without a folder, images are JPEGs of 512 x 512
pixels of noise with the spectrum of photos. `--quick` measures nothing useful, in a minute on a
CPU. A part that the time does not suffice for is left out, and said to be.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import peers  # noqa: F401 - the path of the tests' helpers
import torch
from PIL import Image
from torch import Tensor

from evalkit.core import EvalkitError, Precision
from evalkit.encoders import batches
from evalkit.encoders.faster import faster
from evalkit.features.encode import image_features
from evalkit.features.image_file import ImageFile
from evalkit.images import Decoded, decode, file_sha256
from evalkit.metrics.frechet import frechet_distance_of_features as distance
from evalkit.sources.folders import images_below

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Row(NamedTuple):
    part: str
    what: str
    figure: float | None  # None: not measured, and the remark says why
    unit: str
    remark: str = ""


class Bench(NamedTuple):
    device: torch.device
    quick: bool
    files: list[Path]
    encoders: dict[str, Any]  # name -> exact encoder

    @property
    def modes(self) -> list[tuple[str, Any]]:
        """Every encoder in every mode that the device has, as (name, encoder)."""
        found = []
        for one in self.encoders.values():
            for precision in get_args(Precision):
                try:
                    made = faster(one, precision)
                except EvalkitError:  # the device does not compute in it
                    continue
                found.append((made.name, made))
        return found

    @property
    def sizes(self) -> list[int]:
        return [2, 4] if self.quick else [32, 64, 128, 256, 512]

    def prepared(self, encoder: Any, count: int) -> Tensor:
        """A batch of images as an encoder prepares them, in pinned memory for a card."""
        files = [self.files[at % len(self.files)] for at in range(count)]
        with ThreadPoolExecutor(CORES) as pool:
            found = torch.stack(list(pool.map(lambda file: encoder.prepare(opened(file)), files)))
        return found.pin_memory() if self.device.type == "cuda" else found

    def rate(self, call: Callable[[], object], items: int) -> float:
        """Items per second: the median of several calls after one to warm up."""
        call()
        spent: list[float] = []
        while not spent or (sum(spent) < 2 and len(spent) < 20 and not self.quick):
            self.wait()
            started = time.perf_counter()
            call()
            self.wait()
            spent.append(time.perf_counter() - started)
        return items / statistics.median(spent)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def opened(file: Path) -> Image.Image:
    found = decode(file.read_bytes())
    assert isinstance(found, Decoded), file
    return found.image


# --- what is measured ---
def network(bench: Bench) -> Iterator[Row]:
    """Networks alone, from prepared images in pinned memory to features on the device."""
    for name, encoder in bench.modes:
        for size in bench.sizes:
            images, peak = bench.prepared(encoder, size), ""
            if bench.device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(bench.device)
            before = _allocated(bench)
            try:
                found = bench.rate(lambda: encoder(images), size)
            except torch.OutOfMemoryError:
                yield Row("network", f"{name}, batches of {size}", None, "", "out of memory")
                break
            if bench.device.type == "cuda":
                used = torch.cuda.max_memory_allocated(bench.device) - before
                peak = f"{used / 2**20:.0f} MiB, {used / size / 2**20:.1f} per image"
            yield Row("network", f"{name}, batches of {size}", found, "images/s", peak)


def _allocated(bench: Bench) -> int:
    return torch.cuda.memory_allocated(bench.device) if bench.device.type == "cuda" else 0


def end(bench: Bench) -> Iterator[Row]:
    """From files to cached features, with the batch size that evalkit chooses."""
    images = [ImageFile(file, file_sha256(file)) for file in bench.files]
    for name, encoder in bench.modes:
        size = min(batches.size(encoder), len(images))
        batch = bench.prepared(encoder, size)
        alone = bench.rate(lambda: encoder(batch), size)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            image_features(images, encoder, Path(folder) / "cache.npz", batch_size=size)
            found = len(images) / (time.perf_counter() - started)
        idle = max(0.0, 1 - found / alone)
        remark = f"batches of {size}; {idle:.0%} of the time without work for the network"
        yield Row("end to end", name, found, "images/s", remark)


def decoders(bench: Bench) -> Iterator[Row]:
    """JPEG decoders on all cores, and the share of images whose pixels are those of Pillow."""
    contents = [file.read_bytes() for file in bench.files]
    contents = [one for one in contents if one[:2] == b"\xff\xd8"][: 8 if bench.quick else 512]
    if not contents:
        yield Row("decoding", "all", None, "", "none of the images is a JPEG")
        return
    expected = [np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in contents]
    for name, many in _decoders(bench):
        try:
            found = many(contents)
            equal = statistics.mean(map(np.array_equal, found, expected))
            rate = bench.rate(lambda: many(contents), len(contents))
        except (ImportError, RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0][:100]
            yield Row("decoding", name, None, "", f"does not work here: {reason}")
            continue
        yield Row("decoding", name, rate, "images/s", f"{equal:.1%} equal to Pillow's")


def _decoders(bench: Bench) -> Iterator[tuple[str, Callable[[list[bytes]], list[Any]]]]:
    def on_cores(one: Callable[[bytes], Any]) -> Callable[[list[bytes]], list[Any]]:
        def many(contents: list[bytes]) -> list[Any]:
            with ThreadPoolExecutor(CORES) as pool:
                return list(pool.map(one, contents))

        return many

    def of_evalkit(content: bytes) -> Any:
        found = decode(content)
        assert isinstance(found, Decoded)
        return np.asarray(found.image)

    def of_torchvision(content: bytes) -> Any:
        from torchvision.io import ImageReadMode, decode_jpeg

        data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        return decode_jpeg(data, ImageReadMode.RGB).permute(1, 2, 0).numpy()

    def of_simplejpeg(content: bytes) -> Any:
        import simplejpeg

        return simplejpeg.decode_jpeg(content)

    def of_nvjpeg(contents: list[bytes]) -> list[Any]:
        from torchvision.io import ImageReadMode, decode_jpeg

        data: Any = [torch.frombuffer(bytearray(one), dtype=torch.uint8) for one in contents]
        found = decode_jpeg(data, ImageReadMode.RGB, device=bench.device)
        return [one.permute(1, 2, 0).cpu().numpy() for one in found]

    yield "Pillow", on_cores(lambda one: np.asarray(Image.open(io.BytesIO(one)).convert("RGB")))
    yield "evalkit, checks included", on_cores(of_evalkit)
    yield "simplejpeg", on_cores(of_simplejpeg)
    yield "torchvision, CPU", on_cores(of_torchvision)
    if bench.device.type == "cuda":
        yield "torchvision, nvJPEG, to the CPU", of_nvjpeg


def error(bench: Bench) -> Iterator[Row]:
    """What faster modes change: of the features, and of the distance between two halves."""
    count = len(bench.files)
    exact = {
        name: _features(bench, one, bench.prepared(one, count))
        for name, one in bench.encoders.items()
    }
    for name, encoder in bench.modes:
        if encoder.precision == "exact":
            continue
        known = exact[encoder.stands_for.name]
        fast = _features(bench, encoder, bench.prepared(encoder, count))
        relative = float((fast - known).norm() / known.norm())
        shift = float(distance(fake=fast, real=known))
        remark = f"relative error of features {relative:.1e}, {count} images"
        yield Row("error", f"{name}: distance from exact features", shift, "", remark)
        half = count // 2
        value = float(distance(fake=known[:half], real=known[half:]))
        change = float(distance(fake=fast[:half], real=known[half:])) - value
        remark = f"of {value:.4g}; one half of the images against the exact other half"
        yield Row("error", f"{name}: change of a distance", change, "", remark)


def _features(bench: Bench, encoder: Any, images: Tensor) -> Tensor:
    size = bench.sizes[-2]
    return torch.cat([encoder(part)["pool"].cpu() for part in images.split(size)])


def same(bench: Bench) -> Iterator[Row]:
    """Whether features have the same bits again, and how much another batch size changes them."""
    for name, encoder in bench.modes:
        images = bench.prepared(encoder, bench.sizes[-2])
        first, again = (encoder(images)["pool"] for _ in range(2))
        parts = torch.cat([encoder(part)["pool"] for part in images.split(len(images) // 2)])
        equal = float(torch.equal(first, again))
        change = float((parts - first).norm() / first.norm())
        remark = f"relative change with batches of half the size {change:.1e}"
        yield Row("same bits", name, equal, "1: yes", remark)


def tools(bench: Bench) -> Iterator[Row]:
    """torch-fidelity and torchmetrics on the same device, files and weights."""
    from seeded_inception import state_dict, torch_fidelity_network
    from torch_fidelity import calculate_metrics
    from torchmetrics.image.fid import FrechetInceptionDistance

    size = bench.sizes[-2]
    pixels = torch.stack([_square(opened(bench.files[0]))] * size).to(bench.device)
    theirs = torch_fidelity_network(state_dict()).to(bench.device)
    with torch.inference_mode():
        rate = bench.rate(lambda: theirs(pixels), size)
    yield Row("tools", "torch-fidelity, network and resize", rate, "images/s", f"batches of {size}")
    with tempfile.TemporaryDirectory() as place:
        weights, folder = Path(place) / "inception.pth", Path(place) / "images"
        torch.save(state_dict(), weights)
        metric: Any = FrechetInceptionDistance(feature_extractor_weights_path=str(weights))
        metric = metric.to(bench.device)
        rate = bench.rate(lambda: metric.update(pixels, real=False), size)
        yield Row("tools", "torchmetrics, an update of FID", rate, "images/s", f"batches of {size}")
        folder.mkdir()
        for file in bench.files:
            (folder / file.name).symlink_to(file.resolve())
        started = time.perf_counter()
        calculate_metrics(
            input1=str(folder), cuda=bench.device.type == "cuda", isc=True, isc_splits=1,
            cache=False, verbose=False, batch_size=min(size, 64),
            feature_extractor_weights_path=str(weights),
        )  # fmt: skip
        found = len(bench.files) / (time.perf_counter() - started)
    what = "torch-fidelity, files to inception score"
    yield Row("tools", what, found, "images/s", "with its start")


def _square(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image.resize((512, 512))).copy()).permute(2, 0, 1)


PARTS = {
    "network": network,
    "end": end,
    "decode": decoders,
    "error": error,
    "same": same,
    "tools": tools,
}


# --- what it is measured with ---
def photo_like(number: int, side: int = 512) -> Image.Image:
    """Noise whose amplitude falls with the frequency, as in photos; colours are alike."""
    random = np.random.default_rng(number)
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    falling = 1 / np.maximum(np.hypot(rows, columns), 1 / side)
    shape = (2, *falling.shape)
    fields = np.fft.irfft2(falling * np.exp(2j * np.pi * random.random(shape)), (side, side))
    fields = fields / fields.std(axis=(1, 2), keepdims=True)
    channels = [fields[0] + weight * fields[1] for weight in random.normal(0, 0.4, 3)]
    pixels = 128 + 45 * np.stack(channels, axis=-1) + 3 * random.normal(size=(side, side, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def photos(folder: Path, count: int) -> list[Path]:
    def write(number: int) -> Path:
        path = folder / f"{number:05d}.jpg"
        photo_like(number).save(path, quality=90)
        return path

    with ThreadPoolExecutor(CORES) as pool:
        return list(pool.map(write, range(count)))


def seeded_encoders(device: torch.device, quick: bool, names: list[str]) -> dict[str, Any]:
    """Encoders with random weights; small ones of CLIP and DINOv2 for `quick`."""
    torch.manual_seed(0)
    makers = {"inception": _inception, "clip-b32": _clip, "dinov2-l14": _dinov2}
    return {name: makers[name](device, quick) for name in names}


def _inception(device: torch.device, quick: bool) -> Any:
    from seeded_inception import state_dict

    from evalkit.encoders.inception import Inception
    from evalkit.encoders.inception_network import InceptionNetwork

    return Inception("inception", InceptionNetwork(state_dict(), device), "0" * 64)


def _clip(device: torch.device, quick: bool) -> Any:
    from transformers import CLIPConfig, CLIPModel

    from evalkit.encoders.clip import Clip

    small = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2}
    small = small | {"num_attention_heads": 1} if quick else {}  # heads of 64, as evalkit expects
    found = CLIPModel(CLIPConfig(text_config=small, vision_config=small)).state_dict()
    state = {name: part for name, part in found.items() if not name.endswith("position_ids")}
    return Clip("clip-b32", state, str(device))


def _dinov2(device: torch.device, quick: bool) -> Any:
    from evalkit.encoders.dinov2 import DinoV2, VisionTransformer

    width, depth = (64, 2) if quick else (1024, 24)
    return DinoV2(VisionTransformer(width, depth, 37**2).state_dict(), "0" * 64, str(device))


def measured(bench: Bench, parts: list[str], end: float) -> Iterator[Row]:
    """The rows of these parts, until the time is over."""
    for part in parts:
        for row in PARTS[part](bench):
            yield row
            if time.monotonic() > end:
                yield Row(part, "what would follow", None, "", "left out: the time was over")
                return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=450)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--encoders", default="inception,clip-b32,dinov2-l14")
    parser.add_argument("--out", type=Path, default=Path("accelerator.json"))
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    started, device = time.monotonic(), torch.device(given.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    facts = {"device": name, "cores": CORES, "torch": torch.__version__, "quick": given.quick}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        count = 6 if given.quick else given.count
        files = images_below(given.images)[:count] if given.images else photos(Path(folder), count)
        encoders = seeded_encoders(device, given.quick, given.encoders.split(","))
        bench = Bench(device, given.quick, files, encoders)
        print(f"{json.dumps(facts)}\n\n| part | what | figure | | remark |\n|---|---|---|---|---|")
        for row in measured(bench, given.parts.split(","), started + given.seconds):
            rows.append(row)
            figure = "" if row.figure is None else f"{row.figure:.4g}"
            print(f"| {row.part} | {row.what} | {figure} | {row.unit} | {row.remark} |", flush=True)
    facts |= {"images": len(files), "seconds": round(time.monotonic() - started)}
    text = json.dumps(facts | {"rows": [row._asdict() for row in rows]}, indent=1)
    given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
