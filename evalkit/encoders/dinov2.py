"""DINOv2 ViT-L/14 (Oquab et al. 2023, https://arxiv.org/abs/2304.07193) for FD-DINOv2 (Stein et al.
2023, https://arxiv.org/abs/2306.04675).

Convention of dgm-eval: the image is resized to 224 x 224 without keeping its aspect ratio (PIL
bicubic, rounded to uint8), then ImageNet's mean and deviation are applied. The feature is the class
token after the last norm.

The network is defined here with the names of the official file. Its position embeddings, a grid of
37 x 37, are resampled to 16 x 16 with the official code's scale of 16.1 / 37. Other libraries
resample to the size itself and give other features.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL.Image import Image, Resampling
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

from evalkit.core import EncoderKind, EvalkitError, Precision
from evalkit.encoders import weights
from evalkit.encoders.inputs import check, in_its_precision, normalised
from evalkit.images import to_tensor
from evalkit.models.load import device_of

SIZE, PATCH, HEAD = 224, 14, 64
PREPROCESSING = "pil-bicubic-squash-224-1"
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_OFFSET = 0.1  # the official code adds it to the grid before it computes the scale
_CPU_BATCH = 8


class DinoV2:
    """Image to "pool", the 1024 features of the class token; not normalised."""

    name = "dinov2-l14"
    kind: EncoderKind = "dinov2"
    precision: Precision = "exact"

    def __init__(self, state: dict[str, Tensor], digest: str, device: str = "cpu") -> None:
        self.fingerprint = f"{digest[:16]}/{PREPROCESSING}"
        self.device = torch.device(device)
        self.network = build(state).to(self.device)

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> uint8 [3, 224, 224], without keeping the aspect ratio."""
        return to_tensor(image.resize((SIZE, SIZE), Resampling.BICUBIC))

    @in_its_precision
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 [N, 3, 224, 224] -> {"pool": float32 [N, 1024]}, on the encoder's device."""
        check(images, torch.uint8, SIZE)
        pools = []
        for pixels in normalised(images, _MEAN, _DEVIATION, self.device, _CPU_BATCH):
            pools.append(self.network(pixels).float())
        return {"pool": torch.cat(pools)}


class VisionTransformer(nn.Module):
    """Image to class token. Names are those of the official file."""

    def __init__(self, width: int, depth: int, cells: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, cells + 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # in the file, used in training only
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, PATCH, PATCH)})
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """float32 [N, 3, H, W], normalised -> [N, width]."""
        x = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)  # [N, cells, width]
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0])


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict(
            {"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)}
        )
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        )
        self.ls1 = nn.ParameterDict({"gamma": torch.ones(width)})  # LayerScale
        self.ls2 = nn.ParameterDict({"gamma": torch.ones(width)})

    def forward(self, x: Tensor) -> Tensor:
        count, length, width = x.shape
        joint = self.attn["qkv"](self.norm1(x)).view(count, length, 3, width // HEAD, HEAD)
        query, key, value = joint.permute(2, 0, 3, 1, 4)  # each [N, heads, length, 64]
        attended = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.ls1["gamma"] * self.attn["proj"](attended)
        inner = nn.functional.gelu(self.mlp["fc1"](self.norm2(x)))
        return x + self.ls2["gamma"] * self.mlp["fc2"](inner)


def build(state: dict[str, Tensor]) -> VisionTransformer:
    """The network with these weights, for images of 224 x 224.

    Raises EvalkitError where the weights do not fit.
    """
    try:
        width, grid = state["cls_token"].shape[-1], SIZE // PATCH
        depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
        with torch.device("meta"):
            network = VisionTransformer(width, depth, grid**2)
        positions = resampled(state["pos_embed"], grid)
        network.load_state_dict(state | {"pos_embed": positions}, assign=True)
    except (KeyError, RuntimeError) as error:
        raise EvalkitError(
            "The weights do not fit DINOv2: tensors are missing or have another shape.",
            "Give the official file: `evalkit weights fetch dinov2-l14` fetches it.",
            code="encoders-5",
        ) from error
    return network.eval().requires_grad_(False)


def resampled(positions: Tensor, grid: int) -> Tensor:
    """Position embeddings [1, 1 + M * M, width] -> [1, 1 + grid * grid, width] (bicubic)."""
    side = round((positions.shape[1] - 1) ** 0.5)
    if side == grid:
        return positions
    cells = positions[:, 1:].float().view(1, side, side, -1).permute(0, 3, 1, 2)
    scale = (grid + _OFFSET) / side
    cells = interpolate(cells, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([positions[:, :1], cells.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def load(*, device: str = "auto", path: str = "", fetch: bool = True) -> DinoV2:
    """DINOv2 ViT-L/14 in the convention of dgm-eval, for FD-DINOv2 (1024 dimensions)."""
    if path:
        file = Path(path)
        if not file.is_file():
            raise EvalkitError(
                f"There is no weights file {path}.", "Check the path.", code="encoders-6"
            )
        digest = weights.sha256_of(file)
    else:
        [(item, file)] = weights.obtain(DinoV2.name, fetch)
        digest = item.sha256
    return DinoV2(weights.read_tensors(file), digest, device_of(device))
