"""A text-conditional GAN that grows (Karras et al. 2018; Reed et al. 2016).

What is special here
- The generator starts at 4 x 4 and doubles: a convolution, smooth upsampling, more convolutions,
  each modulated by text and noise. Every size has its own way to pixels, so that training can begin
  at 8 x 8, where a step costs a tenth, and fade in 16 and 32.
- At 8 x 8 every place asks the words of the text what belongs there (as in Xu et al. 2018): one
  vector for the whole text does not say which of two things stands where. So the words are read in
  order, by a small Transformer of its own.
- While it is trained, an encoder says with which noise it should have drawn a real picture (Larsen
  et al. 2016; Zhu et al. 2017). So it is told what was expected of it, which critics never tell,
  and cannot ignore the noise. The critics: `discriminators`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evalkit.models.layers import attend
from evalkit.models.text import TextFeatures, TextTower, ended

WIDTHS = {
    4: 128,
    8: 128,
    16: 64,
    32: 32,
    64: 16,
    128: 12,
}  # channels at each size of the picture; other sizes: `widths`
TWICE = (
    16,
    # sizes of two convolutions, all others have one: here is where most of a thing's shape is drawn,
    # and it is cheap
)
HEADS = 4


def sizes_of(widths: Mapping[int, int], size: int) -> list[int]:
    """4, 8, ... size: what a network of that size passes through."""
    sizes = [4, 8]
    while sizes[-1] < size:
        sizes.append(2 * sizes[-1])
    if sizes[-1] != size or not widths.keys() >= set(sizes):
        raise ValueError(
            f"No network for {size} pixels: expected 8, 16, 32, ... with widths for all sizes from 4, found {dict(widths)}."
        )
    return sizes


def scaled(text: Tensor) -> Tensor:
    """Unit vectors to components of about 1."""
    return text * text.shape[1] ** 0.5


class _Modulated(nn.Module):
    """A convolution whose output, brought to unit root mean square, is scaled and shifted by the
    style. The mean is over the whole
    picture: one number of each, which becomes part of the scale. Normalising every place took
    longer than a convolution.
    """

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.style = nn.Linear(style, 2 * outputs)
        nn.init.normal_(self.style.weight, std=0.1)
        nn.init.zeros_(self.style.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.style(style)[:, :, None, None].chunk(2, 1)
        x = self.convolution(x)
        length = torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True)
        deviation = (length.square() / x[0].numel() + 1e-6).sqrt()
        return F.leaky_relu(torch.addcmul(shift, x, (1 + scale) / deviation), 0.2, inplace=True)


class _Words(nn.Module):
    """Attention of every place to the words of the text."""

    def __init__(self, channels: int, text: int) -> None:
        super().__init__()
        self.place = nn.Parameter(0.3 * torch.randn(channels, 8, 8))
        self.query = nn.Linear(channels, text)
        self.key_value = nn.Linear(text, 2 * text)
        self.project = nn.Linear(text, channels)

    def forward(self, x: Tensor, text: TextFeatures) -> Tensor:
        """x: [N, channels, 8, 8]."""
        query = (
            self.query((x + self.place).flatten(2).transpose(1, 2))
            .unflatten(2, (HEADS, -1))
            .transpose(1, 2)
        )
        key, value = (
            self.key_value(text.tokens).unflatten(2, (2, HEADS, -1)).permute(2, 0, 3, 1, 4)
        )  # [N, HEADS, T, text / HEADS]
        query, key = (
            F.rms_norm(query, query.shape[-1:], eps=1e-6),
            F.rms_norm(key, key.shape[-1:], eps=1e-6),
        )
        seen = (
            attend(query, key, value, text.mask[:, None, None]).transpose(1, 2).flatten(2)
        )  # [N, 64, text]
        return x + self.project(seen).transpose(1, 2).unflatten(2, (8, 8))


class Gan(nn.Module):
    """The generator: text and noise to picture."""

    def __init__(
        self,
        text: TextTower,
        noise: int = 64,
        size: int = 32,
        style: int = 192,
        widths: Mapping[int, int] = WIDTHS,
    ) -> None:
        super().__init__()
        self.noise, self.size, self.sizes = noise, size, sizes_of(widths, size)
        self.text, width = text, text.position.shape[1]
        self.mapping = nn.Sequential(
            nn.Linear(width + noise, style),
            nn.LeakyReLU(0.2),
            nn.Linear(style, style),
            nn.LeakyReLU(0.2),
        )
        self.start = nn.Linear(style, widths[4] * 16)
        pairs = list(zip(self.sizes, self.sizes[1:], strict=False))
        self.first = nn.ModuleList(
            _Modulated(widths[small], widths[large], style) for small, large in pairs
        )
        self.second = nn.ModuleList(
            nn.ModuleList(
                _Modulated(widths[large], widths[large], style)
                for _ in range(2 if large in TWICE else 1)
            )
            for _, large in pairs
        )
        self.words = _Words(widths[8], width)
        self.pixels = nn.ModuleList(nn.Conv2d(widths[large], 3, 1) for _, large in pairs)

    def encode_text(self, numbers: Tensor) -> TextFeatures:
        """Piece numbers int64 [N, T] -> token features [N, T, D], mask [N, T] and pooled [N, D],
        unit vectors.
        """
        return self.text(ended(numbers, len(self.text.position)))

    def noise_of(self, seeds: Sequence[int]) -> Tensor:
        """Each picture's own noise, from its seed: float [N, noise]."""
        return torch.stack(
            [
                torch.randn(self.noise, generator=torch.Generator().manual_seed(seed))
                for seed in seeds
            ]
        )

    def plan(self, text: TextFeatures, noise: Tensor) -> tuple[Tensor, Tensor]:
        """All that a text decides about a picture: the style, float [N, style], and what is where,
        float [N, channels, 8, 8].
        """
        style = self.mapping(torch.cat((scaled(text.pooled), noise), 1))
        x = self._enlarged(0, self.start(style).unflatten(1, (-1, 4, 4)), style)
        return style, self.words(x, text)

    def _enlarged(self, level: int, x: Tensor, style: Tensor) -> Tensor:
        return F.interpolate(
            self.first[level](x, style), scale_factor=2, mode="bilinear", align_corners=False
        )

    def forward(
        self, text: TextFeatures, noise: Tensor, size: int | None = None, fade: float = 1.0
    ) -> Tensor:
        """noise: float [N, noise] -> float [N, 3, size, size], -1..1.

        fade < 1 mixes in the picture of half the size: 0 is that picture enlarged, 1 the new one
        alone.
        """
        last = self.sizes[1:].index(size or self.size)
        style, x = self.plan(text, noise)
        before = x
        for level in range(last + 1):
            if level > 0:
                before = x
                x = self._enlarged(level, x, style)
            for convolution in cast(nn.ModuleList, self.second[level]):
                x = convolution(x, style)  # [N, channels, 8 << level, 8 << level]
        picture = self.pixels[last](x)
        if fade < 1 and last > 0:
            small = F.interpolate(
                self.pixels[last - 1](before), scale_factor=2, mode="bilinear", align_corners=False
            )
            picture = torch.lerp(
                small.to(picture.dtype), picture, fade
            )  # which on CUDA comes enlarged as float32 even under autocast
        return torch.tanh(picture)


class Posterior(NamedTuple):
    """A normal distribution of the noise of each of some pictures."""

    mean: Tensor  # float [N, noise]
    log_variance: Tensor  # float [N, noise]

    def sample(self, normal: Tensor) -> Tensor:
        """normal: float [N, noise], drawn from the standard normal distribution."""
        return self.mean + (0.5 * self.log_variance).exp() * normal

    def kl_divergence(self) -> Tensor:
        """From the standard normal distribution (Kullback and Leibler), in nats: float [N]."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance).sum(1)


class LatentEncoder(nn.Module):
    """Real pictures to the noise that they could have been drawn with."""

    def __init__(self, noise: int = 64, size: int = 32, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        while size > 4:
            layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            channels, width, size = width, min(2 * width, 128), size // 2
        self.layers, self.guess = (
            nn.Sequential(*layers, nn.Flatten()),
            nn.Linear(16 * channels, 2 * noise),
        )

    def forward(self, pictures: Tensor) -> Posterior:
        """pictures: float [N, 3, size, size], -1..1."""
        mean, log_variance = self.guess(self.layers(pictures)).float().chunk(2, 1)
        return Posterior(mean, log_variance.clamp(-10, 2))
