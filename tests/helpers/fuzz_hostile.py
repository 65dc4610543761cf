"""Files that run code, fill the memory or write elsewhere where a reader trusts them."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fuzz_formats import TEXTS, members
from packing import pack_zip


# --- code ---
class Runs:
    """What a pickle of this does when it is loaded: it makes the marker file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def payloads(marker: Path) -> dict[str, bytes]:
    """Content that makes the marker file where it is unpickled, evaluated or run."""
    evil = Runs(marker)
    statistics = {"mu": evil, "sigma": np.eye(192), "num_images": 9, "fid": {"mu": evil}}
    command = f"touch {marker}"

    def torch_file(**options: Any) -> bytes:
        file = io.BytesIO()
        torch.save(statistics, file, **options)
        return file.getvalue()

    def array(write: Callable[..., Any]) -> bytes:
        file = io.BytesIO()
        write(file)
        return file.getvalue()

    objects = np.array([evil], dtype=object)
    named = dict.fromkeys(
        ("arr_0", "mu", "sigma", "features", "feats", "reps", "meta", "keys", "fingerprint"),
        objects,
    )
    script = io.BytesIO()
    with zipfile.ZipFile(script, "w") as archive:  # as TorchScript is laid out
        archive.writestr("m/data.pkl", pickle.dumps(statistics))
        archive.writestr("m/constants.pkl", pickle.dumps(evil))
        archive.writestr("m/code/__torch__.py", f"import os; os.system({command!r})")
        archive.writestr("m/version", "3\n")
    plain = pickle.dumps(statistics)
    yaml = f"prompts: !!python/object/apply:os.system ['{command}']\n"
    python = f"__import__('os').system({command!r})"
    return {
        "pickle": plain,
        "pickle of protocol 0": pickle.dumps(statistics, protocol=0),
        "joblib": zlib.compress(plain),
        "pickle in gzip": gzip.compress(plain, mtime=0),
        "npy": array(lambda file: np.save(file, objects, allow_pickle=True)),
        "npz": array(lambda file: np.savez(file, **named)),
        "torch": torch_file(),
        "torch before 1.6": torch_file(_use_new_zipfile_serialization=False),
        "TorchScript": script.getvalue(),
        "YAML": yaml.encode(),
        "Python": python.encode(),
        "template": f"prompt\n{{{{ {python} }}}}\n$({command})\n`{command}`".encode(),
    }


