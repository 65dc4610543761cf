"""A text-conditional GAN with progressive growing (Karras et al. 2018; Reed et al. 2016).

- The generator starts at 4 x 4 and doubles: a convolution, bilinear upsampling, more convolutions,
  each modulated by text and noise. Every size has its own output layer, so that training can begin
  at 8 x 8, where a step costs a tenth, and fade in 16 and 32.
- At 8 x 8 every position attends to the words of the text (as in Xu et al. 2018): one vector for
  the whole text does not say which of two objects stands where. A small Transformer of its own
  encodes the words in order.
- In training, an encoder infers from a real image the noise that should have produced it (Larsen
  et al. 2016; Zhu et al. 2017). The reconstruction loss gives the generator a target, which
  discriminators do not, and keeps it from ignoring the noise. See also `discriminators`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evalkit.models.layers import attend
from evalkit.models.text import TextFeatures, TextTower, append_end

# channels at each size of the image; other sizes: `widths`
WIDTHS = {4: 128, 8: 128, 16: 64, 32: 32, 64: 16, 128: 12}
# sizes with two convolutions: most of an object's shape is drawn here, and it is cheap
TWICE = (16,)
HEADS = 4


def sizes_of(widths: Mapping[int, int], size: int) -> list[int]:
    """4, 8, ... size: the sizes of the maps in a network of that output size."""
    sizes = [4, 8]
    while sizes[-1] < size:
        sizes.append(2 * sizes[-1])
    if sizes[-1] != size or not widths.keys() >= set(sizes):
        raise ValueError(
            f"No network for {size} pixels: expected 8, 16, 32, ... with widths for all sizes"
            f" from 4, found {dict(widths)}."
        )
    return sizes


def scaled(text: Tensor) -> Tensor:
    """Unit vectors, scaled to components of about 1."""
    return text * text.shape[1] ** 0.5


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class _ModulatedConvolution(nn.Module):
    """A convolution whose output is normalised to unit root mean square, then scaled and shifted by
    the style.
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
        # One root mean square per image, which merges with the scale: normalising every position
        # took longer than a convolution.
        norm = torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True)
        deviation = (norm.square() / x[0].numel() + 1e-6).sqrt()
        return F.leaky_relu(torch.addcmul(shift, x, (1 + scale) / deviation), 0.2, inplace=True)


class _WordAttention(nn.Module):
    """Attention of every position to the words of the text."""

    def __init__(self, channels: int, text: int) -> None:
        super().__init__()
        self.place = nn.Parameter(0.3 * torch.randn(channels, 8, 8))
        self.query = nn.Linear(channels, text)
        self.key_value = nn.Linear(text, 2 * text)
        self.project = nn.Linear(text, channels)

    def forward(self, x: Tensor, text: TextFeatures) -> Tensor:
        """x: [N, channels, 8, 8]."""
        query = self.query((x + self.place).flatten(2).transpose(1, 2))
        query = query.unflatten(2, (HEADS, -1)).transpose(1, 2)  # [N, HEADS, 64, text / HEADS]
        pairs = self.key_value(text.tokens).unflatten(2, (2, HEADS, -1))
        key, value = pairs.permute(2, 0, 3, 1, 4)  # [N, HEADS, T, text / HEADS]
        query = F.rms_norm(query, query.shape[-1:], eps=1e-6)
        key = F.rms_norm(key, key.shape[-1:], eps=1e-6)
        attended = attend(query, key, value, text.mask[:, None, None])
        attended = attended.transpose(1, 2).flatten(2)  # [N, 64, text]
        return x + self.project(attended).transpose(1, 2).unflatten(2, (8, 8))


class Gan(nn.Module):
    """The generator: text and noise to image."""

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
        pairs = list(pairwise(self.sizes))
        self.first = nn.ModuleList(
            _ModulatedConvolution(widths[small], widths[large], style) for small, large in pairs
        )
        self.second = nn.ModuleList(
            nn.ModuleList(
                _ModulatedConvolution(widths[large], widths[large], style)
                for _ in range(2 if large in TWICE else 1)
            )
            for _, large in pairs
        )
        self.words = _WordAttention(widths[8], width)
        self.pixels = nn.ModuleList(nn.Conv2d(widths[large], 3, 1) for _, large in pairs)

    def encode_text(self, ids: Tensor) -> TextFeatures:
        """Piece ids int64 [N, T] -> token features [N, T, D], mask [N, T] and pooled [N, D], unit
        vectors.
        """
        return self.text(append_end(ids, len(self.text.position)))

    def noise_of(self, seeds: Sequence[int]) -> Tensor:
        """float [N, noise]; each row depends on its own seed only."""
        generators = (torch.Generator().manual_seed(seed) for seed in seeds)
        return torch.stack([torch.randn(self.noise, generator=each) for each in generators])

    def plan(self, text: TextFeatures, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Everything in an image that depends on the text: the style, float [N, style], and the
        layout, float [N, channels, 8, 8].
        """
        style = self.mapping(torch.cat((scaled(text.pooled), noise), 1))
        x = _upsample(self.first[0](self.start(style).unflatten(1, (-1, 4, 4)), style))
        return style, self.words(x, text)

    def forward(
        self, text: TextFeatures, noise: Tensor, size: int | None = None, fade: float = 1.0
    ) -> Tensor:
        """noise: float [N, noise] -> float [N, 3, size, size], -1..1.

        fade < 1 mixes in the image of half the size, enlarged: 0 is that image alone, 1 the image
        of full size alone.
        """
        last = self.sizes[1:].index(size or self.size)
        style, x = self.plan(text, noise)
        before = x
        for level in range(last + 1):
            if level > 0:
                before = x
                x = _upsample(self.first[level](x, style))
            for convolution in cast(nn.ModuleList, self.second[level]):
                x = convolution(x, style)  # [N, channels, 8 << level, 8 << level]
        image = self.pixels[last](x)
        if fade < 1 and last > 0:
            small = _upsample(self.pixels[last - 1](before))
            # CUDA interpolates to float32 even under autocast
            image = torch.lerp(small.to(image.dtype), image, fade)
        return torch.tanh(image)


class Posterior(NamedTuple):
    """A normal distribution of the noise of each image, given the image."""

    mean: Tensor  # float [N, noise]
    log_variance: Tensor  # float [N, noise]

    def sample(self, normal: Tensor) -> Tensor:
        """normal: float [N, noise], drawn from the standard normal distribution."""
        return self.mean + (0.5 * self.log_variance).exp() * normal

    def kl_divergence(self) -> Tensor:
        """From the standard normal distribution, in nats: float [N]."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance).sum(1)


class LatentEncoder(nn.Module):
    """Infers from real images the noise that would have produced them."""

    def __init__(self, noise: int = 64, size: int = 32, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        while size > 4:
            layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            channels, width, size = width, min(2 * width, 128), size // 2
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.guess = nn.Linear(16 * channels, 2 * noise)  # checkpoints hold this name

    def forward(self, images: Tensor) -> Posterior:
        """images: float [N, 3, size, size], -1..1."""
        mean, log_variance = self.guess(self.layers(images)).float().chunk(2, 1)
        return Posterior(mean, log_variance.clamp(-10, 2))
