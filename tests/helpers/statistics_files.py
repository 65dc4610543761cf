"""Files of statistics as other tools write them, of one small set of features."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch

from evalkit.encoders.pixels import Pixels


class Named(Pixels):
    """An encoder with a given name."""

    def __init__(self, name: str, fingerprint: str = "f") -> None:
        self.name, self.fingerprint = name, fingerprint


ROWS = np.random.RandomState(0).randn(40, 8).astype(np.float32)


MU, SIGMA = ROWS.mean(axis=0).astype(np.float64), np.cov(ROWS.astype(np.float64), rowvar=False)


def plain(path: Path) -> None:
    np.savez(path, mu=MU, sigma=SIGMA)


def clean(path: Path) -> None:
    plain(path)
    np.savez_compressed(path.with_name(f"{path.stem}_kid.npz"), feats=ROWS)


def adm(path: Path) -> None:
    np.savez(
        path,
        mu=MU,
        sigma=SIGMA,
        mu_s=MU[:3],
        sigma_s=SIGMA[:3, :3],
        arr_0=np.zeros((2, 8, 8, 3), np.uint8),
    )


def edm2(path: Path) -> None:
    both = {"mu": MU, "sigma": SIGMA}
    path.write_bytes(pickle.dumps({"num_images": 40, "fid": both, "fd_dinov2": both}))


def cmmd(path: Path) -> None:
    np.save(path, ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True))


def reps(path: Path) -> None:
    np.savez(
        path, reps=ROWS, model=np.array([{"a": 1}], dtype=object)
    )  # the pickled array is never read


def stat(path: Path) -> None:
    torch.save({"mu": MU, "sigma": SIGMA}, path)


def rows(path: Path) -> None:
    torch.save(torch.from_numpy(ROWS), path)
