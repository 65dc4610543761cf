"""The values that `evalkit doctor` compares with, computed by other libraries.

`python tests/helpers/peer_values.py` writes them to evalkit/doctor/oracles.toml.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import timm
import tomli_w
import torch
from cleanfid.resize import build_resizer
from PIL import Image
from scipy.spatial.distance import cdist
from torch import Tensor
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.functional.multimodal.clip_score import _clip_score_update
from torchmetrics.image.kid import poly_mmd

from evalkit.doctor import fixed, networks
from evalkit.doctor.metrics import COUNTS
from evalkit.encoders import weights
from evalkit.encoders.weights import sha256_of
from evalkit.models import load
from evalkit.models.text import SubwordTokenizer
from evalkit.scenes.words import split_words

Rows = dict[str, np.ndarray]
ORACLES = Path(fixed.__file__).with_name("oracles.toml")


class Peer(NamedTuple):
    source: str
    value: Callable[[Rows], float]
    tolerance: float  # relative
    counts: tuple[int, int, int] = COUNTS


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return cdist(one.astype(float), other.astype(float))


def fid(fake: np.ndarray, real: np.ndarray) -> float:
    sides = [fid_features_to_statistics(torch.from_numpy(side).double()) for side in (fake, real)]
    return fid_statistics_to_metric(*sides, False)["frechet_inception_distance"]


def fid_of_few(fake: np.ndarray, real: np.ndarray) -> float:
    """With fewer images than dimensions: the trace of the root is a sum of singular values."""
    sides = [side.astype(float) for side in (fake, real)]
    means = [side.mean(axis=0) for side in sides]
    centred = [
        (side - mean) / np.sqrt(len(side) - 1) for side, mean in zip(sides, means, strict=True)
    ]
    spread = sum(float((side**2).sum()) for side in centred)
    roots = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    return float(((means[0] - means[1]) ** 2).sum() + spread - 2 * roots)


def fid_by_sqrtm(fake: np.ndarray, real: np.ndarray) -> float:
    fake, real = fake.astype(float), real.astype(float)
    a, b = np.cov(fake, rowvar=False), np.cov(real, rowvar=False)
    shift = fake.mean(axis=0) - real.mean(axis=0)
    root = np.trace(scipy.linalg.sqrtm(a @ b)).real
    return float(shift @ shift + np.trace(a) + np.trace(b) - 2 * root)


def fid_infinity(fake: np.ndarray, real: np.ndarray) -> float:
    """The line through FID at 15 counts, of subsets from the two ends of one shuffle."""
    counts = np.linspace(len(fake) // 2, len(fake), 15).astype(int)
    shuffled = fake[np.random.RandomState(2020).permutation(len(fake))]
    values = [
        fid(shuffled[:count] if place % 2 == 0 else shuffled[-count:], real)
        for place, count in enumerate(counts)
    ]
    return float(np.polynomial.Polynomial.fit(1 / counts, values, 1).convert().coef[0])


def kid(fake: np.ndarray, real: np.ndarray) -> float:
    return float(poly_mmd(*(torch.from_numpy(side).double() for side in (fake, real))))


def cmmd(rows: Rows) -> float:
    fake, real = (unit(rows[side]) for side in ("fake", "real"))

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.exp(-cdist(x, y, "sqeuclidean") / (2 * 10**2)).mean())

    return 1000 * (kernel(fake, fake) + kernel(real, real) - 2 * kernel(fake, real))


def mind(rows: Rows) -> float:
    """The definition and the draws that torch-fidelity documents: float32, seed 2020."""
    fake, real = (torch.from_numpy(rows[side]) for side in ("fake", "real"))
    generator, used = torch.Generator().manual_seed(2020), min(len(fake), len(real))
    sides = [
        side[torch.randperm(len(side), generator=generator)[:used]] if len(side) > used else side
        for side in (fake, real)
    ]
    directions = torch.randn(1000, fake.shape[1], generator=generator)
    directions = directions / directions.norm(dim=1, keepdim=True)
    one, other = (
        np.sort(side.double().numpy() @ directions.double().numpy().T, axis=0) for side in sides
    )
    return float(3 * fake.shape[1] * ((one - other) ** 2).mean())


def unit(rows: np.ndarray) -> np.ndarray:
    return rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)


def cosines(rows: Rows) -> np.ndarray:
    return (unit(rows["fake"]) * unit(rows["text"])).sum(axis=1)


def clip_score(rows: Rows) -> float:
    """torchmetrics, with a model that returns the given features."""
    fake, text = (torch.from_numpy(rows[side]).double() for side in ("fake", "text"))
    model = SimpleNamespace(
        config=None, get_image_features=lambda pixels: fake, get_text_features=lambda *tokens: text
    )
    model.to = lambda device: model
    count = len(fake)
    tokens = dict.fromkeys(("pixel_values", "input_ids", "attention_mask"), torch.zeros(count, 1))
    images, prompts = list(torch.zeros(count, 3, 2, 2)), ["a prompt"] * count
    return float(_clip_score_update(images, prompts, model, lambda **given: tokens)[0].mean())


def retrieval_precision(rows: Rows) -> float:
    """Each image with its own prompt and 99 others, in evalkit's order of the prompts and draws."""
    prompts, own = np.unique(unit(rows["text"]), axis=0, return_inverse=True)
    random, hits = np.random.RandomState(0), []
    for image, place in zip(unit(rows["fake"]), own.ravel(), strict=True):
        others = np.delete(np.arange(len(prompts)), place)
        drawn = others[random.choice(len(prompts) - 1, 99, replace=False)]
        hits.append(prompts[place] @ image > (prompts[drawn] @ image).max())
    return float(np.mean(hits))


