"""Inception on one core: forward pass, resizing and decoding, against other tools.

    python benchmarks/inception.py [ROUNDS] [read] [resize] [forward]    (default: 7, all three)

All tools run with the same weights. Every figure is CPU time on one thread. Variants take turns
within a round; ratios are between variants of one round, shown as median (lowest to highest). The
limit is the best rate of several convolutions and a matrix product in the same run.
"""

from __future__ import annotations

import io
import statistics
import sys
from typing import Any
from unittest import mock

import peers
import torch
from PIL import Image
from torch import nn

from evalkit.encoders import inception_network, inception_preprocessing
from evalkit.encoders.inception import Inception
from evalkit.encoders.inception_network import InceptionNetwork
from evalkit.images import decode, to_images, to_tensor


def operations(network: nn.Module) -> float:
    """Multiplications and additions for one image, counted as the convolutions run."""
    counts: list[int] = []

    def count(layer: nn.Conv2d, given: object, output: torch.Tensor) -> None:
        counts.append(2 * output.numel() * layer.weight[0].numel())

    hooks = [
        layer.register_forward_hook(count)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    network(torch.zeros(1, 3, 299, 299, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return sum(counts)


def limit() -> dict[str, float]:
    """GFLOP/s of operations that suit the CPU, the best of three each."""
    matrix = torch.randn(1024, 1024)
    seconds = min(peers.cpu_seconds(lambda: matrix @ matrix) for _ in range(3))
    found = {"matrix product, 1024 x 1024": 2e-9 * 1024**3 / seconds}
    for channels, side in ((256, 32), (512, 28), (192, 35)):
        layer = nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        x = torch.randn(8, channels, side, side).contiguous(memory_format=torch.channels_last)
        seconds = min(peers.cpu_seconds(lambda: layer(x)) for _ in range(3))
        rate = 2e-9 * 8 * (3 * channels * side) ** 2 / seconds
        found[f"convolution 3 x 3, {channels} channels, {side} x {side}"] = rate
    return found


def prepared(encoder: Inception, images: list[Image.Image]) -> torch.Tensor:
    return torch.stack([encoder.prepare(image) for image in images])


def forward(rounds: int) -> None:
    from seeded_inception import sample_images, state_dict, torch_fidelity_network

    theirs = torch_fidelity_network(state_dict())
    ours = Inception("inception", InceptionNetwork(state_dict(), torch.device("cpu")), "")
    with mock.patch.object(inception_network, "fused_convolutions_work", return_value=False):
        plain = Inception("inception", InceptionNetwork(state_dict(), torch.device("cpu")), "")
    some = sample_images(64, 256, 256, 0)
    images = to_images(some)
    resized = prepared(ours, images)
    limits: list[dict[str, float]] = []
    times = peers.take_turns(
        {
            "torch-fidelity, its batches of 64": (lambda: theirs(some), 64),
            "torch-fidelity, batches of 8": (
                lambda: [theirs(part) for part in some[:16].split(8)],
                16,
            ),
            "evalkit, plain convolutions": (lambda: plain(prepared(plain, images[:32])), 32),
            "evalkit": (lambda: ours(prepared(ours, images)), 64),
            "evalkit, network alone": (lambda: ours(resized), 64),
            "(limit)": (lambda: limits.append(limit()), 1),
        },
        rounds,
    )
    del times["(limit)"]
    peers.show("Forward pass from 256 x 256 pixels, TF1 resize included", times)
    print("\n| limit of this core | GFLOP/s, best and median of rounds |\n|---|---|")
    for name in limits[0]:
        values = [found[name] for found in limits]
        print(f"| {name} | {max(values):.1f}, {statistics.median(values):.1f} |")
    work = operations(theirs)
    reached = [work / spent / 1e9 for spent in times["evalkit, network alone"]]
    best = [max(found.values()) for found in limits[1:]]  # without the warm-up
    shares = [rate / limit for rate, limit in zip(reached, best, strict=True)]
    share = f"{statistics.median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})"
    rate = f"{statistics.median(reached):.1f} GFLOP/s, {share} of the same round's limit"
    print(f"\n{work / 1e9:.2f} GFLOP per image; network alone: {rate}")
    pool, expected = ours(resized[:16])["pool"], theirs(some[:16])[0]
    difference = (pool - expected).norm(dim=1) / expected.norm(dim=1)
    print(f"Largest relative difference of features: {float(difference.max()):.1e}")


def resize(rounds: int) -> None:
    import warnings

    from cleanfid.resize import build_resizer
    from seeded_inception import sample_images
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x as theirs,
    )

    warnings.filterwarnings("ignore", message="'mode' parameter is deprecated")
    clean, ours = build_resizer("clean"), inception_preprocessing
    for size in (256, 512, 1024):
        some = sample_images(8, size, size, 1)
        images = to_images(some)
        arrays = [to_tensor(image).permute(1, 2, 0).numpy() for image in images]
        variants: dict[str, Any] = {
            "TF1, torch-fidelity": (
                lambda: (theirs(some.float(), (299, 299), align_corners=False) - 128) / 128,
                8,
            ),
            "TF1, evalkit (the same bits)": (
                lambda: [ours.TF1.prepare(image) for image in images],
                8,
            ),
            "clean, clean-fid": (lambda: [clean(array) for array in arrays], 8),
            "clean, evalkit (the same bits)": (
                lambda: [ours.CLEAN.prepare(image) for image in images],
                8,
            ),
            "torch, evalkit": (lambda: [ours.TORCH.prepare(image) for image in images], 8),
            "antialias, evalkit": (
                lambda: [ours.ANTIALIAS.prepare(image) for image in images],
                8,
            ),
        }
        peers.show(
            f"Resize of {size} x {size} to 299 x 299",
            peers.take_turns(variants, rounds),
            True,
        )


def read(rounds: int) -> None:
    from seeded_inception import sample_images
    from torch_fidelity.datasets import TransformPILtoRGBTensor
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms.functional import to_tensor as as_pytorch_fid_reads

    for kind, size in (("JPEG", 256), ("JPEG", 512), ("PNG", 256), ("PNG", 512)):
        files = []
        for image in to_images(sample_images(8, size, size, 2)):
            file = io.BytesIO()
            image.save(file, kind, **({"quality": 90} if kind == "JPEG" else {}))
            files.append(file.getvalue())
        buffers = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
        opened = TransformPILtoRGBTensor()

        def ours(data: bytes) -> torch.Tensor:
            found = decode(data)
            assert hasattr(found, "image")
            return to_tensor(found.image)  # pyright: ignore[reportAttributeAccessIssue]

        variants: dict[str, Any] = {
            "torch-fidelity": (
                lambda: [opened(Image.open(io.BytesIO(data)).convert("RGB")) for data in files],
                8,
            ),
            "pytorch-fid": (
                lambda: [
                    as_pytorch_fid_reads(Image.open(io.BytesIO(data)).convert("RGB"))
                    for data in files
                ],
                8,
            ),
            "torchvision": (lambda: [decode_image(data, ImageReadMode.RGB) for data in buffers], 8),
            "evalkit, checks included": (lambda: [ours(data) for data in files], 8),
        }
        peers.show(f"Reading a {kind} of {size} x {size}", peers.take_turns(variants, rounds))
        assert all(
            torch.equal(decode_image(data, ImageReadMode.RGB), ours(file))
            for data, file in zip(buffers, files, strict=True)
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with torch.inference_mode():
        for part in (read, resize, forward):
            if part.__name__ in sys.argv[2:] or not sys.argv[2:]:
                part(turns)
