"""The files of a diffusers pipeline: a local folder or the hub's cache, safetensors only."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError
from evalkit.files import read_limited
from evalkit.images import file_sha256
from evalkit.terminal import hub_bars, track

_MOST = 16 << 20  # bytes of model_index.json
_READ = (".safetensors", ".json", ".txt", ".model")  # weights, configurations, vocabularies
PICKLED = (".bin", ".pt", ".pth", ".ckpt")


def find_pipeline(model: str, revision: str, variant: str) -> tuple[Path, str]:
    """The folder of a pipeline, and for a hub name its name with the commit, else "".

    A hub name is downloaded unless it is in the cache.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path, ""
    if path.is_file():
        raise EvalkitError(
            f"{path} is a file; expected a folder with a model_index.json, or a name on the hub.",
            "Convert it in Python: "
            "`DiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER)`.",
            code="generators-42",
        )
    hint = (
        "Give a folder, or a hub name such as stabilityai/sdxl-turbo, "
        "which needs a network or a filled cache."
    )
    if model.count("/") != 1 or model.startswith((".", "~", "/")) or model.endswith("/"):
        raise EvalkitError(f"There is no folder {model}.", hint, code="generators-43")
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    try:
        with quiet(bars=True), hub_bars():
            found = DiffusionPipeline.download(
                model, use_safetensors=True, revision=revision or None, variant=variant or None
            )
    except Exception as error:  # a dozen types, of three libraries
        # The library's text about its cache names its own parameters.
        missing = "it is not in the cache, and the hub does not have it or is not reachable."
        why = missing if "cached" in str(error) else first_sentence(error)
        raise EvalkitError(
            f"The pipeline {model!r} cannot be loaded: {why}", hint, code="generators-44"
        ) from error
    return Path(found), f"{model}@{Path(found).name}"


def read_index(folder: Path) -> dict[str, Any]:
    """model_index.json: the class of the pipeline, and the library and class of every part."""
    file = folder / "model_index.json"
    if not file.is_file():
        raise EvalkitError(
            f"{folder} has no model_index.json; expected the folder of a diffusers pipeline.",
            "Give a folder that `save_pretrained` wrote.",
            code="generators-45",
        )
    try:
        index = json.loads(read_limited(file, _MOST))
    except (OSError, ValueError, RecursionError) as error:
        raise EvalkitError(
            f"{file} is not JSON: {error}.", "Save the pipeline again.", code="generators-46"
        ) from error
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise EvalkitError(
            f"{file} does not name a pipeline of diffusers.",
            "Pipelines with their own code are not supported.",
            code="generators-47",
        )
    return index


def refuse_pickles(folder: Path, index: Mapping[str, Any]) -> None:
    """Refuse parts that have pickled weights only: a pickle runs code when it is loaded."""
    for part in index:
        names = [path.name for path in (folder / part).glob("*") if path.is_file()]
        pickled = sorted(name for name in names if name.endswith(PICKLED))
        if pickled and not any(name.endswith(".safetensors") for name in names):
            raise EvalkitError(
                f"{folder / part} has pickled weights only ({pickled[0]}); expected safetensors.",
                "If you trust them, convert them in Python with "
                "`save_pretrained(FOLDER, safe_serialization=True)`.",
                code="generators-48",
            )


def hash_pipeline(folder: Path) -> str:
    """A hash of all files of a pipeline, which detects other weights under the same name."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in _READ and path.is_file())
    digest = hashlib.sha256()
    for path in track(files, f"hashing {folder.name}", len(files), "files"):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\0".encode())
    return digest.hexdigest()


@contextlib.contextmanager
def quiet(
    bars: bool = False, names: Sequence[str] = ("diffusers", "transformers")
) -> Iterator[None]:
    """Suppress warnings, log lines and, unless `bars`, progress bars of the libraries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        libraries = [importlib.import_module(f"{name}.utils.logging") for name in names]
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
    """The first line of a library's error, at most 300 characters."""
    return f"{str(error).strip().partition(chr(10))[0][:300].rstrip('.')}."