def precision_and_recall(rows: Rows) -> dict[str, float]:
    fake, real = (torch.from_numpy(rows[side]) for side in ("fake", "real"))
    return prc_features_to_metric(
        fake, real, prc_neighborhood=3, prc_batch_size=10_000, save_cpu_ram=False, verbose=False
    )


def radii(real: np.ndarray, k: int) -> np.ndarray:
    return np.sort(distances(real, real), axis=1)[:, k]  # the point itself is the first


def density(rows: Rows) -> float:
    across = distances(rows["real"], rows["fake"])
    return float((across < radii(rows["real"], 5)[:, None]).sum(axis=0).mean() / 5)


def coverage(rows: Rows) -> float:
    across = distances(rows["real"], rows["fake"])
    return float((across.min(axis=1) < radii(rows["real"], 5)).mean())


def vendi(rows: Rows) -> float:
    units = unit(rows["fake"])
    values = np.linalg.eigvalsh(units.T @ units / len(units)).clip(1e-300)
    return float(np.exp(-(values * np.log(values)).sum()))


def memorization(rows: Rows) -> float:
    """1 - authenticity: Alaa et al. 2022."""
    across = distances(rows["fake"], rows["real"])
    return float((across.min(axis=1) <= radii(rows["real"], 1)[across.argmin(axis=1)]).mean())


def duplicates(rows: Rows) -> float:
    fake = rows["fake"].astype(float)
    within = distances(fake, fake)
    np.fill_diagonal(within, np.inf)
    return float((within.min(axis=1) <= 0.01 * np.linalg.norm(fake, axis=1)).mean())


PAIR = Callable[[np.ndarray, np.ndarray], float]


def of_pair(function: PAIR) -> Callable[[Rows], float]:
    return lambda rows: function(rows["fake"], rows["real"])


