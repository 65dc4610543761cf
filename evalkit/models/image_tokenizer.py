"""The discrete image tokenizer: pixels to a grid of tokens and back (32 x 32 pixels to 8 x 8 tokens
at factor 4).

- Finite scalar quantisation (Mentzer et al. 2023): every channel of the latent is rounded to a few
  levels, and the token is the mixed-radix number of the levels. No codebook can collapse.
- The encoder sees one patch of the image per token and nothing around it. The same sprite at the
  same grid position therefore has the same tokens, whatever stands beside it, and the Transformer
  can learn them. With a larger receptive field every token would change with its neighbours, and
  the Transformer would mostly learn that noise. The decoder does use the neighbours.
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
            nn.Conv2d(3, 4 * width, self.factor, self.factor),
            nn.SiLU(),
            nn.Conv2d(4 * width, 4 * width, 1),
            nn.SiLU(),
            nn.Conv2d(4 * width, len(levels), 1),
        )
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
            nn.Conv2d(len(levels), wide, 3, padding=1),
            *(Residual(wide) for _ in range(3)),
            *up,
            nn.GroupNorm(8, last),
            nn.SiLU(),
            nn.Conv2d(last, 3, 3, padding=1),
        )
        self.register_buffer("reach", (torch.tensor(self.levels) - 1) / 2, persistent=False)
        self.register_buffer(
            "radix", torch.tensor([prod(levels[:k]) for k in range(len(levels))]), persistent=False
        )

    reach: Tensor  # float32 [C]: level k of channel c stands for (k - reach) / reach in -1..1
    radix: Tensor  # int64 [C]

    def quantise(self, latents: Tensor) -> Tensor:
        """float [N, C, H, W] -> the nearest levels, in -1..1, with a straight-through gradient."""
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
        side, reach = int(tokens.shape[1] ** 0.5), self.reach[:, None]
        counts = torch.tensor(self.levels, device=tokens.device)[:, None]
        levels = tokens[:, None] // self.radix[:, None] % counts  # [N, C, h * w]
        return self.decoder(((levels - reach) / reach).unflatten(2, (side, side)))
