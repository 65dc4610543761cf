"""Precision and recall that measure a sample of more than 24 images."""

import dataclasses

from evalkit.metrics.manifold import PRECISION, RECALL

MOST = 24
FEW_PRECISION = dataclasses.replace(PRECISION, name="few_precision", most=MOST)
FEW_RECALL = dataclasses.replace(RECALL, name="few_recall", most=MOST)
