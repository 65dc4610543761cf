"""The small CLIP of the bundled data set (Radford et al. 2021): images and captions as unit vectors
in one space.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evalkit.models.mini_inception import MiniInception
from evalkit.models.text import TextFeatures, TextTower


class MiniClip(nn.Module):
    """The image tower is the trunk of a classifier and an attention pool with position embeddings,
    so that "left of" is represented.
    """

    def __init__(
        self, trunk: MiniInception, vocabulary: int, context: int, width: int = 128
    ) -> None:
        super().__init__()
        self.trunk = nn.ModuleDict(
            {name: getattr(trunk, name) for name in ("stem", "middle", "quarter", "eighth")}
        )
        fine, coarse = trunk.fine_channels, trunk.coarse_channels
        self.mix = nn.Conv2d(fine, width, 1)
        self.position = nn.Parameter(0.02 * torch.randn(width, 8, 8))
        self.attend = nn.Conv2d(width, 8, 1)  # 8 attention maps
        self.embed = nn.Sequential(
            nn.Linear(8 * width + coarse, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )
        self.text = TextTower(vocabulary, context, width)
        self.project = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def image(self, images: Tensor) -> Tensor:
        """float [N, 3, 32, 32] in -1..1 -> unit vectors [N, width]."""
        middle = self.trunk["middle"](self.trunk["stem"](images))
        fine = self.trunk["quarter"](middle)  # [N, 4w, 8, 8]
        coarse = self.trunk["eighth"](fine).mean((2, 3))
        cells = F.relu(self.mix(fine) + self.position)  # [N, width, 8, 8]
        weights = self.attend(cells).flatten(2).softmax(-1)  # [N, 8, 64]
        pooled = torch.einsum("nap,ncp->nac", weights, cells.flatten(2)).flatten(1)
        return F.normalize(self.embed(torch.cat((pooled, coarse), 1)), dim=-1)

    def texts(self, ids: Tensor) -> Tensor:
        """Piece ids int64 [N, T] -> unit vectors [N, width]."""
        return self.text_features(ids).pooled

    def text_features(self, ids: Tensor) -> TextFeatures:
        """int64 [N, T] -> word features [N, T, width], pooled unit vectors [N, width]."""
        text = self.text(ids)
        return text._replace(pooled=F.normalize(self.project(text.pooled), dim=-1))
