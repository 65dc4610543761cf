"""A text-conditional GAN that grows (Karras et al. 2018; Reed et al. 2016; Miyato et al. 2018).

What is special here
- The generator starts at 4 x 4 and doubles: smooth upsampling, two convolutions, each modulated by text and noise. Every size has
  its own way to pixels, so that training can begin at 8 x 8, where a step costs a tenth, and fade in 16 and 32.
- The discriminator is the mirror image, spectrally normalised in every layer. It looks for what is wrong in the picture, and
  by the product of its features with the text's (Miyato and Koyama 2018) for what is wrong about it.
- A second discriminator looks through the eyes of a frozen classifier (Sauer et al. 2021), one that neither scores nor conditions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from evalkit.models.mini_inception import MiniInception

WIDTHS = {4: 128, 8: 128, 16: 64, 32: 24, 64: 16}  # channels at each size of the picture


def normalise(x: Tensor) -> Tensor:
    """Every pixel's features to unit root mean square (Karras et al. 2018)."""
    return x * (x.square().mean(1, keepdim=True) + 1e-6).rsqrt()


class _Modulated(nn.Module):
    """A convolution whose normalised output is scaled and shifted by the style."""

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.style = nn.Linear(style, 2 * outputs)
        nn.init.normal_(self.style.weight, std=0.1)
        nn.init.zeros_(self.style.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.style(style)[:, :, None, None].chunk(2, 1)
        return F.leaky_relu(normalise(self.convolution(x)) * (1 + scale) + shift, 0.2)


class Gan(nn.Module):
    """The generator: text and noise to picture."""

    def __init__(self, text: int = 128, noise: int = 64, size: int = 32, style: int = 192) -> None:
        super().__init__()
        self.noise, self.size = noise, size
        self.sizes = [side for side in WIDTHS if side <= size]
        self.mapping = nn.Sequential(nn.Linear(text + noise, style), nn.LeakyReLU(0.2), nn.Linear(style, style), nn.LeakyReLU(0.2))
        self.start = nn.Linear(style, WIDTHS[4] * 16)
        pairs = list(zip(self.sizes, self.sizes[1:], strict=False))
        self.first = nn.ModuleList(_Modulated(WIDTHS[small], WIDTHS[large], style) for small, large in pairs)
        self.second = nn.ModuleList(_Modulated(WIDTHS[large], WIDTHS[large], style) for _, large in pairs)
        self.pixels = nn.ModuleList(nn.Conv2d(WIDTHS[large], 3, 1) for _, large in pairs)

    def forward(self, text: Tensor, noise: Tensor, size: int | None = None, fade: float = 1.0) -> Tensor:
        """text: float [N, text], unit vectors; noise: float [N, noise] -> float [N, 3, size, size], about -1..1.

        fade < 1 mixes in the picture of half the size: 0 is that picture enlarged, 1 the new one alone.
        """
        size = size or self.size
        style = self.mapping(torch.cat((text * text.shape[1] ** 0.5, noise), 1))
        x = normalise(self.start(style).unflatten(1, (-1, 4, 4)))
        before = x
        level = 0
        for level, side in enumerate(self.sizes[1:]):
            before = x
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = self.second[level](self.first[level](x, style), style)
            if side == size:
                break
        picture = self.pixels[level](x)
        if fade < 1 and level > 0:
            small = F.interpolate(self.pixels[level - 1](before), scale_factor=2, mode="bilinear", align_corners=False)
            picture = torch.lerp(small, picture, fade)
        return torch.tanh(picture)


class Discriminator(nn.Module):
    """Pictures and texts to one score per pair, large for real pictures of the text."""

    def __init__(self, text: int = 128, size: int = 32) -> None:
        super().__init__()
        self.sizes = [side for side in WIDTHS if side <= size]
        self.pixels = nn.ModuleDict({str(side): spectral_norm(nn.Conv2d(3, WIDTHS[side], 1)) for side in self.sizes[1:]})
        self.same = nn.ModuleDict(
            {str(side): spectral_norm(nn.Conv2d(WIDTHS[side], WIDTHS[side], 3, padding=1)) for side in self.sizes[1:]}
        )
        self.down = nn.ModuleDict(
            {str(side): spectral_norm(nn.Conv2d(WIDTHS[side], WIDTHS[side // 2], 3, padding=1)) for side in self.sizes[1:]}
        )
        self.last = spectral_norm(nn.Conv2d(WIDTHS[4] + 1, WIDTHS[4], 3, padding=1))
        self.score = spectral_norm(nn.Linear(WIDTHS[4] * 16, 1))
        self.feature = spectral_norm(nn.Linear(WIDTHS[4] * 16, 128))
        self.text = spectral_norm(nn.Linear(text, 128))

    def forward(self, pictures: Tensor, texts: Sequence[Tensor], fade: float = 1.0) -> list[Tensor]:
        """pictures: float [N, 3, S, S]; each of the texts: float [N, text], unit vectors -> float [N] for each of the texts."""
        size = pictures.shape[-1]
        x = F.leaky_relu(self.pixels[str(size)](pictures), 0.2)
        for side in reversed(self.sizes[1:]):
            if side > size:
                continue
            x = F.leaky_relu(self.same[str(side)](x), 0.2)
            x = F.leaky_relu(self.down[str(side)](F.avg_pool2d(x, 2)), 0.2)
            if side == size and fade < 1 and side > 8:
                half = F.leaky_relu(self.pixels[str(side // 2)](F.avg_pool2d(pictures, 2)), 0.2)
                x = torch.lerp(half, x, fade)
        x = F.leaky_relu(self.last(torch.cat((x, _spread(x)), 1)), 0.2).flatten(1)
        score, feature = self.score(x)[:, 0], self.feature(x)
        return [score + _agreement(feature, self.text(text * text.shape[1] ** 0.5)) for text in texts]


def _spread(x: Tensor) -> Tensor:
    """The standard deviation over the batch as one more map: a collapsed generator gives itself away (Karras et al. 2018)."""
    return x.float().std(0, correction=0).mean().to(x.dtype).expand(len(x), 1, *x.shape[2:])


class FeatureDiscriminator(nn.Module):
    """The same question, asked of a frozen classifier's features instead of pixels."""

    def __init__(self, eyes: MiniInception, text: int = 128, width: int = 96) -> None:
        super().__init__()
        self._eyes = [eyes.eval().requires_grad_(False)]  # in a list: no part of our weights
        fine, coarse = eyes.fine_channels, eyes.coarse_channels
        self.heads = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(channels, width, 1)), nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width, width, 3, padding=1)), nn.LeakyReLU(0.2),
            )
            for channels in (fine, coarse)
        )  # fmt: skip
        self.scores = nn.ModuleList(spectral_norm(nn.Conv2d(width, 1, 1)) for _ in range(2))
        self.features = nn.ModuleList(spectral_norm(nn.Linear(2 * width, 128)) for _ in range(2))
        self.texts = nn.ModuleList(spectral_norm(nn.Linear(text, 128)) for _ in range(2))

    def forward(self, pictures: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
        """pictures: float [N, 3, S, S], enlarged to 32 where smaller; each of the texts: float [N, text] -> float [N] for each."""
        if pictures.shape[-1] != 32:
            pictures = F.interpolate(pictures, size=(32, 32), mode="bilinear", align_corners=False)
        totals = [pictures.new_zeros(len(pictures)) for _ in texts]
        for maps, head, score, feature, words in zip(
            self._eyes[0].trunk(pictures), self.heads, self.scores, self.features, self.texts, strict=True
        ):
            x = head(maps)
            pooled = torch.cat((x.mean((2, 3)), x.amax((2, 3))), 1)
            looks, shows = score(x).mean((1, 2, 3)), feature(pooled)
            totals = [
                total + looks + _agreement(shows, words(text * text.shape[1] ** 0.5)) for total, text in zip(totals, texts, strict=True)
            ]
        return totals


def _agreement(feature: Tensor, text: Tensor) -> Tensor:
    return (feature * text).sum(1) / feature.shape[1] ** 0.5
