"""FID, inception score and KID from image files, against torch-fidelity and torchmetrics.

    python benchmarks/end_to_end.py [--images 64] [--rounds 7] [--kind jpg|png] [--folder PHOTOS]

The tools take turns on the same files and weights, on one thread. CPU time includes worker
processes. Without a folder, the files are seeded JPEGs of 256 pixels (or PNGs of 512); of a folder,
the first images are the generated side and the next ones the real side. torch-fidelity and
torchmetrics run with their defaults (batches of 64, torch-fidelity's loaders). Nothing is cached.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import peers
import torch
from PIL import Image
from torch import Tensor

SUBSETS = 100


def folders(root: Path, images: int, photos: Path | None, kind: str) -> tuple[Path, Path]:
    """A generated and a real folder of images of one size; torch-fidelity accepts no others."""
    from seeded_inception import sample_images

    from evalkit.images import to_images
    from evalkit.sources.folders import images_below

    size = 256 if kind == "jpg" else 512
    made = (root / "generated", root / "real")
    for side, folder in enumerate(made):
        folder.mkdir()
        if photos is not None:
            for file in images_below(photos)[side * images : (side + 1) * images]:
                shutil.copy(file, folder)
            continue
        for index in range(images):
            image = to_images(sample_images(1, size, size, 10_000 * side + index))[0]
            options = {"quality": 90} if kind == "jpg" else {}
            image.save(folder / f"{index:05d}.{kind}", **options)
    return made


def torch_fidelity(fake: Path, real: Path, weights: Path, size: int) -> dict[str, float]:
    from torch_fidelity import calculate_metrics

    found = calculate_metrics(
        input1=str(fake),
        input2=str(real),
        cuda=False,
        isc=True,
        fid=True,
        kid=True,
        cache=False,
        verbose=False,
        feature_extractor_weights_path=str(weights),
        kid_subsets=SUBSETS,
        kid_subset_size=size,
    )
    names = ("frechet_inception_distance", "inception_score_mean", "kernel_inception_distance_mean")
    return dict(
        zip(("fid", "inception_score", "kid"), (float(found[name]) for name in names), strict=True)
    )


def torchmetrics(fake: Path, real: Path, weights: Path, size: int) -> dict[str, float]:
    """Three metrics, each with its own network and forward pass, as in its documentation."""
    from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance

    def network(feature: str) -> NoTrainInceptionV3:
        return NoTrainInceptionV3(
            "inception-v3-compat", [feature], feature_extractor_weights_path=str(weights)
        )

    def fed(metric: torch.nn.Module, folder: Path, **options: bool) -> None:
        for batch in _batches(folder, 64):
            metric.update(batch, **options)  # pyright: ignore[reportCallIssue]

    fid = FrechetInceptionDistance(feature_extractor_weights_path=str(weights))
    kid = KernelInceptionDistance(network("2048"), subsets=SUBSETS, subset_size=size)
    score = InceptionScore(network("logits_unbiased"))
    with torch.no_grad():
        for metric in (fid, kid):
            fed(metric, fake, real=False)
            fed(metric, real, real=True)
        fed(score, fake)
        return {
            "fid": float(fid.compute()),
            "inception_score": float(score.compute()[0]),
            "kid": float(kid.compute()[0]),
        }


def _batches(folder: Path, size: int) -> list[Tensor]:
    """uint8 batches of images, each of one size."""
    from torchvision.transforms.functional import pil_to_tensor

    groups: dict[tuple[int, ...], list[Tensor]] = {}
    for path in sorted(folder.iterdir()):
        pixels = pil_to_tensor(Image.open(path).convert("RGB"))
        groups.setdefault(tuple(pixels.shape), []).append(pixels)
    return [batch for group in groups.values() for batch in torch.stack(group).split(size)]


def evalkit(fake: Path, real: Path, weights: Path, size: int) -> dict[str, float]:
    from evalkit.encoders import inception
    from evalkit.features.encode import image_features
    from evalkit.features.image_sets import image_sets
    from evalkit.metrics import frechet, inception_score, kernel

    encoder = inception.load(device="cpu", path=str(weights))
    with tempfile.TemporaryDirectory() as cache:
        found = [
            image_features(
                image_sets(folder).sets[0].files, encoder, Path(cache) / f"{folder.name}.npz"
            )
            for folder in (fake, real)
        ]
    pools = [features.values["pool"] for features in found]
    return {
        "fid": float(frechet.frechet_distance_of_features(fake=pools[0], real=pools[1])),
        "inception_score": float(
            inception_score.inception_score(fake=found[0].values["logits"], splits=10)
        ),
        "kid": float(kernel.kid(fake=pools[0], real=pools[1], subsets=SUBSETS, subset_size=size)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64, help="per side")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kind", choices=("jpg", "png"), default="jpg")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    from seeded_inception import state_dict

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        weights = root / "seeded.pth"
        torch.save(state_dict(), weights)
        size = min(1000, given.images)
        tools: dict[str, Callable[[Path, Path, Path, int], dict[str, float]]] = {
            "torch-fidelity": torch_fidelity,
            "torchmetrics, three metrics": torchmetrics,
            "evalkit": evalkit,
        }
        (root / "small").mkdir()
        small = folders(root / "small", 12, given.folder, given.kind)
        fake, real = folders(root, given.images, given.folder, given.kind)
        times: peers.Times = {name: [] for name in tools}
        values: dict[str, dict[str, float]] = {}

        def run(name: str, sides: tuple[Path, Path], count: int) -> None:
            values[name] = tools[name](*sides, weights, count)

        for name in tools:
            run(name, small, 12)  # warms up
        for turn in range(given.rounds):
            for name in tools:
                times[name].append(
                    peers.cpu_seconds(lambda: run(name, (fake, real), size)) / (2 * given.images)
                )
            spent = ", ".join(
                f"{name} {2 * given.images * seconds[-1]:.1f} s" for name, seconds in times.items()
            )
            print(f"round {turn + 1}: {spent}", flush=True)
        peers.show(
            f"FID, inception score and KID of {given.images} against {given.images} images", times
        )
        pairs = zip(times["torchmetrics, three metrics"], times["evalkit"], strict=True)
        ratios = peers.spread([slow / quick for slow, quick in pairs])
        print(f"\nevalkit against torchmetrics: {ratios} times faster\n")
        for name, found in values.items():
            shown = ", ".join(f"{metric} {value:.8g}" for metric, value in found.items())
            print(f"{name}: {shown}")


if __name__ == "__main__":
    main()
