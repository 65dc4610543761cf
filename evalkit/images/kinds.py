"""What a file is, by its first bytes: image formats, and what is mistaken for other files."""

from __future__ import annotations

import zipfile
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.files import kind_of_text

HEAD = 4096  # bytes to look at
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"icns", "an Apple icon"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"P6\n", "PPM"),
    (b"P5\n", "PGM"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"8BPS", "a Photoshop file"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),  # without files
    (b"\x1f\x8b", "a gzip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"PAR1", "a Parquet file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    *((b"\x80" + bytes([protocol]), "a Python pickle") for protocol in range(2, 6)),
)
# Brands of ISO media files, at byte 8 and from byte 16. AVIF files name HEIC's `mif1` too.
_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
    "HEIF": (b"mif1", b"msf1"),
}


def kind_of(head: bytes) -> str:
    """The kind of a file, "" if it is none of the known ones.

    `head`: the first bytes, HEAD of them if there are as many.
    """
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        size = min(int.from_bytes(head[:4], "big"), 64)
        brands = {head[at : at + 4] for at in (8, *range(16, size, 4))}
        return next((kind for kind, known in _BRANDS.items() if brands & {*known}), "a video")
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head[6:10] == b'\0\0{"':  # the length of a header, and JSON
        return "a safetensors file"
    return kind_of_text(head)


_BY_SUFFIX = {
    **dict.fromkeys((".npz", ".zip", ".pt", ".pth"), "a zip archive"),
    **dict.fromkeys((".gz", ".tgz"), "a gzip file"),
    **dict.fromkeys((".bz2", ".tbz2"), "a bzip2 file"),
    **dict.fromkeys((".xz", ".txz"), "an xz file"),
    **dict.fromkeys((".pkl", ".pickle"), "a Python pickle"),
    ".npy": "a NumPy array",
    ".parquet": "a Parquet file",
    ".tar": "a tar archive",
}
_IMAGES = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIC", "HEIF", "JPEG XL")


_UNKNOWN = "in no format that evalkit knows"


def check_suffix(path: Path) -> None:
    """Raise EvalkitError if a file is not what its suffix says. An unreadable file passes."""
    wanted, found = _BY_SUFFIX.get(path.suffix.lower()), what_is(path)
    if not (wanted and found):
        return
    if found == "a zip archive" == wanted and not zipfile.is_zipfile(path):
        raise EvalkitError(
            f"{path} cannot be read: it is a zip archive without its end.",
            "It is incomplete or damaged: download or copy it again.",
            code="images-4",
        )
    # Old tar archives have no mark, and pickles of protocol 0 are text.
    unmarked = {"a tar archive": _UNKNOWN, "a Python pickle": "text"}.get(wanted)
    if found not in (wanted, unmarked):
        raise EvalkitError(
            f"{path} is {found}; expected {wanted}, as its name says.",
            "Download or copy it again, or give another file.",
            code="images-5",
        )


def what_is(path: Path) -> str:
    """The kind of a file in words, such as "an image (PNG)"; "" if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return ""  # the reader of the file says what is wrong
    if not head:
        return "empty"
    if not head.strip(b"\0") and path.suffix.lower() == ".tar":
        return "a tar archive"  # without files
    found = kind_of(head)
    if found in _IMAGES:
        return f"an image ({found})"
    return found or ("text" if is_text(head) else _UNKNOWN)


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are UTF-8 text."""
    return b"\0" not in head and "\ufffd" not in head.decode("utf-8", "replace")[:-1]
