"""A small CLIP in the layout of OpenAI and open_clip, written out, with seeded weights."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

CONTEXT, TOKENS, SIZE = 77, 49408, 224


class Block(nn.Module):
    """One transformer layer. open_clip's ViT-H/14 has GELU where OpenAI has its quick form."""

    def __init__(self, width: int, head: int = 64, gelu: bool = False) -> None:
        super().__init__()
        self.gelu = gelu
        self.attn = nn.MultiheadAttention(width, width // head)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), c_proj=nn.Linear(4 * width, width))
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:  # [length, N, width]
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        inner = self.mlp[0](self.ln_2(x))
        active = nn.functional.gelu(inner) if self.gelu else inner * torch.sigmoid(1.702 * inner)
        return x + self.mlp[1](active)


class Visual(nn.Module):
    def __init__(self, width: int, dimensions: int, head: int = 64, gelu: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 32, 32, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn((SIZE // 32) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block(width, head, gelu) for _ in range(2))
        self.proj = nn.Parameter(torch.randn(width, dimensions) / width**0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).flatten(2).permute(0, 2, 1)  # [N, cells, width]
        x = (
            torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)
            + self.positional_embedding
        )
        x = self.ln_pre(x).permute(1, 0, 2)
        for block in self.transformer.resblocks:
            x = block(x)
        return self.ln_post(x[0]) @ self.proj


class OpenAI(nn.Module):
    """The whole network in OpenAI's layout and names."""

    def __init__(self, width: int = 128, head: int = 64, gelu: bool = False) -> None:
        super().__init__()
        self.visual = Visual(width, 16, head, gelu)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block(64, 64, gelu) for _ in range(2))
        self.token_embedding = nn.Embedding(TOKENS, 64)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, 64))
        self.ln_final = nn.LayerNorm(64)
        self.text_projection = nn.Parameter(torch.randn(64, 16) / 8)
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        self.register_buffer("input_resolution", torch.tensor(SIZE))
        self.register_buffer("context_length", torch.tensor(CONTEXT))
        self.register_buffer("vocab_size", torch.tensor(TOKENS))

    def forward(self, x: Tensor) -> Tensor:
        return x

    def text(self, tokens: list[int]) -> Tensor:
        x = (self.token_embedding(torch.tensor(tokens)) + self.positional_embedding[: len(tokens)])[
            :, None
        ]
        mask = torch.full((len(tokens), len(tokens)), float("-inf")).triu(1)
        for block in self.transformer.resblocks:
            x = block(x, mask)
        return self.ln_final(x[-1, 0]) @ self.text_projection  # the end token is the last


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.RandomState(seed).randint(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def network(width: int = 128, head: int = 64, gelu: bool = False) -> OpenAI:
    """Half precision as in OpenAI's files, except layer norms and embeddings."""
    torch.manual_seed(0)
    model = OpenAI(width, head, gelu)
    for name, tensor in model.named_parameters():
        if "ln_" in name or name.endswith("bias"):
            nn.init.normal_(tensor, float("ln_" in name and name.endswith("weight")), 0.1)
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.MultiheadAttention)):
            module.half()
    return model.eval().requires_grad_(False)
