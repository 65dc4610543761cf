"""The other tools: each measures two folders of images by its own public functions.

All get one file of weights. torch-fidelity and torchmetrics take its path. pytorch-fid and
clean-fid take the file that torch.hub has under the name that they would download. clean-fid's mode
`clean` has a network of NVIDIA's with the same weights in another format; clean-fid's other network
is used in place of it, through the parameter for an extractor of features.

Nothing here is imported by other rooms: the tools are optional.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evalkit.crosscheck.sides import Side
from evalkit.crosscheck.tool import Features, Job, Metric, Tool, Trace, traced
from evalkit.images import read_image, to_tensor
from evalkit.metrics import frechet, kernel
from evalkit.metrics.inception_score import inception_score, splits_for

MOST_FOR_ALL_PAIRS = 10_000  # images; torchmetrics keeps the whole kernel matrix
_READ = frozenset({"png", "jpg", "bmp", "tiff", "webp"})  # by pytorch-fid and clean-fid
_CPU = torch.device("cpu")


def _fid(fake: Features, real: Features) -> Tensor:
    return frechet.fid(fake=fake["pool"], real_moments=frechet.moments(real["pool"]))


FID = Metric("fid", _fid)


class TorchFidelity:
    """https://github.com/toshas/torch-fidelity"""

    package, encoder, formats = "torch-fidelity", "inception", frozenset[str]()

    def metrics(self, job: Job) -> list[Metric]:
        size, splits = min(kernel.SUBSET_SIZE, *job.counts), splits_for(job.counts[0])
        return [
            FID,
            Metric(
                "kid",
                lambda fake, real: kernel.kid(
                    fake=fake["pool"], real=real["pool"], subset_size=size
                ),
                f"{kernel.SUBSETS} subsets of {size}, seed {kernel.SEED}",
            ),
            Metric(
                "inception_score",
                lambda fake, real: inception_score(fake=fake["logits"], splits=splits),
                f"{splits} split{'s' * (splits > 1)}, seed 2020",
            ),
        ]

    def measure(self, job: Job, wanted: Sequence[str]) -> dict[str, float]:
        from torch_fidelity import calculate_metrics

        found = calculate_metrics(
            input1=str(job.fake.folder),
            input2=str(job.real.folder),
            fid="fid" in wanted,
            kid="kid" in wanted,
            isc="inception_score" in wanted,
            isc_splits=splits_for(job.counts[0]),
            kid_subset_size=min(kernel.SUBSET_SIZE, *job.counts),
            feature_extractor_weights_path=str(job.weights),
            samples_find_ext=",".join(sorted(job.fake.suffixes | job.real.suffixes)),
            batch_size=job.batch_size,
            cache=False,
            cuda=False,
            save_cpu_ram=True,  # no further processes
            verbose=False,
        )
        keys = {
            "fid": "frechet_inception_distance",
            "kid": "kernel_inception_distance_mean",
            "inception_score": "inception_score_mean",
        }
        return {name: float(found[keys[name]]) for name in wanted}

    def trace(self, files: Sequence[Path], weights: Path) -> Trace:
        from torch_fidelity.datasets import ImagesPathDataset
        from torch_fidelity.utils import create_feature_extractor

        network = create_feature_extractor(
            "inception-v3-compat",
            ["2048"],
            cuda=False,
            verbose=False,
            feature_extractor_weights_path=str(weights),
        )
        dataset = ImagesPathDataset(list(map(str, files)))
        pixels = [dataset[place] for place in range(len(files))]
        return traced(pixels, pixels, network, lambda image: network(image[None])[0])


