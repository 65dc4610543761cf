"""One image of a set: where its content is, and what decoding it gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from evalkit.images import Decoded, Unreadable, content_sha256, decode, read_bytes
from evalkit.sources import Content

# Kinds of reasons that depend on the moment and not on the content, so they are never cached.
TEMPORARY = ("cannot be read", "changed")


class ImageFile(NamedTuple):
    """One image of a set."""

    path: Path  # for an image in an archive, the archive's path and the name in it
    sha256: str  # of the content, in hexadecimal
    content: Callable[[], Content] | None = None  # for an image in an archive; raises OSError
    # Receives the SHA-256 and the result of every decoding, in the thread that decodes.
    on_decoded: Callable[[str, Decoded | Unreadable], None] | None = None

    def decode(self) -> Decoded | Unreadable:
        """Read, check and decode the image, and pass the result to `on_decoded`."""
        found = self._decode()
        if self.on_decoded is not None:
            self.on_decoded(self.sha256, found)
        return found

    def _decode(self) -> Decoded | Unreadable:
        try:
            content = read_bytes(self.path) if self.content is None else self.content()
        except OSError as error:
            return Unreadable(f"cannot be read ({error.strerror})", "cannot be read")
        if content_sha256(content) != self.sha256:
            return Unreadable("has changed: its SHA-256 is different", "changed")
        return decode(content)
