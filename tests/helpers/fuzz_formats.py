"""Formats that evalkit reads: a whole file of each, the command that reads it, and its result."""

from __future__ import annotations

import csv
import io
import json
import pickle
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from packing import pack_tar, pack_zip
from PIL import Image, ImageFilter
from typer.testing import CliRunner

from evalkit.cli.app import app
from evalkit.images import decode
from evalkit.sources import open_source

SCORE = ("--encoders", "pixels", "--metrics", "vendi", "--json")
TEXTS = [f"a {colour} {noun}" for colour in ("red", "blue") for noun in ("cube", "bird", "clock")]


class Format(NamedTuple):
    """A file that is damaged, and how it is read."""

    make: Callable[[Path], None]  # writes the whole file, and what belongs to it, into a folder
    file: str  # the one that is damaged
    command: Sequence[str]  # in that folder
    # (folder, stdout) -> everything that the command found out from the file
    result: Callable[[Path, str], Any]
    # Whether the format has a checksum over this result: another result is then a silent error.
    checked: bool = True
    # (folder, damaged content) -> whether another result is what the file now says.
    says: Callable[[Path, bytes], bool] = lambda folder, data: True
    names: str = ""  # what an error names, if not the file: the image set that it is part of
    weight: float = 1.0  # share of the seeds; below 1 for slow readers


