"""Metrics that measure a sample of more than 24 images."""

import dataclasses

from evalkit.metrics.alignment import CLIP_SCORE
from evalkit.metrics.frechet import FID
from evalkit.metrics.manifold import PRECISION, RECALL

MOST = 24
FEW_PRECISION = dataclasses.replace(PRECISION, name="few_precision", most=MOST)
FEW_RECALL = dataclasses.replace(RECALL, name="few_recall", most=MOST)
FEW_FID = dataclasses.replace(FID, name="few_fid", most=MOST)
FEW_CLIP_SCORE = dataclasses.replace(CLIP_SCORE, name="few_clip_score", most=MOST)
