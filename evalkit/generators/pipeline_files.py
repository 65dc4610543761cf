"""Where a diffusers pipeline lies and what may be read of it: a local folder or the hub's cache,
safetensors only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError
from evalkit.images import file_sha256
from evalkit.terminal import track

_READ = (".safetensors", ".json", ".txt", ".model")  # weights, configurations, vocabularies
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")


def find_pipeline(model: str, revision: str, variant: str) -> tuple[Path, str]:
    """The folder of the pipeline, fetched where it is a hub name, and then its name with the
    commit.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path, ""
    if path.is_file():
        hint = "Convert it once in Python: `DiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER)`."
        raise EvalkitError(
            f"{path} is a file; expected a folder with a model_index.json, or a name on the hub.",
            hint,
        )
    hint = "Check the spelling: a folder, or a hub name such as stabilityai/sdxl-turbo, which needs a network or a filled cache."
    if model.count("/") != 1 or model.startswith((".", "~", "/")) or model.endswith("/"):
        raise EvalkitError(f"There is no folder {model}.", hint)
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    try:
        with quiet(bars=True):
            found = DiffusionPipeline.download(
                model, use_safetensors=True, revision=revision or None, variant=variant or None
            )
    except Exception as error:  # a dozen kinds, of three libraries
        gone = "cached" in str(error)  # what the library says of it speaks of its own parameters
        why = (
            "it is in no cache, and the hub cannot be reached or does not have it."
            if gone
            else first_sentence(error)
        )
        raise EvalkitError(f"The pipeline {model!r} cannot be had: {why}", hint) from error
    return Path(found), f"{model}@{Path(found).name}"


def read_index(folder: Path) -> dict[str, Any]:
    """model_index.json: the class of the pipeline and the library and class of every part."""
    file = folder / "model_index.json"
    if not file.is_file():
        raise EvalkitError(
            f"{folder} holds no model_index.json; expected the folder of a diffusers pipeline.",
            "See `save_pretrained`.",
        )
    try:
        index = json.loads(file.read_bytes())
    except ValueError as error:
        raise EvalkitError(f"{file} is not JSON: {error}.", "Save the pipeline again.") from error
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise EvalkitError(
            f"{file} names no pipeline of the library.",
            "Pipelines with code of their own are not run.",
        )
    return index


def refuse_pickles(folder: Path, index: Mapping[str, Any]) -> None:
    """A pickle runs code when it is read: parts that have their weights in one only are refused by
    name.
    """
    for part in index:
        names = [path.name for path in (folder / part).glob("*") if path.is_file()]
        pickled = sorted(name for name in names if name.endswith(_PICKLED))
        if pickled and not any(name.endswith(".safetensors") for name in names):
            hint = "Convert it where you trust it: load it in Python and call `save_pretrained(FOLDER, safe_serialization=True)`."
            raise EvalkitError(
                f"{folder / part} holds pickled weights only ({pickled[0]}); expected safetensors.",
                hint,
            )


def hash_pipeline(folder: Path) -> str:
    """A hash of all files that a pipeline is read from, so that other weights of the same name are
    noticed.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix in _READ and path.is_file())
    digest = hashlib.sha256()
    for path in track(files, f"hashing {folder.name}", len(files), "files"):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\0".encode())
    return digest.hexdigest()


@contextlib.contextmanager
def quiet(bars: bool = False) -> Iterator[None]:
    """No warnings, log lines or progress bars of the libraries; evalkit shows its own. As before
    afterwards.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        libraries: tuple[Any, ...] = (diffusers_logging, transformers_logging)
        before = [
            (library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries
        ]
        try:
            for library in libraries:
                library.set_verbosity(logging.CRITICAL)
                if not bars:
                    library.disable_progress_bar()
            yield
        finally:
            for library, (verbosity, shown) in zip(libraries, before, strict=True):
                library.set_verbosity(verbosity)
                if shown:
                    library.enable_progress_bar()


def first_sentence(error: Exception) -> str:
    """The first line of a library's error, at most 300 letters of it."""
    return f"{str(error).strip().partition(chr(10))[0][:300].rstrip('.')}."
