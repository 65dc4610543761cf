"""The files of a model of the transformers library: safetensors only, and no code of the model's
repository. Nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import EvalkitError, Unavailable
from evalkit.encoders.weights import cache_folder
from evalkit.files import read_utf8, write_atomically
from evalkit.generators.pipeline_files import PICKLED, first_sentence, quiet
from evalkit.hints import plural
from evalkit.images import file_sha256
from evalkit.terminal import track

_READ = (".safetensors", ".json", ".jinja", ".txt", ".model")  # all that a model is loaded from
_LARGE = 64 << 20  # bytes: the hash of such a file is kept
LIBRARY = ("transformers",)


class Family(NamedTuple):
    """Models that one automatic class of the library loads."""

    what: str
    task: str  # what it does, in the words of the library
    loader: str  # the automatic class
    types: str  # the table of its types in transformers.models.auto.modeling_auto
    example: str


VISION_LANGUAGE = Family(
    "a vision-language model",
    "that continues a text (image-text-to-text in transformers)",
    "AutoModelForImageTextToText",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "Qwen/Qwen3-VL-8B-Instruct",
)


def find_model(model: str, family: Family = VISION_LANGUAGE) -> tuple[Path, str]:
    """The folder of a model and its identity: name@commit in the hub's cache, else a hash.

    Raises EvalkitError for what is neither, and for what is no model of the family.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        check_files(path, model, family)
        return path, _hash(path)
    hint = f"Give the folder of a model, or a name on the hub such as {family.example}."
    if model.count("/") != 1 or model.startswith((".", "~", "/")) or model.endswith("/"):
        raise EvalkitError(
            f"There is no folder {model!r} with {family.what}.", hint, code="scorers-21"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError, OSError) as error:
        raise EvalkitError(
            f"The model {model!r} is not in the hub's cache, and evalkit does not download it.",
            f"Fetch it once with `hf download {model}`.",
            code="scorers-22",
        ) from error
    check_files(found, model, family)
    return found, f"{model}@{found.name}"


def check_files(folder: Path, model: str, family: Family = VISION_LANGUAGE) -> None:
    """Raise EvalkitError unless the folder has a model of the family in safetensors."""
    types = getattr(importlib.import_module("transformers.models.auto.modeling_auto"), family.types)
    try:
        config = json.loads(read_utf8(folder / "config.json"))
        kind = str(config["model_type"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise EvalkitError(
            f"{model} has no config.json that names a type of model.",
            "Give the folder that `save_pretrained` wrote.",
            code="scorers-23",
        ) from error
    translates = family is VISION_LANGUAGE and config.get("is_encoder_decoder")
    if kind not in types or translates:
        raise EvalkitError(
            f"{model} is a model of the type {kind!r}; expected {family.what} {family.task}.",
            f"For example {family.example}.",
            code="scorers-24",
        )
    names = sorted(path.name for path in folder.iterdir())
    if not any(name.endswith(".safetensors") for name in names):
        pickled = next((name for name in names if name.endswith(PICKLED)), "")
        raise EvalkitError(
            f"{model} has {f'pickled weights only ({pickled})' if pickled else 'no weights'};"
            " expected safetensors.",
            "If you trust them, convert them in Python with `save_pretrained(FOLDER)`."
            if pickled
            else f"Fetch them with `hf download {model}`.",
            code="scorers-25",
        )


def load_processor(folder: Path, model: str, **options: Any) -> Any:
    """The processor of a model. Raises EvalkitError where it cannot be loaded."""
    from transformers import AutoProcessor

    try:
        with quiet(names=LIBRARY):
            return AutoProcessor.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, **options
            )
    except Exception as error:  # the library raises many types
        made = Unavailable if isinstance(error, ImportError) else EvalkitError
        raise made(
            f"The processor of {model} cannot be loaded: {first_sentence(error)}",
            "Fetch the whole repository of the model; some processors need torchvision.",
        ) from error


def load_chat_processor(folder: Path, model: str) -> Any:
    """The processor of a model, with a chat template."""
    found = load_processor(folder, model)
    if not getattr(found, "chat_template", None) or not hasattr(found, "tokenizer"):
        raise EvalkitError(
            f"{model} has no chat template; expected a model that answers questions.",
            "Name a model that is tuned to follow instructions.",
            code="scorers-26",
        )
    return found


def load_network(
    folder: Path, model: str, dtype: Any, device: str, family: Family = VISION_LANGUAGE
) -> Any:
    """The network of a model, for inference."""
    loader: Any = getattr(importlib.import_module("transformers"), family.loader)
    with quiet(names=LIBRARY):
        network, report = loader.from_pretrained(
            str(folder),
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    if missing := sorted(report["missing_keys"]):  # the library would draw them at random
        raise EvalkitError(
            f"The weights of {model} lack {plural(len(missing), 'tensor')} of the network, such as"
            f" {missing[0]}.",
            "Fetch the files again.",
            code="scorers-27",
        )
    return network.to(device).eval().requires_grad_(False)


def _hash(folder: Path) -> str:
    """A hash of all files that a model is loaded from."""
    files = sorted(path for path in folder.iterdir() if path.suffix in _READ and path.is_file())
    digest = hashlib.sha256()
    for path in track(files, f"hashing {folder.name}", len(files), "files"):
        digest.update(f"{path.name}\0{_sha256(path)}\0".encode())
    return f"sha256:{digest.hexdigest()[:16]}"


def _sha256(path: Path) -> str:
    """The hash of a file; that of a large one is kept, as long as the file stays the same."""
    state = path.stat()
    if state.st_size < _LARGE:
        return file_sha256(path)
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    kept = cache_folder().parent / "hashes" / f"{place}.json"
    same = [state.st_size, state.st_mtime_ns]
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        row = json.loads(read_utf8(kept))
        if row["file"] == same:
            return str(row["sha256"])
    found = file_sha256(path)
    with contextlib.suppress(OSError, EvalkitError):  # a cache that cannot be written
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, json.dumps({"file": same, "sha256": found}))
    return found
