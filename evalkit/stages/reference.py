"""The stage that makes reference statistics: real pictures, read once, to moments and a sample of features per encoder."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from evalkit.core import Encoder, EvalkitError, Moments
from evalkit.encoders.select import select_encoders
from evalkit.images import list_images, read_image
from evalkit.metrics import frechet
from evalkit.run_folder import write_atomically
from evalkit.stages.reference_files import Card, Reference, available, load, user_folder
from evalkit.terminal import progress

__all__ = ["Card", "Reference", "available", "build", "build_from_images", "load"]

SAMPLE = 2000


def build(
    images: Path | str,
    *,
    name: str = "",
    out: Path | str | None = None,
    encoders: str = "auto",
    device: str = "auto",
    batch_size: int = 32,
    description: str = "",
    licence: str = "not stated",
) -> Path:
    """Reference statistics of a folder of pictures, with its subfolders; returns the reference's folder.

    Args:
        images: the folder.
        name: of the reference; the folder's own name if not given.
        out: the folder to write; else one of that name in the user's data folder.
        encoders: `auto`, `standard`, `mini` (the encoder for FID of each), or names joined by commas.
    """
    folder = Path(images)
    paths = images_below(folder)
    selected, _ = select_encoders(encoders, device, ("inception",))
    pictures = (read_image(path) for path in paths)
    return build_from_images(
        pictures,
        name=name or folder.resolve().name,
        encoders=list(selected.values()),
        out=out,
        count=len(paths),
        batch_size=batch_size,
        source=str(folder),
        description=description or f"{len(paths)} pictures of {folder.resolve().name}",
        licence=licence,
        command=f"evalkit reference build {folder}",
    )


def build_from_images(
    images: Iterable[Image],
    *,
    name: str,
    encoders: Sequence[Encoder],
    out: Path | str | None = None,
    count: int = 0,
    batch_size: int = 32,
    source: str = "",
    description: str = "",
    licence: str = "not stated",
    command: str = "",
    date: str = "",
) -> Path:
    """Reference statistics of any RGB pictures, read once and never held in memory together; returns the folder.

    The stored sample are the pictures with the smallest SHA-256 of their pixels: it depends on no order and no seed.
    count is for the progress bar only.
    """
    tallies = [_Tally(encoder) for encoder in encoders]
    digests: list[bytes] = []
    batch: list[Image] = []
    with progress(f"encoding {name}", count) as advance:
        for image in images:
            picture = image if image.mode == "RGB" else image.convert("RGB")
            digests.append(hashlib.sha256(f"{picture.width}x{picture.height}:".encode() + picture.tobytes()).digest())
            batch.append(picture)
            if len(batch) == batch_size:
                for tally in tallies:
                    tally.add(batch, digests[-len(batch) :])
                advance(len(batch))
                batch = []
        for tally in tallies if batch else ():
            tally.add(batch, digests[-len(batch) :])
    if len(digests) < 2:
        raise EvalkitError(f"Found {len(digests)} pictures for the reference {name!r}; expected at least 2.", "Give more pictures.")
    folder = Path(out) if out is not None else user_folder() / name
    image_hash = hashlib.sha256(b"".join(sorted(digests))).hexdigest()
    for tally in tallies:
        write_atomically(folder / f"{tally.encoder.name}.npz", tally.file(name, image_hash))
    day = date or datetime.now(UTC).date().isoformat()
    facts = {"name": name, "description": description, "count": len(digests), "source": source, "licence": licence}
    facts |= {"date": day, "command": command, "image_hash": image_hash}
    write_atomically(folder / "card.toml", "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in facts.items()))
    return folder


def images_below(folder: Path) -> list[Path]:
    """The picture files of a folder and its subfolders, in natural order. Raises EvalkitError where there is none."""
    if not folder.is_dir():
        raise EvalkitError(f"There is no folder {folder}.", "Give a folder of pictures.")
    paths: list[Path] = []
    for root, folders, _ in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += list_images(root)
    if not paths:
        raise EvalkitError(f"The folder {folder} has no pictures in it.", "Expected PNG, JPEG, WebP, BMP, GIF or TIFF files.")
    return paths


class _Tally:
    """Moments so far and the rows with the smallest digests, for one encoder."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.moments: Moments | None = None
        self.sample: list[tuple[bytes, Tensor]] = []

    def add(self, images: Sequence[Image], digests: Sequence[bytes]) -> None:
        prepared = [self.encoder.prepare(image) for image in images]
        shapes = {tuple(pixels.shape) for pixels in prepared}
        for shape in sorted(shapes):
            rows = [row for row, pixels in enumerate(prepared) if tuple(pixels.shape) == shape]
            pool = self.encoder(torch.stack([prepared[row] for row in rows]))["pool"].cpu().double()
            mean = pool.mean(dim=0)
            scatter = (pool - mean).T @ (pool - mean)
            part = Moments(mean, scatter / max(1, len(pool) - 1), len(pool))
            self.moments = part if self.moments is None else frechet.merge_moments(self.moments, part)
            self.sample += [(digests[row], features) for row, features in zip(rows, pool.float(), strict=True)]
        self.sample = sorted(self.sample, key=lambda item: item[0])[:SAMPLE]

    def file(self, name: str, image_hash: str) -> bytes:
        assert self.moments is not None
        if not bool(torch.isfinite(self.moments.cov).all()):
            raise EvalkitError(f"The encoder {self.encoder.name} gave features that are not finite.", "Its weights are damaged.")
        meta = {"name": name, "encoder": self.encoder.name, "fingerprint": self.encoder.fingerprint, "image_hash": image_hash}
        file = io.BytesIO()
        features = torch.stack([row for _, row in self.sample]).numpy()
        mu, sigma = self.moments.mean.numpy(), self.moments.cov.numpy()
        np.savez(file, mu=mu, sigma=sigma, n=np.array(self.moments.count), features=features, meta=np.array(json.dumps(meta)))
        return file.getvalue()
