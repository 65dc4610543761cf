"""The earlier place of `evalkit.torchmetrics`, for programs that import it from here."""

from evalkit.torchmetrics import (
    FID,
    KID,
    ClipScore,
    InceptionScore,
    Precision,
    Recall,
    SetMetric,
)

__all__ = ["FID", "KID", "ClipScore", "InceptionScore", "Precision", "Recall", "SetMetric"]