def places() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every place where a user gives a file, with the command that reads it.

    The current folder holds `set.zip`, `p.txt`, a scored `run` and a reference `ref`.
    """
    score = ("score", "set.zip", "--encoders", "pixels", "--metrics", "fid,vendi", "--json")
    generate = ("generate", "--prompts", "p.txt", "--out", "made", "--models")
    for end in (".npz", ".npy", ".zip", ".tar", ".tar.gz", ".parquet", ".pkl"):
        yield f"source{end}", ("score", f"source{end}", "--encoders", "pixels")
    for end in (".npz", ".npy", ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib"):
        yield f"s{end}", (*score, "--reference", f"s{end}")
        yield f"s{end}", ("reference", "import", f"s{end}", "--name", "x", "--out", "ref2",
                          "--encoder", "pixels")  # fmt: skip
    yield "ref/pixels.npz", (*score, "--reference", "ref")
    yield "ref/card.toml", (*score, "--reference", "ref")
    for end in (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".yaml", ".pkl"):
        yield f"q{end}", ("generate", "--models", "noise", "--prompts", f"q{end}", "--out", "made")
    for end in (".toml", ".yaml", ".json"):
        yield f"c{end}", ("generate", "--config", f"c{end}", "--out", "made")
        yield f"t{end}", (*generate, f"http-template:t{end}", "--dry-run")
    for end in (".safetensors", ".pt", ".ckpt", ".bin"):
        yield f"w{end}", (*generate, "gan", "--set", f"gan.weights=w{end}")
        yield f"w{end}", (*generate, "dalle", "--set", f"dalle.weights=w{end}")
    yield "saved/unet/diffusion_pytorch_model.bin", (*generate, "diffusers:./saved")
    yield "saved/model_index.json", (*generate, "diffusers:./saved")
    yield "baseline.json", ("gate", "run:noise", "--baseline", "baseline.json", "--no-report")
    yield "gate.toml", ("gate", "run:noise", "--config", "gate.toml", "--no-report")
    for end in (".csv", ".json", ".pkl"):
        yield f"votes{end}", ("rate", "import", f"votes{end}", "--run", "run")
    for name in ("features/noise/pixels.npz", "features/noise/validation.json",
                 "features/noise/measured/vendi.json", "images/noise/00000-0.png",
                 "run.toml", "metrics.json"):  # fmt: skip
        yield f"run/{name}", ("score", "run", "--encoders", "pixels", "--metrics", "vendi")
    yield "cache/weights/weights-inception-2015-12-05-6726825d.pth", (
        "score", "set.zip", "--encoders", "inception", "--metrics", "fid")  # fmt: skip
    yield "pinned/weights-inception-2015-12-05-6726825d.pth", ("weights", "import", "pinned")


def write_places(folder: Path) -> None:
    """What the commands of `places` need besides the file."""
    from fuzz_formats import build_reference
    from fuzz_run_formats import copy_scored

    copy_scored(folder)
    build_reference(folder)
    (folder / "p.txt").write_text("\n".join(TEXTS))
    for part in ("unet", ""):
        (folder / "saved" / part).mkdir(parents=True, exist_ok=True)
    (folder / "saved" / "model_index.json").write_text(
        '{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}'
    )


# --- what is small on disk and large in memory ---
class Bomb(NamedTuple):
    name: str
    write: Callable[[Path], Any]
    command: tuple[str, ...]
    quick: bool = False  # small to write, and refused by what it claims
    readable: bool = False  # what is needed of it is small: it may be read


HUGE = 3 << 30  # bytes, more than a process may use
BLOCK = 1 << 24


def deflated_zeros(size: int) -> bytes:
    """Raw deflate of zeros, from one block that is repeated: 3 GiB are 3 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (size // BLOCK) + b"\3\0"


def zipped(path: Path, member: str, size: int = HUGE, start: bytes = b"") -> None:
    """A zip with one member that begins as it should and goes on in zeros; its CRC is wrong."""
    name, data = member.encode(), start + deflated_zeros(size)
    common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, 0, len(data), size, len(name), 0)
    central = struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = len(name) + 30 + len(data)
    path.write_bytes(
        b"PK\3\4" + common + name + data + b"PK\1\2\x14\0" + common + central
        + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central) + 32, end, 0)
    )  # fmt: skip


def npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def tar_bomb(path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.size = HUGE
    head = gzip.compress(info.tobuf(tarfile.GNU_FORMAT), mtime=0)
    path.write_bytes(head + gzip.compress(bytes(BLOCK), mtime=0) * (HUGE // BLOCK))


def array_bomb(member: str, shape: tuple[int, ...], dtype: str) -> Callable[[Path], Any]:
    """An array that unpacks to what its header says."""

    def write(path: Path) -> None:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        start = packer.compress(npy_header(shape, dtype)) + packer.flush(zlib.Z_FULL_FLUSH)
        zipped(path, member, HUGE, start)

    return write


def claims(shape: tuple[int, ...]) -> Callable[[Path], Any]:
    """Statistics whose header states far more than they hold."""

    def write(path: Path) -> None:
        data = npy_header(shape, "<f4") + bytes(4096)
        if path.suffix == ".npy":
            path.write_bytes(data)
        else:
            pack_zip(path, {"reps.npy": data})

    return write


def png(width: int, height: int, *chunks: tuple[bytes, bytes], rows: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def packed_zeros(size: int) -> bytes:
    return b"\x78\xda" + deflated_zeros(size) + bytes(4)


def in_set(name: str, data: Callable[[], bytes]) -> Callable[[Path], Any]:
    def write(path: Path) -> None:
        for member, content in members().items():
            (path.parent / member).write_bytes(content)
        path.write_bytes(data())

    return write


def gif(width: int, height: int) -> bytes:
    return (b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + b","
            + struct.pack("<HHHH", 0, 0, width, height) + b"\0\2\2\x44\1\0;")  # fmt: skip


def bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def parquet_bomb(path: Path) -> None:
    """Forty files of 64 MiB each, of zeros."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    value = {"bytes": bytes(64 << 20), "path": "a.png"}
    kind = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    with parquet.ParquetWriter(path, arrow.schema([("image", kind)]), compression="zstd") as file:
        for _ in range(40):
            file.write_table(arrow.table({"image": arrow.array([value], kind)}))


def text_bomb(path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    schema = arrow.schema([("prompt", arrow.string()), ("other", arrow.string())])
    with parquet.ParquetWriter(path, schema, compression="zstd") as file:
        for _ in range(40):
            file.write_table(arrow.table({"prompt": ["a cat"], "other": ["x" * (64 << 20)]}))


_SCORE = ("--encoders", "pixels", "--metrics", "vendi", "--json")
_REF = ("score", "set.zip", "--encoders", "pixels", "--metrics", "fid", "--json", "--reference")
_GENERATE = ("generate", "--models", "noise", "--out", "made", "--prompts")
BOMBS = [
    Bomb("source.zip", lambda path: zipped(path, "a.png"), ("score", "source.zip", *_SCORE)),
    Bomb("source.tar.gz", tar_bomb, ("score", "source.tar.gz", *_SCORE)),
    Bomb(
        "source.npz",
        array_bomb("arr_0.npy", (1 << 20, 32, 32, 3), "|u1"),
        ("score", "source.npz", *_SCORE),
    ),
    Bomb("source.parquet", parquet_bomb, ("score", "source.parquet", *_SCORE)),
    Bomb("s.npz", array_bomb("reps.npy", (1 << 20, 768), "<f4"), (*_REF, "s.npz")),
    Bomb("claims.npz", claims((1 << 22, 1 << 10)), (*_REF, "claims.npz"), True),
    Bomb("claims.npy", claims((1 << 22, 1 << 10)), (*_REF, "claims.npy"), True),
    Bomb("huge.npy", claims((1 << 40, 1 << 20)), (*_REF, "huge.npy"), True),
    Bomb("p.parquet", text_bomb, (*_GENERATE, "p.parquet"), readable=True),
    *(
        Bomb(
            f"i/{name}", in_set(name, data), ("score", "i", *_SCORE),
            "wide" in name, name == "pixels.png",
        )
        for name, data in (
            ("wide.png", lambda: png(60_000, 60_000, rows=bytes(1000))),
            ("profile.png", lambda: png(8, 8, (b"iCCP", b"x\0\0" + packed_zeros(1 << 30)),
                                        rows=bytes(25 * 8))),
            ("text.png", lambda: png(8, 8, (b"zTXt", b"x\0\0" + packed_zeros(1 << 30)),
                                     rows=bytes(25 * 8))),
            ("pixels.png", lambda: png(20, 20, (b"IDAT", packed_zeros(1 << 30)))),
            ("wide.gif", lambda: gif(65_535, 65_535)),
            ("wide.bmp", lambda: bmp(60_000, 60_000)),
            ("wide.jpg", lambda: b"\xff\xd8\xff\xc0\0\x11\x08\xff\xdc\xff\xdc\3\1\x11\0\2\x11\0\3"
                                 b"\x11\0\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0\xff\xd9"),
        )
    ),
]  # fmt: skip