FIDELITY, TORCHMETRICS, NUMPY, SCIPY, TORCH = (
    f"{name} {version(name).partition('+')[0]}"
    for name in ("torch-fidelity", "torchmetrics", "numpy", "scipy", "torch")
)
METRICS = {
    "clip_score": Peer(TORCHMETRICS, clip_score, 1e-6),
    "clip_score_paper": Peer(NUMPY, lambda rows: float((2.5 * cosines(rows).clip(0)).mean()), 1e-6),
    "cmmd": Peer(SCIPY, cmmd, 1e-6),
    "coverage": Peer(SCIPY, coverage, 1e-6),
    "density": Peer(SCIPY, density, 1e-6),
    "duplicates": Peer(SCIPY, duplicates, 1e-6),
    "fd_dinov2": Peer(SCIPY, of_pair(fid_by_sqrtm), 1e-6, (300, 280, 64)),
    "fid": Peer(FIDELITY, of_pair(fid), 1e-6),
    "fid_infinity": Peer(FIDELITY, of_pair(fid_infinity), 1e-5),
    "inception_score": Peer(
        FIDELITY,
        lambda rows: isc_features_to_metric(torch.from_numpy(rows["fake"]))["inception_score_mean"],
        1e-6,
    ),
    "kid": Peer(TORCHMETRICS, of_pair(kid), 1e-6, (400, 400, 24)),
    "lpips_diversity": Peer(
        NUMPY, lambda rows: float(np.abs(rows["fake"][:, 0].astype(float)).mean()), 1e-6
    ),
    "memorization": Peer(SCIPY, memorization, 1e-6),
    "mind": Peer(NUMPY, mind, 1e-5),
    "precision": Peer(FIDELITY, lambda rows: precision_and_recall(rows)["precision"], 1e-6),
    "recall": Peer(FIDELITY, lambda rows: precision_and_recall(rows)["recall"], 1e-6),
    "retrieval_precision": Peer(NUMPY, retrieval_precision, 1e-6),
    "sfid": Peer(NUMPY, of_pair(fid_of_few), 1e-6, (96, 110, 160)),
    "vendi": Peer(NUMPY, vendi, 1e-6),
}


def value(name: str) -> float:
    """What the other library gives for a metric on the fixed inputs of `evalkit doctor`."""
    return float(METRICS[name].value(fixed.inputs(*METRICS[name].counts)))


def pixels() -> Tensor:
    """The first fixed image, uint8 [1, 3, H, W]."""
    return torch.from_numpy(np.array(fixed.images()[0])).permute(2, 0, 1)[None]


def _half(images: Tensor) -> Tensor:
    return (images - 128) / 128


def _interpolated(antialias: bool) -> Callable[[Tensor], Tensor]:
    return lambda images: torch.nn.functional.interpolate(
        images, (299, 299), mode="bilinear", align_corners=False, antialias=antialias
    )


def _clean() -> Tensor:
    resized = build_resizer("clean")(np.array(fixed.images()[0]))
    return _half(torch.from_numpy(resized).permute(2, 0, 1)[None])


# pytorch-fid and torchmetrics resize inside of their networks, by these calls of torch.
RESIZES: dict[str, tuple[str, Callable[[], Tensor]]] = {
    "inception": (
        FIDELITY,
        lambda: _half(
            interpolate_bilinear_2d_like_tensorflow1x(
                pixels().float(), size=(299, 299), align_corners=False
            )
        ),
    ),
    "inception-torch": (
        f"{TORCH}, called as by pytorch-fid",
        lambda: 2 * _interpolated(False)(pixels().float() / 255) - 1,
    ),
    "inception-clean": (f"clean-fid {version('clean-fid')}", _clean),
    "inception-antialias": (
        f"{TORCH}, called as by torchmetrics",
        lambda: _half(_interpolated(True)(pixels().float())),
    ),
}


