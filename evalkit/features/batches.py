"""Images to batches for any number of encoders, each image decoded once.

Threads decode and prepare images, and a further one (`map_ahead.one_ahead`) stacks the next batch
while a network computes: the thread that calls the networks does little else.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from PIL.Image import Image
from torch import Tensor

from evalkit.features.image_file import ImageFile
from evalkit.features.map_ahead import map_ahead
from evalkit.images import Unreadable
from evalkit.images.room import decoders

_BATCHES = 8  # whose images may wait


class Reader(Protocol):
    """An encoder with a place for its features. Both functions run in any thread."""

    batch_size: int

    def prepare(self, image: Image) -> Tensor: ...

    def stacked(self, pixels: Sequence[Tensor]) -> Tensor: ...


C = TypeVar("C", bound=Reader)
T = TypeVar("T")


class Item(NamedTuple):
    """What is kept of an image beside its features."""

    key: str
    note: str  # the changes that decoding made


class Batch(NamedTuple, Generic[C, T]):
    reader: C
    items: Sequence[T]
    pixels: Tensor  # [N, 3, H, W]


class InvalidFound(Exception):
    """An image is invalid; the caller finds out which ones are."""


def prepared(
    images: Iterable[ImageFile], needed_by: Callable[[ImageFile], Sequence[C]], ahead: int
) -> Iterator[tuple[Item, Sequence[tuple[C, Tensor]]]]:
    """All images in order, decoded and prepared by threads. Raises InvalidFound.

    The caller keeps the settings of the encoders `apart`: they are those of all threads.

    Args:
        needed_by: the encoders that lack the image. They must not change it if there are several.
        ahead: images that the threads may be ahead, at least.
    """

    def read(image: ImageFile) -> tuple[Item, Sequence[tuple[C, Tensor]]] | None:
        found = image.decode()
        if isinstance(found, Unreadable):
            return None
        pixels = [(reader, reader.prepare(found.image)) for reader in needed_by(image)]
        return Item(image.sha256, found.note), pixels

    for _, found in map_ahead(read, images, max(ahead, 2 * decoders()), _size):
        if found is None:
            raise InvalidFound
        yield found


def batches(
    images: Iterable[tuple[T, Sequence[tuple[C, Tensor]]]],
) -> Generator[Batch[C, T], None, None]:
    """Batches of one encoder each, in the order in which they are full (see `Waiting`)."""
    waiting: dict[C, Waiting[T]] = {}
    for item, found in images:
        for reader, pixels in found:
            full = waiting.setdefault(reader, Waiting(reader.batch_size)).add(item, pixels)
            if full is not None:
                yield _stacked(reader, full)
    for reader, rest in waiting.items():
        for some in rest.rest():
            yield _stacked(reader, some)


class Same(NamedTuple, Generic[T]):
    """Images of one prepared size and dtype."""

    items: list[T]
    pixels: list[Tensor]


class Waiting(Generic[T]):
    """Images that an encoder has prepared and that wait for others of their size and dtype.

    With many sizes hardly any batch gets full: then the largest one goes, to limit the memory.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._sizes: dict[tuple[Any, ...], Same[T]] = {}

    def add(self, item: T, pixels: Tensor) -> Same[T] | None:
        """Add an image; returns a batch that is to be encoded now."""
        size = (*pixels.shape, pixels.dtype)
        of_size = self._sizes.setdefault(size, Same([], []))
        of_size.items.append(item)
        of_size.pixels.append(pixels)
        if len(of_size.items) == self._batch_size:
            return self._sizes.pop(size)
        if sum(len(one.items) for one in self._sizes.values()) >= _BATCHES * self._batch_size:
            return self._sizes.pop(max(self._sizes, key=lambda one: len(self._sizes[one].items)))
        return None

    def rest(self) -> Iterator[Same[T]]:
        """The other batches, from the first size to the last."""
        while self._sizes:
            yield self._sizes.pop(next(iter(self._sizes)))


def _stacked(reader: C, images: Same[T]) -> Batch[C, T]:
    batch = Batch(reader, images.items, reader.stacked(images.pixels))
    images.pixels.clear()  # the batch is a copy of them
    return batch


def _size(found: tuple[Item, Sequence[tuple[Any, Tensor]]] | None) -> int:
    return sum(pixels.nbytes for _, pixels in found[1]) if found else 0
