"""A small DINOv2 with seeded weights in the official layout, against transformers' network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.encoders import dinov2

transformers = pytest.importorskip("transformers")
WIDTH, DEPTH, GRID = 128, 2, 37


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Tensors with the names of the official file and a smaller width."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=random) * scale

    found = {
        "cls_token": normal(1, 1, WIDTH),
        "pos_embed": normal(1, 1 + GRID**2, WIDTH),
        "mask_token": normal(1, WIDTH),
        "patch_embed.proj.weight": normal(WIDTH, 3, 14, 14, scale=0.04),
        "patch_embed.proj.bias": normal(WIDTH),
        "norm.weight": 1 + normal(WIDTH, scale=0.1),
        "norm.bias": normal(WIDTH),
    }
    for number in range(DEPTH):
        block = f"blocks.{number}."
        for part, rows, columns in (
            ("attn.qkv", 3, 1),
            ("attn.proj", 1, 1),
            ("mlp.fc1", 4, 1),
            ("mlp.fc2", 1, 4),
        ):
            found[f"{block}{part}.weight"] = normal(rows * WIDTH, columns * WIDTH, scale=0.09)
            found[f"{block}{part}.bias"] = normal(rows * WIDTH)
        for part in ("norm1", "norm2"):
            found[f"{block}{part}.weight"], found[f"{block}{part}.bias"] = (
                1 + normal(WIDTH, scale=0.1),
                normal(WIDTH),
            )
        found[f"{block}ls1.gamma"], found[f"{block}ls2.gamma"] = normal(WIDTH), normal(WIDTH)
    return found


@pytest.fixture(scope="module")
def encoder(state: dict[str, Tensor]) -> dinov2.DinoV2:
    return dinov2.DinoV2(state, "0" * 64)


def peer(state: dict[str, Tensor]) -> torch.nn.Module:
    """transformers' Dinov2Model with the same weights and the official code's positions."""
    config = transformers.Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=WIDTH // 64,
        image_size=224,
        patch_size=14,
    )
    model = transformers.Dinov2Model(config)
    names = {
        "cls_token": "embeddings.cls_token",
        "mask_token": "embeddings.mask_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
        "norm.": "layernorm.",
    }
    theirs: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name == "pos_embed":
            tensor = official_positions(tensor)
        start = next((old for old in names if name.startswith(old)), None)
        if start is not None:
            theirs[names[start] + name[len(start) :]] = tensor
        elif ".attn.qkv." in name:
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                theirs[
                    name.replace("blocks.", "encoder.layer.").replace(
                        "attn.qkv", f"attention.{part}_proj"
                    )
                ] = rows
        else:
            for old, new in (
                ("blocks.", "encoder.layer."),
                ("attn.proj", "attention.o_proj"),
                ("ls1.gamma", "layer_scale1.lambda1"),
                ("ls2.gamma", "layer_scale2.lambda1"),
            ):
                name = name.replace(old, new)
            theirs[name] = tensor
    model.load_state_dict(theirs)
    return model.eval()


def official_positions(positions: Tensor) -> Tensor:
    """16 x 16 positions of the published code, as sums over the grid: sampled at (i + 1/2) * 37 /
    16.1 - 1/2 with Keys' cubic kernel, a = -0.75.
    """
    cells = positions[0, 1:].view(GRID, GRID, WIDTH).double()
    matrix = torch.zeros(16, GRID, dtype=torch.float64)
    for row in range(16):
        place = (row + 0.5) * GRID / 16.1 - 0.5
        for tap in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            distance, a = abs(place - tap), -0.75
            near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
            far = a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
            matrix[row, min(max(tap, 0), GRID - 1)] += near if distance <= 1 else far
    resampled = torch.einsum("ri,cj,ijw->rcw", matrix, matrix, cells).reshape(1, 256, WIDTH).float()
    return torch.cat([positions[:, :1], resampled], dim=1)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.RandomState(seed).randint(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(224, 224), (40, 30), (500, 333)])
def test_features_agree_with_transformers(
    encoder: dinov2.DinoV2, state: dict[str, Tensor], size: tuple[int, int]
):
    from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize, ToTensor

    transform = Compose(
        [
            Resize((224, 224), InterpolationMode.BICUBIC),
            ToTensor(),
            Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    image = noise(*size)
    with torch.inference_mode():
        theirs = peer(state)(pixel_values=transform(image)[None]).pooler_output
    ours = encoder(encoder.prepare(image)[None])["pool"]
    assert ours.shape == (1, WIDTH)
    assert ((ours - theirs).norm() / theirs.norm()).item() < 1e-5


def test_positions_are_resampled_with_the_official_scale(state: dict[str, Tensor]):
    ours = dinov2.resampled(state["pos_embed"], 16)
    assert torch.allclose(ours, official_positions(state["pos_embed"]), atol=1e-4)
    plain = torch.nn.functional.interpolate(
        state["pos_embed"][:, 1:].view(1, GRID, GRID, WIDTH).permute(0, 3, 1, 2),
        (16, 16),
        mode="bicubic",
    )
    assert not torch.allclose(
        ours[:, 1:], plain.permute(0, 2, 3, 1).reshape(1, 256, WIDTH), atol=1e-2
    )


def test_features_do_not_depend_on_the_batch(encoder: dinov2.DinoV2):
    images = torch.stack([encoder.prepare(noise(50, 60, seed)) for seed in range(11)])
    alone = torch.cat([encoder(image[None])["pool"] for image in images])
    assert ((encoder(images)["pool"] - alone).norm() / alone.norm()).item() < 1e-5
    with pytest.raises(ValueError, match="expected uint8"):
        encoder(images.float())


def test_the_fingerprint_follows_the_file(state: dict[str, Tensor], tmp_path: Path):
    torch.save(state, tmp_path / "dino.pth")
    encoder = dinov2.load(device="cpu", path=str(tmp_path / "dino.pth"))
    assert (encoder.name, encoder.kind) == ("dinov2-l14", "dinov2")
    torch.save(state | {"cls_token": state["cls_token"] + 1}, tmp_path / "other.pth")
    assert (
        dinov2.load(device="cpu", path=str(tmp_path / "other.pth")).fingerprint
        != encoder.fingerprint
    )


def test_other_files_are_refused(tmp_path: Path, empty_caches: Path):
    torch.save({"fc": torch.zeros(3)}, tmp_path / "wrong.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name, words in (
        ("wrong.pth", "do not fit DINOv2"),
        ("text.pth", "cannot be read"),
        ("none.pth", "no weights file"),
    ):
        with pytest.raises(EvalkitError, match=words):
            dinov2.load(path=str(tmp_path / name))
    with pytest.raises(EvalkitError, match=r'Run `evalkit\.weights_fetch\("dinov2-l14"\)`'):
        dinov2.load(fetch=False)