def picture(seed: int, size: int = 24) -> Image.Image:
    """Smooth areas and edges, so that every coder writes more than a few bytes."""
    noise = np.random.default_rng(seed).integers(0, 256, (size // 4, size // 4, 3), np.uint8)
    grown = Image.fromarray(noise).resize((size, size), Image.Resampling.NEAREST)
    return grown.filter(ImageFilter.GaussianBlur(1))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def run(*command: str) -> None:
    done = CliRunner().invoke(app, list(command))
    assert done.exit_code == 0, done.output


# --- images ---
def scored(folder: Path, stdout: str) -> Any:
    return json.loads(stdout)


def scored_images(place: str) -> Callable[[Path, str], Any]:
    """The values, and the pixels of every image."""

    def result(folder: Path, stdout: str) -> Any:
        pixels = []
        for image in open_source(folder / place):
            found = decode(image.read())
            assert not isinstance(found, str)
            pixels.append((found.image.size, found.image.tobytes()))
        return [(row["metric"], row["value"], row["count"]) for row in json.loads(stdout)], pixels

    return result


def image(kind: str, suffix: str, checked: bool, mode: str = "RGB", **options: Any) -> Format:
    def make(folder: Path) -> None:
        (folder / "set").mkdir()
        for at in range(4):
            picture(at).save(folder / "set" / f"{at}.png")
        one = picture(9).quantize(32) if mode == "P" else picture(9).convert(mode)
        (folder / "set" / f"9{suffix}").write_bytes(saved(one, kind, **options))

    return Format(
        make, f"set/9{suffix}", ("score", "set", *SCORE), scored_images("set"), checked=checked
    )


IMAGES = {
    "png": image("PNG", ".png", True),
    "png-palette": image("PNG", ".png", True, "P"),
    "png-gray": image("PNG", ".png", True, "L"),
    "jpeg": image("JPEG", ".jpg", False, quality=90),
    "jpeg-progressive": image("JPEG", ".jpg", False, quality=90, progressive=True),
    "webp": image("WEBP", ".webp", False, quality=90),
    "webp-lossless": image("WEBP", ".webp", False, lossless=True),
    "gif": image("GIF", ".gif", False, "P"),
    "bmp": image("BMP", ".bmp", False),
    "tiff": image("TIFF", ".tif", False),
    "tiff-deflate": image("TIFF", ".tif", True, compression="tiff_deflate"),
    "tiff-lzw": image("TIFF", ".tif", False, compression="tiff_lzw"),
    "tiff-jpeg": image("TIFF", ".tif", False, compression="jpeg"),
    "avif": image("AVIF", ".avif", False, quality=80),
}


# --- archives, arrays, datasets ---
def members() -> dict[str, bytes]:
    return {f"{at}.png": saved(picture(at), "PNG") for at in range(5)}


def pixels() -> np.ndarray:
    return np.stack([np.asarray(picture(at)) for at in range(5)])


def write_parquet(path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    rows = [{"bytes": data, "path": name} for name, data in members().items()]
    parquet.write_table(arrow.table({"image": rows}), path)


def write_arrow(folder: Path) -> None:
    """What `save_to_disk` of Hugging Face writes."""
    import pyarrow as arrow

    folder.mkdir()
    rows = [{"bytes": data, "path": name} for name, data in members().items()]
    table = arrow.table({"image": rows})
    with arrow.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as stream:
        stream.write_table(table)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def source(name: str, make: Callable[[Path], Any], checked: bool = True, file: str = "") -> Format:
    return Format(
        lambda folder: make(folder / name) and None,
        file or name,
        ("score", name, *SCORE),
        scored_images(name),
        checked=checked,
        names=Path(name).name,  # a dataset has several files
    )


SOURCES = {
    # The PNG files in them have checksums of their own, so a change of pixels is always seen.
    "zip": source("set.zip", lambda path: pack_zip(path, members())),
    "zip-stored": source("set.zip", lambda path: pack_zip(path, members(), 0)),
    **{
        f"tar{end}": source(f"set.tar{end}", lambda path: pack_tar(path, members()))
        for end in ("", ".gz", ".bz2", ".xz")
    },
    "npz": source("set.npz", lambda path: np.savez(path, pixels())),
    "npz-packed": source("set.npz", lambda path: np.savez_compressed(path, pixels())),
    "npy": source("set.npy", lambda path: np.save(path, pixels()), checked=False),
    "parquet": source("set.parquet", write_parquet),
    "arrow": source("set", write_arrow, file="set/data-00000-of-00001.arrow"),
    "arrow-state": source("set", write_arrow, file="set/state.json"),
}


# --- reference statistics ---
def features() -> np.ndarray:
    return np.random.default_rng(0).random((40, 192), np.float32)


def moments() -> dict[str, np.ndarray]:
    return {"mu": features().mean(0).astype("f8"), "sigma": np.cov(features().T)}


def reference(name: str, write: Callable[[Path], Any], checked: bool = True) -> Format:
    def make(folder: Path) -> None:
        pack_zip(folder / "set.zip", members())
        write(folder / name)

    command = ("score", "set.zip", "--encoders", "pixels", "--reference", name, "--json")
    return Format(make, name, (*command, "--metrics", "fid,vendi"), scored, checked=checked)


def build_reference(folder: Path) -> None:
    pack_zip(folder / "real.zip", members())
    pack_zip(folder / "set.zip", members())
    place = (str(folder / "real.zip"), "--encoders", "pixels", "--out", str(folder / "ref"))
    run("reference", "build", *place, "--name", "mine")


def edm2(folder: Path) -> None:
    mu = np.random.default_rng(0).random(2048).astype("f4")
    held = {"num_images": 50, "fid": {"mu": mu, "sigma": np.eye(2048, dtype="f4")}}
    (folder / "s.pkl").write_bytes(pickle.dumps(held))


def imported(folder: Path, stdout: str) -> Any:
    with np.load(folder / "ref" / "inception.npz", allow_pickle=False) as file:
        return {key: file[key].tobytes() for key in ("mu", "sigma", "n")}


_REF = ("score", "set.zip", "--encoders", "pixels", "--reference", "ref", "--json")
REFERENCES = {
    "statistics-npz": reference("s.npz", lambda path: np.savez(path, **moments())),
    "features-npz": reference("s.npz", lambda path: np.savez_compressed(path, reps=features())),
    "features-npy": reference("s.npy", lambda path: np.save(path, features()), checked=False),
    "statistics-pt": reference(
        "s.pt",
        lambda path: torch.save({k: torch.from_numpy(v) for k, v in moments().items()}, path),
    ),
    "statistics-pt-numpy": reference("s.pt", lambda path: torch.save(moments(), path)),
    "reference": Format(
        build_reference, "ref/pixels.npz", (*_REF, "--metrics", "fid"), scored
    ),
    "reference-card": Format(
        build_reference, "ref/card.toml", (*_REF, "--metrics", "fid"), scored
    ),
    "statistics-pkl": Format(
        edm2, "s.pkl", ("reference", "import", "s.pkl", "--name", "x", "--out", "ref"),
        imported, checked=False, weight=0.25,
    ),
}  # fmt: skip


# --- prompts and configurations ---
def prompts_of(folder: Path, stdout: str = "") -> list[str]:
    lines = (folder / "run" / "prompts.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line)["text"] for line in lines if line]


def same_prompts(parse: Callable[[str], list[str]]) -> Callable[[Path, bytes], bool]:
    """Whether the run has the prompts that a plain reader of the format finds in the file."""

    def says(folder: Path, data: bytes) -> bool:
        texts = parse(data.decode("utf-8-sig").replace("\r\n", "\n"))
        return [text.strip() for text in texts if text.strip()] == prompts_of(folder)

    return says


def texts_of_json(items: Any) -> list[str]:
    return [item if isinstance(item, str) else item["prompt"] for item in items]


def table_of(text: str, delimiter: str) -> list[str]:
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    header = [name.strip().lower() for name in next(rows)]
    return [row[header.index("prompt")] for row in rows if any(row)]


def prompt_file(name: str, content: str, parse: Callable[[str], list[str]]) -> Format:
    return Format(
        lambda folder: (folder / name).write_text(content) and None,
        name,
        ("generate", "--models", "noise", "--set", "noise.size=4", "--prompts", name,
         "--out", "run"),
        prompts_of,
        checked=False,
        says=same_prompts(parse),
    )  # fmt: skip


def write_prompts_parquet(folder: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    table = arrow.table({"prompt": TEXTS, "category": ["x"] * len(TEXTS)})
    parquet.write_table(table, folder / "p.parquet", write_page_checksum=True)


CONFIG = """models = ["noise"]
prompts = ["a red cube", "two dogs", "three clocks"]
per_prompt = 2
seed = 7
batch_size = 4
out = "run"
[model.noise]
size = 4
"""


def same_config(folder: Path, data: bytes) -> bool:
    given = tomllib.loads(data.decode())
    made = tomllib.loads((folder / "run" / "run.toml").read_text())
    return all(made[key] == given.get(key, default) for key, default in (
        ("per_prompt", 1), ("seed", 0), ("batch_size", 32),
    )) and prompts_of(folder) == given["prompts"]  # fmt: skip


_JSONL = "".join(json.dumps({"prompt": text, "id": text}) + "\n" for text in TEXTS)
PROMPTS = {
    "prompts-txt": prompt_file("p.txt", "\n".join(TEXTS), lambda text: text.split("\n")),
    "prompts-csv": prompt_file(
        "p.csv", "id,Prompt,category\n" + "".join(f"{t},{t},x\n" for t in TEXTS),
        lambda text: table_of(text, ","),
    ),
    "prompts-tsv": prompt_file(
        "p.tsv", "Prompt\tCategory\n" + "".join(f"{t}\tx\n" for t in TEXTS),
        lambda text: table_of(text, "\t"),
    ),
    "prompts-jsonl": prompt_file(
        "p.jsonl", _JSONL,
        lambda text: texts_of_json(json.loads(line) for line in text.split("\n") if line.strip()),
    ),
    "prompts-json": prompt_file(
        "p.json", json.dumps([{"prompt": text} for text in TEXTS]),
        lambda text: texts_of_json(json.loads(text)),
    ),
    "prompts-parquet": Format(
        write_prompts_parquet, "p.parquet",
        ("generate", "--models", "noise", "--prompts", "p.parquet", "--out", "run"),
        prompts_of,
    ),
    "config-toml": Format(
        lambda folder: (folder / "c.toml").write_text(CONFIG) and None,
        "c.toml", ("generate", "--config", "c.toml", "--out", "run"),
        lambda folder, _: (folder / "run" / "run.toml").read_text(), checked=False,
        says=same_config,
    ),
}  # fmt: skip
