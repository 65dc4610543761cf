"""The two discriminators of the GAN, needed in its training only. Both ask: is the image real, and
does it show what the text says?

- `Discriminator` sees pixels and mirrors the generator, with spectral norm in every layer unless
  switched off (Miyato et al. 2018). The text enters as the product of its features with those of
  the image (projection; Miyato and Koyama 2018).
- `FeatureDiscriminator` sees the features of a frozen classifier (Sauer et al. 2021), one that
  neither measures results nor conditions the generator. Every word of the text is matched with the
  position of the finer map that shows it best (as in FILIP; Yao et al. 2022): one vector for the
  whole text does not distinguish an image of one of two objects from an image of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from evalkit.models.gan import WIDTHS, scaled, sizes_of
from evalkit.models.mini_inception import MiniInception, resize_to_32
from evalkit.models.text import TextFeatures

GROUP = 4  # consecutive images of one standard deviation (as in StyleGAN; Karras et al. 2019)


def _group_deviation(x: Tensor) -> Tensor:
    """The standard deviation over groups of consecutive images, as one more map [N, 1, S, S]: it
    reveals mode collapse (Karras et al. 2018).

    Groups instead of the whole batch, so that no score depends on how many processes share the
    batch. If the batch is not a multiple of 4, the groups have its largest divisor below 4.
    """
    group = next(count for count in range(GROUP, 0, -1) if len(x) % count == 0)
    variance = x.float().unflatten(0, (-1, group)).var(1, correction=0)  # [N / group, C, S, S]
    # + 1e-8: the root has no derivative at 0, and the gradient penalty takes two
    deviation = (variance + 1e-8).sqrt().mean((1, 2, 3)).repeat_interleave(group).to(x.dtype)
    return deviation[:, None, None, None].expand(-1, 1, *x.shape[2:])


def _normalised(layer: nn.Module, spectral: bool) -> nn.Module:
    """With `spectral`, the largest singular value of the layer is 1 (Miyato et al. 2018)."""
    return spectral_norm(layer) if spectral else layer


def _projection(feature: Tensor, text: Tensor) -> Tensor:
    return (feature * text).sum(1) / feature.shape[1] ** 0.5


def late_interaction(places: Tensor, words: Tensor, mask: Tensor) -> Tensor:
    """Each word's similarity to its best position, summed over words: float [N].

    places: [N, D, h, w]; words: [N, T, D]; mask: bool [N, T].
    """
    best = (words @ places.flatten(2)).amax(2) / words.shape[2] ** 0.5
    return (best * mask).sum(1)


class Discriminator(nn.Module):
    """Images and texts to one score per pair, large for real images of the text."""

    def __init__(
        self,
        text: int = 128,
        size: int = 32,
        spectral: bool = True,
        widths: Mapping[int, int] = WIDTHS,
    ) -> None:
        super().__init__()
        self.sizes = sizes_of(widths, size)
        large, base = self.sizes[1:], widths[4]

        def convolution(inputs: int, outputs: int, kernel: int) -> nn.Module:
            return _normalised(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), spectral)

        self.pixels = nn.ModuleDict({str(side): convolution(3, widths[side], 1) for side in large})
        self.same = nn.ModuleDict(
            {str(side): convolution(widths[side], widths[side], 3) for side in large}
        )
        self.down = nn.ModuleDict(
            {str(side): convolution(widths[side], widths[side // 2], 3) for side in large}
        )
        self.last = convolution(base + 1, base, 3)
        self.score = _normalised(nn.Linear(base * 16, 1), spectral)
        self.feature = _normalised(nn.Linear(base * 16, 128), spectral)
        self.text = _normalised(nn.Linear(text, 128), spectral)

    def forward(
        self, images: Tensor, texts: Sequence[TextFeatures], fade: float = 1.0
    ) -> list[Tensor]:
        """images: float [N, 3, S, S]; each of the texts: N of them, pooled to unit vectors ->
        float [N] for each of the texts.
        """
        size = images.shape[-1]
        x = F.leaky_relu(self.pixels[str(size)](images), 0.2)
        for side in reversed(self.sizes[1:]):
            if side > size:
                continue
            x = F.leaky_relu(self.same[str(side)](x), 0.2)
            x = F.leaky_relu(self.down[str(side)](F.avg_pool2d(x, 2)), 0.2)
            if side == size and fade < 1 and side > 8:
                half = F.leaky_relu(self.pixels[str(side // 2)](F.avg_pool2d(images, 2)), 0.2)
                x = torch.lerp(half, x, fade)
        x = F.leaky_relu(self.last(torch.cat((x, _group_deviation(x)), 1)), 0.2).flatten(1)
        score, feature = self.score(x)[:, 0], self.feature(x)
        return [score + _projection(feature, self.text(scaled(text.pooled))) for text in texts]


class FeatureDiscriminator(nn.Module):
    """Like `Discriminator`, on the features of a frozen classifier instead of pixels."""

    def __init__(
        self,
        feature_network: MiniInception,
        text: int = 128,
        width: int = 96,
        spectral: bool = True,
    ) -> None:
        super().__init__()
        # in a list, so that its weights are not part of ours
        self._feature_network = [feature_network.eval().requires_grad_(False)]
        fine, coarse = feature_network.fine_channels, feature_network.coarse_channels
        self.heads = nn.ModuleList(
            nn.Sequential(
                _normalised(nn.Conv2d(channels, width, 1), spectral), nn.LeakyReLU(0.2),
                _normalised(nn.Conv2d(width, width, 3, padding=1), spectral), nn.LeakyReLU(0.2),
            )
            for channels in (fine, coarse)
        )  # fmt: skip
        self.scores = nn.ModuleList(_normalised(nn.Conv2d(width, 1, 1), spectral) for _ in range(2))
        self.features = nn.ModuleList(
            _normalised(nn.Linear(2 * width, 128), spectral) for _ in range(2)
        )
        self.texts = nn.ModuleList(_normalised(nn.Linear(text, 128), spectral) for _ in range(2))
        self.places = _normalised(nn.Conv2d(width, 128, 1), spectral)
        self.words = _normalised(nn.Linear(text, 128), spectral)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The classifier's finer and coarser maps: float [N, C, 8, 8] and [N, 2 C, 4, 4].

        images: float [N, 3, S, S] of any size, resized to 32.
        """
        return self._feature_network[0].trunk(resize_to_32(images))

    def forward(self, images: Tensor, texts: Sequence[TextFeatures]) -> list[Tensor]:
        """images: float [N, 3, S, S]; each of the texts: N of them -> float [N] for each."""
        totals = [images.new_zeros(len(images)) for _ in texts]
        maps = [head(x) for x, head in zip(self.feature_maps(images), self.heads, strict=True)]
        places = self.places(maps[0])  # the finer one
        for x, score, feature, words in zip(
            maps, self.scores, self.features, self.texts, strict=True
        ):
            # Pooled first: the order fixes how autograd sums the gradients, to the last bit.
            pooled = torch.cat((x.mean((2, 3)), x.amax((2, 3))), 1)
            realism, content = score(x).mean((1, 2, 3)), feature(pooled)
            totals = [
                total + realism + _projection(content, words(scaled(text.pooled)))
                for total, text in zip(totals, texts, strict=True)
            ]
        return [
            total + late_interaction(places, self.words(text.tokens), text.mask)
            for total, text in zip(totals, texts, strict=True)
        ]
