"""The generated and the real images: as files for the other tools, as features of evalkit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as PILImage
from torch import Tensor

from evalkit.core import Encoder, EvalkitError
from evalkit.features.encode import image_features
from evalkit.features.image_file import ImageFile
from evalkit.features.image_sets import one_image_set
from evalkit.images import InvalidImage, Unreadable, raise_invalid_images, read_bytes
from evalkit.run_folder import Run
from evalkit.terminal import track


@dataclass(frozen=True)
class Side:
    """The images of one side, in evalkit's order."""

    run: Run  # where their features are cached
    model: str
    images: list[ImageFile]
    files: list[Path]  # copies with equal content, whose names sort in this order

    @property
    def folder(self) -> Path:
        """The folder of the copies, which has nothing else."""
        return self.files[0].parent

    @property
    def suffixes(self) -> set[str]:
        return {path.suffix[1:] for path in self.files}

    def features(self, encoder: Encoder, batch_size: int) -> dict[str, Tensor]:
        """ "pool" and "logits" of all images by evalkit, float32 [N, D]."""
        return image_features(
            self.images,
            encoder,
            self.run.features_path(self.model, encoder.name),
            batch_size=batch_size,
            label=f"{self.model}: {encoder.name}",
        ).values


def open_side(place: Path, copies: Path) -> Side:
    """The images of a folder, archive or run of one model, copied to the folder `copies`.

    Raises EvalkitError for several models, invalid images, or fewer than two images.
    """
    run, images = one_image_set(place)
    if len(images.files) < 2:
        raise EvalkitError(
            f"{place} has too few images ({len(images.files)}); FID needs at least 2.",
            "Give more images.",
            code="crosscheck-2",
        )
    copies.mkdir()
    files = [copies / f"{at:07d}" for at in range(len(images.files))]
    found = list(track(map(_copied, images.files, files), "checking images", len(files)))
    if invalid := [item for item in found if isinstance(item, InvalidImage)]:
        raise_invalid_images(invalid, len(files))
    return Side(run, images.model, images.files, [at for at in found if isinstance(at, Path)])


def one_size(sides: Iterable[Side]) -> bool:
    """Whether all images have one size; else tools that stack them get one at a time."""
    sizes: set[tuple[int, int]] = set()
    for side in sides:
        for path in side.files:
            with PILImage.open(path) as image:
                sizes.add(image.size)
    return len(sizes) == 1


def _copied(image: ImageFile, path: Path) -> Path | InvalidImage:
    """Copy an image under this name with the suffix of its format."""
    found = image.decode()
    if isinstance(found, Unreadable):
        return InvalidImage(image.path, found)
    content = read_bytes(image.path) if image.content is None else image.content()
    if isinstance(content, bytes):
        path = path.with_suffix(".jpg" if found.format == "JPEG" else f".{found.format.lower()}")
        path.write_bytes(content)
    else:  # an array has no format that another tool reads
        path = path.with_suffix(".png")
        found.image.save(path)
    return path
