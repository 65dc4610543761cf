"""The two critics of the GAN, which only its training needs: is a picture real, and does it show
what the text says?

- The first looks at pixels and is the generator's mirror image, spectrally normalised in every
  layer unless told otherwise (Miyato et al. 2018). It looks for what is wrong in the picture, and
  by the product of its features with the text's (Miyato and Koyama 2018) for what is wrong about
  it.
- The second looks through the eyes of a frozen classifier (Sauer et al. 2021), one that neither
  scores nor conditions. In its finer map every word of the text looks for the place that shows it
  (as in FILIP; Yao et al. 2022): one vector for the whole text does not tell a picture of one of
  two things from a picture of both.
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

# consecutive pictures whose spread the discriminator sees (as in StyleGAN; Karras et al. 2019)
GROUP = 4


def _spread(x: Tensor) -> Tensor:
    """The standard deviation over groups of consecutive pictures as one more map [N, 1, S, S]: a
    collapsed generator gives itself away (Karras et al. 2018). Groups and not the batch, so that no
    score depends on how many processes share it; a batch that is no multiple of four has groups of
    its largest divisor below.
    """
    group = next(count for count in range(GROUP, 0, -1) if len(x) % count == 0)
    variance = x.float().unflatten(0, (-1, group)).var(1, correction=0)  # [N / group, C, S, S]
    deviation = (
        (variance + 1e-8).sqrt().mean((1, 2, 3))
    )  # at zero the root has no derivative, and the gradient penalty takes two
    return (
        deviation.repeat_interleave(group)
        .to(x.dtype)[:, None, None, None]
        .expand(-1, 1, *x.shape[2:])
    )


def _normalised(layer: nn.Module, spectral: bool) -> nn.Module:
    """Largest singular value 1, so that no layer stretches a difference (Miyato et al. 2018); or
    the layer as it is.
    """
    return spectral_norm(layer) if spectral else layer


def _agreement(feature: Tensor, text: Tensor) -> Tensor:
    return (feature * text).sum(1) / feature.shape[1] ** 0.5


def found(places: Tensor, words: Tensor, mask: Tensor) -> Tensor:
    """places: [N, D, h, w]; words: [N, T, D]; mask: bool [N, T] -> [N], the sum over words of how
    well their best place shows them.
    """
    best = (words @ places.flatten(2)).amax(2) / words.shape[2] ** 0.5
    return (best * mask).sum(1)


class Discriminator(nn.Module):
    """Pictures and texts to one score per pair, large for real pictures of the text."""

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
        self.pixels = nn.ModuleDict(
            {str(side): _normalised(nn.Conv2d(3, widths[side], 1), spectral) for side in large}
        )
        self.same = nn.ModuleDict(
            {
                str(side): _normalised(
                    nn.Conv2d(widths[side], widths[side], 3, padding=1), spectral
                )
                for side in large
            }
        )
        self.down = nn.ModuleDict(
            {
                str(side): _normalised(
                    nn.Conv2d(widths[side], widths[side // 2], 3, padding=1), spectral
                )
                for side in large
            }
        )
        self.last = _normalised(nn.Conv2d(base + 1, base, 3, padding=1), spectral)
        self.score = _normalised(nn.Linear(base * 16, 1), spectral)
        self.feature = _normalised(nn.Linear(base * 16, 128), spectral)
        self.text = _normalised(nn.Linear(text, 128), spectral)

    def forward(
        self, pictures: Tensor, texts: Sequence[TextFeatures], fade: float = 1.0
    ) -> list[Tensor]:
        """pictures: float [N, 3, S, S]; each of the texts: N of them, pooled to unit vectors ->
        float [N] for each of the texts.
        """
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
        return [score + _agreement(feature, self.text(scaled(text.pooled))) for text in texts]


class FeatureDiscriminator(nn.Module):
    """The same question, asked of a frozen classifier's features instead of pixels."""

    def __init__(
        self, eyes: MiniInception, text: int = 128, width: int = 96, spectral: bool = True
    ) -> None:
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
        self.features = nn.ModuleList(
            _normalised(nn.Linear(2 * width, 128), spectral) for _ in range(2)
        )
        self.texts = nn.ModuleList(_normalised(nn.Linear(text, 128), spectral) for _ in range(2))
        self.places, self.words = (
            _normalised(nn.Conv2d(width, 128, 1), spectral),
            _normalised(nn.Linear(text, 128), spectral),
        )

    def feature_maps(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """What the classifier sees, finer and coarser maps: float [N, C, 8, 8] and [N, 2 C, 4, 4].

        pictures: float [N, 3, S, S] of any size, seen at 32.
        """
        return self._eyes[0].trunk(resize_to_32(pictures))

    def forward(self, pictures: Tensor, texts: Sequence[TextFeatures]) -> list[Tensor]:
        """pictures: float [N, 3, S, S]; each of the texts: N of them -> float [N] for each."""
        totals = [pictures.new_zeros(len(pictures)) for _ in texts]
        seen = [
            head(maps) for maps, head in zip(self.feature_maps(pictures), self.heads, strict=True)
        ]  # fine, coarse
        places = self.places(seen[0])
        for x, score, feature, words in zip(
            seen, self.scores, self.features, self.texts, strict=True
        ):
            pooled = torch.cat((x.mean((2, 3)), x.amax((2, 3))), 1)
            looks, shows = score(x).mean((1, 2, 3)), feature(pooled)
            totals = [
                total + looks + _agreement(shows, words(scaled(text.pooled)))
                for total, text in zip(totals, texts, strict=True)
            ]
        return [
            total + found(places, self.words(text.tokens), text.mask)
            for total, text in zip(totals, texts, strict=True)
        ]