def _photo_features() -> Tensor:
    """timm's network in float64 with the same weights, on images prepared with Pillow."""
    [(_, path)] = weights.obtain("efficientnet-lite0")
    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval().double()
    state = weights.read_tensors(path).values()
    network.load_state_dict(dict(zip(network.state_dict(), state, strict=True)))
    rows = []
    for image in fixed.images():
        short = min(image.size)
        size = [256 if side == short else int(256 * side / short) for side in image.size]
        large = image.resize(size, Image.Resampling.BICUBIC)
        left, top = (large.width - 224) // 2, (large.height - 224) // 2
        rows.append(np.array(large.crop((left, top, left + 224, top + 224)), dtype=float))
    images = (torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2) - 127) / 128
    with torch.no_grad():
        return network.forward_head(network.forward_features(images), pre_logits=True)


def _small_images() -> Tensor:
    resized = [np.array(image.resize((32, 32), Image.Resampling.BOX)) for image in fixed.images()]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).double() / 127.5 - 1


def _mini_inception() -> Tensor:
    network = load.load_classifier(load.BUNDLED / "mini-inception.safetensors").eval().double()
    return network(_small_images()).pool


def _mini_clip() -> Tensor:
    network, config = load.load_clip(load.BUNDLED / "mini-clip.safetensors")
    tokenizer, network = SubwordTokenizer(config["words"], config["context"]), network.double()
    tokens = tokenizer.encode([split_words(text) for text in networks.TEXTS])
    return torch.cat([network.image(_small_images()), network.texts(tokens)])


def _pixels() -> Tensor:
    rows = [np.array(image.resize((8, 8), Image.Resampling.BOX)) for image in fixed.images()]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).flatten(1).double() / 255


DOUBLE = "float64 on a CPU"
NETWORKS: dict[str, tuple[str, Callable[[], Tensor]]] = {
    "efficientnet-lite0": (f"timm {version('timm')}", _photo_features),
    "mini-clip": (DOUBLE, _mini_clip),
    "mini-inception": (DOUBLE, _mini_inception),
    "pixels": (f"Pillow {version('pillow')}", _pixels),
    **{
        name: (
            DOUBLE,
            lambda name=name: networks.classified(
                load.BUNDLED / f"{name}.safetensors", "cpu", torch.float64
            ),
        )
        for name in ("mini-coach", "mini-judge")
    },
    "dalle": (DOUBLE, lambda: networks.predicted("cpu", torch.float64)),
    "gan": (DOUBLE, lambda: networks.drawn("cpu", torch.float64)),
    "image-tokenizer": (DOUBLE, lambda: networks.decoded("cpu", torch.float64)),
}


def digest(values: Tensor) -> list[float]:
    return [float(f"{number:.9g}") for number in fixed.digest(values.detach().numpy())]


def table() -> dict[str, Any]:
    """What oracles.toml holds."""
    return {
        "metrics": {
            name: {
                "value": float(f"{value(name):.12g}"),
                "tolerance": peer.tolerance,
                "source": peer.source,
                **({} if peer.counts == COUNTS else {"counts": list(peer.counts)}),
            }
            for name, peer in METRICS.items()
        },
        "resizes": {
            name: {"digest": digest(resized()), "source": source}
            for name, (source, resized) in RESIZES.items()
        },
        "networks": {
            name: {"digest": digest(output()), "source": source}
            for name, (source, output) in NETWORKS.items()
        },
        "weights": {
            path.name: sha256_of(path) for path in sorted(load.BUNDLED.glob("*.safetensors"))
        },
    }


HEAD = """# What `evalkit doctor` compares with. Written by `python tests/helpers/peer_values.py`,
# which names the function of each library; tests compute all values again.
#
# metrics: the value on the inputs of `fixed.inputs`; the tolerance is relative. counts: generated
# images, reference images and dimensions, where they are not those of `metrics.COUNTS`.
# resizes, networks: `fixed.digest` of the output. weights: SHA-256 of the bundled files.

"""

if __name__ == "__main__":
    ORACLES.write_text(HEAD + tomli_w.dumps(table()), encoding="utf-8")
