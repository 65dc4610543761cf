"""A text-conditional GAN that grows (Karras et al. 2018; Reed et al. 2016; Miyato et al. 2018).

What is special here
- The generator starts at 4 x 4 and doubles: smooth upsampling, two convolutions, each modulated by text and noise. Every size has
  its own way to pixels, so that training can begin at 8 x 8, where a step costs a tenth, and fade in 16 and 32.
- The discriminator is the mirror image, spectrally normalised in every layer unless told otherwise. It looks for what is wrong
  in the picture, and by the product of its features with the text's (Miyato and Koyama 2018) for what is wrong about it.
- A second discriminator looks through the eyes of a frozen classifier (Sauer et al. 2021), one that neither scores nor conditions.
  In its finer map every word of the text looks for the place that shows it (as in FILIP; Yao et al. 2022): one vector for the whole
  text does not tell a picture of one of two things from a picture of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from evalkit.models.mini_inception import MiniInception
from evalkit.models.text import TextFeatures

WIDTHS = {4: 128, 8: 128, 16: 64, 32: 24, 64: 16, 128: 12}  # channels at each size of the picture; other sizes: `widths`
GROUP = 4  # consecutive pictures whose spread the discriminator sees (as in StyleGAN; Karras et al. 2019)


def sizes_of(widths: Mapping[int, int], size: int) -> list[int]:
    """4, 8, ... size: what a network of that size passes through."""
    sizes = [4, 8]
    while sizes[-1] < size:
        sizes.append(2 * sizes[-1])
    if sizes[-1] != size or not widths.keys() >= set(sizes):
        raise ValueError(f"No network for {size} pixels: expected 8, 16, 32, ... with widths for all sizes from 4, found {dict(widths)}.")
    return sizes


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

    def __init__(self, text: int = 128, noise: int = 64, size: int = 32, style: int = 192, widths: Mapping[int, int] = WIDTHS) -> None:
        super().__init__()
        self.noise, self.size, self.sizes = noise, size, sizes_of(widths, size)
        self.mapping = nn.Sequential(nn.Linear(text + noise, style), nn.LeakyReLU(0.2), nn.Linear(style, style), nn.LeakyReLU(0.2))
        self.start = nn.Linear(style, widths[4] * 16)
        pairs = list(zip(self.sizes, self.sizes[1:], strict=False))
        self.first = nn.ModuleList(_Modulated(widths[small], widths[large], style) for small, large in pairs)
        self.second = nn.ModuleList(_Modulated(widths[large], widths[large], style) for _, large in pairs)
        self.pixels = nn.ModuleList(nn.Conv2d(widths[large], 3, 1) for _, large in pairs)

    def forward(self, text: Tensor, noise: Tensor, size: int | None = None, fade: float = 1.0) -> Tensor:
        """text: float [N, text], unit vectors; noise: float [N, noise] -> float [N, 3, size, size], about -1..1.

        fade < 1 mixes in the picture of half the size: 0 is that picture enlarged, 1 the new one alone.
        """
        last = self.sizes[1:].index(size or self.size)
        style = self.mapping(torch.cat((_scaled(text), noise), 1))
        x = normalise(self.start(style).unflatten(1, (-1, 4, 4)))
        before = x
        for level in range(last + 1):
            before = x
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)  # [N, channels, 8 << level, 8 << level]
            x = self.second[level](self.first[level](x, style), style)
        picture = self.pixels[last](x)
        if fade < 1 and last > 0:
            small = F.interpolate(self.pixels[last - 1](before), scale_factor=2, mode="bilinear", align_corners=False)
            picture = torch.lerp(small, picture, fade)
        return torch.tanh(picture)


def _spread(x: Tensor) -> Tensor:
    """The standard deviation over groups of consecutive pictures as one more map [N, 1, S, S]: a collapsed generator gives itself
    away (Karras et al. 2018). Groups and not the batch, so that no score depends on how many processes share it; a batch that is
    no multiple of four has groups of its largest divisor below."""
    group = next(count for count in range(GROUP, 0, -1) if len(x) % count == 0)
    variance = x.float().unflatten(0, (-1, group)).var(1, correction=0)  # [N / group, C, S, S]
    deviation = (variance + 1e-8).sqrt().mean((1, 2, 3))  # at zero the root has no derivative, and the gradient penalty takes two
    return deviation.repeat_interleave(group).to(x.dtype)[:, None, None, None].expand(-1, 1, *x.shape[2:])


def _normalised(layer: nn.Module, spectral: bool) -> nn.Module:
    """Largest singular value 1, so that no layer stretches a difference (Miyato et al. 2018); or the layer as it is."""
    return spectral_norm(layer) if spectral else layer


def _scaled(text: Tensor) -> Tensor:
    """Unit vectors to components of about 1."""
    return text * text.shape[1] ** 0.5


def _agreement(feature: Tensor, text: Tensor) -> Tensor:
    return (feature * text).sum(1) / feature.shape[1] ** 0.5


def found(places: Tensor, words: Tensor, mask: Tensor) -> Tensor:
    """places: [N, D, h, w]; words: [N, T, D]; mask: bool [N, T] -> [N], the sum over words of how well their best place shows them."""
    best = (words @ places.flatten(2)).amax(2) / words.shape[2] ** 0.5
    return (best * mask).sum(1)


class Discriminator(nn.Module):
    """Pictures and texts to one score per pair, large for real pictures of the text."""

    def __init__(self, text: int = 128, size: int = 32, spectral: bool = True, widths: Mapping[int, int] = WIDTHS) -> None:
        super().__init__()
        self.sizes = sizes_of(widths, size)
        large, base = self.sizes[1:], widths[4]
        self.pixels = nn.ModuleDict({str(side): _normalised(nn.Conv2d(3, widths[side], 1), spectral) for side in large})
        self.same = nn.ModuleDict({str(side): _normalised(nn.Conv2d(widths[side], widths[side], 3, padding=1), spectral) for side in large})
        self.down = nn.ModuleDict(
            {str(side): _normalised(nn.Conv2d(widths[side], widths[side // 2], 3, padding=1), spectral) for side in large}
        )
        self.last = _normalised(nn.Conv2d(base + 1, base, 3, padding=1), spectral)
        self.score = _normalised(nn.Linear(base * 16, 1), spectral)
        self.feature = _normalised(nn.Linear(base * 16, 128), spectral)
        self.text = _normalised(nn.Linear(text, 128), spectral)

    def forward(self, pictures: Tensor, texts: Sequence[TextFeatures], fade: float = 1.0) -> list[Tensor]:
        """pictures: float [N, 3, S, S]; each of the texts: N of them, pooled to unit vectors -> float [N] for each of the texts."""
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
        return [score + _agreement(feature, self.text(_scaled(text.pooled))) for text in texts]


class FeatureDiscriminator(nn.Module):
    """The same question, asked of a frozen classifier's features instead of pixels."""

    def __init__(self, eyes: MiniInception, text: int = 128, width: int = 96, spectral: bool = True) -> None:
        super().__init__()
        self._eyes = [eyes.eval().requires_grad_(False)]  # in a list: no part of our weights
        fine, coarse = eyes.fine_channels, eyes.coarse_channels
        self.heads = nn.ModuleList(
            nn.Sequential(
                _normalised(nn.Conv2d(channels, width, 1), spectral), nn.LeakyReLU(0.2),
                _normalised(nn.Conv2d(width, width, 3, padding=1), spectral), nn.LeakyReLU(0.2),
            )
            for channels in (fine, coarse)
        )  # fmt: skip
        self.scores = nn.ModuleList(_normalised(nn.Conv2d(width, 1, 1), spectral) for _ in range(2))
        self.features = nn.ModuleList(_normalised(nn.Linear(2 * width, 128), spectral) for _ in range(2))
        self.texts = nn.ModuleList(_normalised(nn.Linear(text, 128), spectral) for _ in range(2))
        self.places, self.words = _normalised(nn.Conv2d(width, 128, 1), spectral), _normalised(nn.Linear(text, 128), spectral)

    def forward(self, pictures: Tensor, texts: Sequence[TextFeatures]) -> list[Tensor]:
        """pictures: float [N, 3, S, S] of any size, seen at 32; each of the texts: N of them -> float [N] for each."""
        if pictures.shape[-1] > 32:
            pictures = F.interpolate(pictures, size=(32, 32), mode="area")
        elif pictures.shape[-1] < 32:
            pictures = F.interpolate(pictures, size=(32, 32), mode="bilinear", align_corners=False)
        totals = [pictures.new_zeros(len(pictures)) for _ in texts]
        seen = [head(maps) for maps, head in zip(self._eyes[0].trunk(pictures), self.heads, strict=True)]  # fine, coarse
        places = self.places(seen[0])
        for x, score, feature, words in zip(seen, self.scores, self.features, self.texts, strict=True):
            pooled = torch.cat((x.mean((2, 3)), x.amax((2, 3))), 1)
            looks, shows = score(x).mean((1, 2, 3)), feature(pooled)
            totals = [total + looks + _agreement(shows, words(_scaled(text.pooled))) for total, text in zip(totals, texts, strict=True)]
        return [total + found(places, self.words(text.tokens), text.mask) for total, text in zip(totals, texts, strict=True)]