class Torchmetrics:
    """https://github.com/Lightning-AI/torchmetrics; it gets evalkit's decoded images."""

    package, encoder, formats = "torchmetrics", "inception-antialias", frozenset[str]()

    def metrics(self, job: Job) -> list[Metric]:
        count, other = job.counts
        why_not = ""
        if count != other:
            why_not = "its subsets are drawn without a seed; with equal counts, all pairs are used"
        elif count > MOST_FOR_ALL_PAIRS:
            why_not = f"all pairs of more than {MOST_FOR_ALL_PAIRS:,} images need too much memory"
        return [
            FID,
            Metric(
                "kid",
                lambda fake, real: kernel.kid_of_all(fake=fake["pool"], real=real["pool"]),
                "all pairs of images, as its subsets have no seed",
                why_not,
            ),
            Metric(
                "inception_score",
                lambda fake, real: inception_score(fake=fake["logits"], splits=1),
                "1 split, as its shuffle has no seed",
            ),
        ]

    def measure(self, job: Job, wanted: Sequence[str]) -> dict[str, float]:
        from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
        from torchmetrics.image.inception import InceptionScore
        from torchmetrics.image.kid import KernelInceptionDistance

        def network(layer: str) -> torch.nn.Module:
            return NoTrainInceptionV3("inception-v3-compat", [layer], str(job.weights))

        found: dict[str, float] = {}
        if "fid" in wanted:
            fid = FrechetInceptionDistance(feature_extractor_weights_path=str(job.weights))
            for real, side in ((False, job.fake), (True, job.real)):
                for images in _batches(side, job.batch_size):
                    fid.update(images, real=real)
            found["fid"] = float(fid.compute())
        if "kid" in wanted:
            kid = KernelInceptionDistance(network("2048"), subsets=1, subset_size=job.counts[0])
            for real, side in ((False, job.fake), (True, job.real)):
                for images in _batches(side, job.batch_size):
                    kid.update(images, real=real)
            found["kid"] = float(kid.compute()[0])
        if "inception_score" in wanted:
            score = InceptionScore(network("logits_unbiased"), splits=1)
            for images in _batches(job.fake, job.batch_size):
                score.update(images)
            found["inception_score"] = float(score.compute()[0])
        return found

    def trace(self, files: Sequence[Path], weights: Path) -> Trace:
        from torchmetrics.image.fid import NoTrainInceptionV3

        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights))
        images = [to_tensor(read_image(path)) for path in files]
        return traced([], images, network, lambda image: network(image[None]))


class PytorchFid:
    """https://github.com/mseitzer/pytorch-fid"""

    package, encoder, formats = "pytorch-fid", "inception-torch", _READ

    def metrics(self, job: Job) -> list[Metric]:
        return [FID]

    def measure(self, job: Job, wanted: Sequence[str]) -> dict[str, float]:
        from pytorch_fid.fid_score import calculate_fid_given_paths

        folders = [str(job.fake.folder), str(job.real.folder)]
        fid = calculate_fid_given_paths(folders, job.batch_size, "cpu", 2048, num_workers=0)
        return {"fid": float(fid)}

    def trace(self, files: Sequence[Path], weights: Path) -> Trace:
        from pytorch_fid.fid_score import ImagePathDataset
        from pytorch_fid.inception import InceptionV3
        from torchvision.transforms import ToTensor

        network = InceptionV3().eval()
        dataset = ImagePathDataset(list(map(str, files)), transforms=ToTensor())
        images: list[Any] = [dataset[place] for place in range(len(files))]
        pixels = [(image * 255).round().to(torch.uint8) for image in images]
        return traced(pixels, images, network, lambda image: network(image[None])[0])


class CleanFid:
    """https://github.com/GaParmar/clean-fid, mode `clean`."""

    package, encoder, formats = "clean-fid", "inception-clean", _READ

    def metrics(self, job: Job) -> list[Metric]:
        return [FID]

    def measure(self, job: Job, wanted: Sequence[str]) -> dict[str, float]:
        from cleanfid.fid import compute_fid

        network = self._network()
        fid = compute_fid(
            str(job.fake.folder),
            str(job.real.folder),
            mode="clean",
            num_workers=0,
            batch_size=max(job.batch_size, 1),
            device=_CPU,
            verbose=False,
            custom_feat_extractor=lambda x: self._features(network, x),
        )
        return {"fid": float(fid)}

    def trace(self, files: Sequence[Path], weights: Path) -> Trace:
        from cleanfid.utils import ResizeDataset

        decoded: list[Any] = []
        dataset = ResizeDataset(list(map(str, files)), mode="clean")
        dataset.custom_image_tranform = lambda x: (decoded.append(x), x)[1]
        images = [dataset[place] for place in range(len(files))]
        pixels = [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in decoded]
        network = self._network()
        return traced(pixels, images, network, lambda x: self._features(network, x[None]))

    def _network(self) -> torch.nn.Module:
        from cleanfid.inception_pytorch import InceptionV3

        return InceptionV3([3], resize_input=False, normalize_input=False).eval()

    def _features(self, network: torch.nn.Module, x: Tensor) -> Tensor:
        """Resized images, 0 .. 255, to features; the scale is that of clean-fid's first network."""
        return network((x - 128) / 128)[0].flatten(1)


TOOLS: tuple[Tool, ...] = (TorchFidelity(), Torchmetrics(), PytorchFid(), CleanFid())


def _batches(side: Side, size: int) -> Iterator[Tensor]:
    """The decoded images, uint8 [N, 3, H, W]."""
    for start in range(0, len(side.files), size):
        part = side.files[start : start + size]
        yield torch.stack([to_tensor(read_image(path)) for path in part])
