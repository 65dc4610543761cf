"""The discrete image tokenizer: pixels to a grid of tokens and back (32 x 32 pixels to 8 x 8 tokens
at the factor 4).

What is special here
- Finite scalar quantisation (Mentzer et al. 2023): every channel of the latent is rounded to a few
  levels, and the token is the mixed-radix number of the levels. There is no codebook to keep alive.
- The encoder sees one patch of the picture per token and nothing around it: the same sprite in the
  same place of the grid is the same tokens whatever stands beside it, which is what a Transformer
  can learn. With an encoder that looks around, every token changes with its neighbours, and most of
  what the Transformer then learns is that noise. The decoder does look around.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from evalkit.models.layers import Residual


class ImageTokenizer(nn.Module):
    def __init__(
        self, levels: Sequence[int] = (8, 8, 8, 6), width: int = 64, doublings: int = 2
    ) -> None:
        super().__init__()
        self.levels, self.codes, self.factor = tuple(levels), prod(levels), 2**doublings
        wide = width * 3 // 2
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 4 * width, self.factor, self.factor), nn.SiLU(), nn.Conv2d(4 * width, 4 * width, 1), nn.SiLU(),
            nn.Conv2d(4 * width, len(levels), 1),
        )  # fmt: skip
        up: list[nn.Module] = []
        for step in range(doublings):
            inputs, outputs = wide >> step, wide >> (step + 1)
            up += [
                nn.Conv2d(inputs, 4 * outputs, 3, padding=1),
                nn.PixelShuffle(2),
                *([Residual(outputs)] if step < doublings - 1 else []),
            ]
        last = wide >> doublings
        self.decoder = nn.Sequential(
            nn.Conv2d(len(levels), wide, 3, padding=1), Residual(wide), Residual(wide), Residual(wide), *up,
            nn.GroupNorm(8, last), nn.SiLU(), nn.Conv2d(last, 3, 3, padding=1),
        )  # fmt: skip
        self.register_buffer("reach", (torch.tensor(self.levels) - 1) / 2, persistent=False)
        self.register_buffer(
            "radix", torch.tensor([prod(levels[:k]) for k in range(len(levels))]), persistent=False
        )

    reach: Tensor  # float32 [C]: level k of channel c stands for (k - reach) / reach in -1..1
    radix: Tensor  # int64 [C]

    def quantise(self, latents: Tensor) -> Tensor:
        """float [N, C, H, W] -> the nearest levels, in -1..1, with the gradient of the identity."""
        reach = self.reach[:, None, None]
        bounded = torch.tanh(latents) * reach
        rounded = (bounded + reach).round() - reach
        return (bounded + (rounded - bounded).detach()) / reach

    def forward(self, images: Tensor) -> Tensor:
        """float [N, 3, S, S] in -1..1 -> reconstruction."""
        return self.decoder(self.quantise(self.encoder(images)))

    def encode(self, images: Tensor) -> Tensor:
        """float [N, 3, S, S] in -1..1 -> tokens int64 [N, (S / factor) ** 2], row by row."""
        reach = self.reach[:, None, None]
        levels = (torch.tanh(self.encoder(images)) * reach + reach).round().long()  # [N, C, h, w]
        return (levels * self.radix[:, None, None]).sum(1).flatten(1)

    def decode(self, tokens: Tensor) -> Tensor:
        """tokens int64 [N, h * w] -> float [N, 3, S, S], about -1..1."""
        side = int(tokens.shape[1] ** 0.5)
        levels = torch.stack(
            [
                tokens // int(radix) % count
                for radix, count in zip(self.radix, self.levels, strict=True)
            ],
            1,
        )
        return self.decoder(
            ((levels - self.reach[:, None]) / self.reach[:, None]).unflatten(2, (side, side))
        )
