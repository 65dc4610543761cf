"""DINOv2 ViT-L/14 (Oquab et al. 2023, https://arxiv.org/abs/2304.07193), as FD-DINOv2 uses it
(Stein et al. 2023, https://arxiv.org/abs/2306.04675).

Convention of dgm-eval: the picture is squashed to 224 x 224 by PIL bicubic and rounded to uint8,
then ImageNet's mean and deviation; the feature is the class token after the last norm. The network
is written out here under the names of the official file. Its position embeddings, of a grid of 37 x
37, are resampled to 16 x 16 with the official code's scale of 16.1 / 37: other libraries resample
to the size itself and give other features.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL.Image import Image, Resampling
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

from evalkit.core import EncoderKind, EvalkitError
from evalkit.encoders import weights
from evalkit.images import to_tensor
from evalkit.models.load import device_of

SIZE, PATCH, HEAD = 224, 14, 64
PREPROCESSING = "pil-bicubic-squash-224-1"
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# added to the grid before its scale is taken; a habit of the official code, kept by all its
# checkpoints
_OFFSET = 0.1
_CPU_BATCH = 8


class DinoV2:
    """Image to "pool", the 1024 features of the class token; not normalised."""

    name = "dinov2-l14"
    kind: EncoderKind = "dinov2"

    def __init__(self, state: dict[str, Tensor], digest: str, device: str = "cpu") -> None:
        self.fingerprint = f"{digest[:16]}/{PREPROCESSING}"
        self.device = torch.device(device)
        self.network = build(state).to(self.device)

    def prepare(self, image: Image) -> Tensor:
        """RGB image of any size -> uint8 [3, 224, 224]; its sides are not kept in proportion."""
        return to_tensor(image.resize((SIZE, SIZE), Resampling.BICUBIC))

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 [N, 3, 224, 224] -> {"pool": float32 [N, 1024]}, on the CPU."""
        if images.dtype != torch.uint8 or images.shape[1:] != (3, SIZE, SIZE):
            raise ValueError(
                f"images are {images.dtype} {tuple(images.shape)}; expected uint8 [N, 3, {SIZE}, {SIZE}]"
            )
        mean, deviation = (
            torch.tensor(values, device=self.device).view(3, 1, 1) for values in (_MEAN, _DEVIATION)
        )
        pools = []
        for part in images.split(_CPU_BATCH if self.device.type == "cpu" else len(images)):
            with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
                pools.append(self.network((part.to(self.device) / 255 - mean) / deviation).cpu())
        return {"pool": torch.cat(pools)}


class VisionTransformer(nn.Module):
    """Picture to class token. Names are those of the official file."""

    def __init__(self, width: int, depth: int, cells: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, cells + 1, width))
        self.mask_token = nn.Parameter(
            torch.zeros(1, width)
        )  # of the training; read so that the file fits exactly
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
        self.ls1, self.ls2 = (
            nn.ParameterDict({"gamma": torch.ones(width)}) for _ in range(2)
        )  # LayerScale

    def forward(self, x: Tensor) -> Tensor:
        count, length, width = x.shape
        joint = self.attn["qkv"](self.norm1(x)).view(count, length, 3, width // HEAD, HEAD)
        query, key, value = joint.permute(2, 0, 3, 1, 4)  # each [N, heads, length, 64]
        seen = (
            scaled_dot_product_attention(query, key, value)
            .transpose(1, 2)
            .reshape(count, length, width)
        )
        x = x + self.ls1["gamma"] * self.attn["proj"](seen)
        inner = nn.functional.gelu(self.mlp["fc1"](self.norm2(x)))
        return x + self.ls2["gamma"] * self.mlp["fc2"](inner)


def build(state: dict[str, Tensor]) -> VisionTransformer:
    """The network of these weights, for pictures of 224 x 224. Raises EvalkitError where they are
    of another one.
    """
    try:
        width, grid = state["cls_token"].shape[-1], SIZE // PATCH
        depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
        with torch.device("meta"):
            network = VisionTransformer(width, depth, grid**2)
        network.load_state_dict(
            state | {"pos_embed": resampled(state["pos_embed"], grid)}, assign=True
        )
    except (KeyError, RuntimeError) as error:
        raise EvalkitError(
            "The weights do not fit DINOv2: tensors are missing or of other shapes.",
            "Expected the official file.",
        ) from error
    return network.eval().requires_grad_(False)


def resampled(positions: Tensor, grid: int) -> Tensor:
    """Position embeddings [1, 1 + M * M, width] -> [1, 1 + grid * grid, width], bicubic with the
    official scale.
    """
    side = round((positions.shape[1] - 1) ** 0.5)
    if side == grid:
        return positions
    cells = positions[:, 1:].float().view(1, side, side, -1).permute(0, 3, 1, 2)
    scale = (grid + _OFFSET) / side
    cells = interpolate(cells, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([positions[:, :1], cells.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def load(*, device: str = "auto", path: str = "", fetch: bool = True) -> DinoV2:
    """DINOv2 ViT-L/14 in the convention of dgm-eval: FD-DINOv2 (1024 dimensions)."""
    if path:
        if not Path(path).is_file():
            raise EvalkitError(f"There is no weights file {path}.", "Check the path.")
        file = Path(path)
    else:
        [(_, file)] = weights.obtain(DinoV2.name, fetch)
    digest = weights.verify(file, "")
    return DinoV2(weights.read_tensors(file), digest, device_of(device))
