"""The files of a vision-language model of the transformers library: safetensors only, and no code
of the model's repository. Nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError
from evalkit.encoders.weights import cache_folder
from evalkit.files import read_utf8, write_atomically
from evalkit.generators.pipeline_files import PICKLED, first_sentence, quiet
from evalkit.images import file_sha256
from evalkit.terminal import track

_READ = (".safetensors", ".json", ".jinja", ".txt", ".model")  # all that a model is loaded from
_LARGE = 64 << 20  # bytes: the hash of such a file is kept
LIBRARY = ("transformers",)


def find_model(model: str) -> tuple[Path, str]:
    """The folder of a model and its identity: name@commit in the hub's cache, else a hash.

    Raises EvalkitError for what is neither, and for what is no vision-language model.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        check_files(path, model)
        return path, _hash(path)
    hint = "Give the folder of a model, or a name on the hub such as Qwen/Qwen3-VL-8B-Instruct."
    if model.count("/") != 1 or model.startswith((".", "~", "/")) or model.endswith("/"):
        raise EvalkitError(f"There is no folder {model!r} with a vision-language model.", hint)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError, OSError) as error:
        raise EvalkitError(
            f"The model {model!r} is not in the hub's cache, and nothing is downloaded.",
            f"Fetch it once with `hf download {model}`.",
        ) from error
    check_files(found, model)
    return found, f"{model}@{found.name}"


def check_files(folder: Path, model: str) -> None:
    """Raise EvalkitError unless the folder has a vision-language model in safetensors."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    try:
        config = json.loads(read_utf8(folder / "config.json"))
        kind = str(config["model_type"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise EvalkitError(
            f"{model} has no config.json that names a type of model.",
            "Give the folder that `save_pretrained` wrote.",
        ) from error
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES or config.get("is_encoder_decoder"):
        raise EvalkitError(
            f"{model} is a model of the type {kind!r}; expected a vision-language model that"
            " continues a text (image-text-to-text in transformers).",
            "For example Qwen/Qwen3-VL-8B-Instruct.",
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
        )


def load_processor(folder: Path, model: str) -> Any:
    """The processor of a model, with a chat template."""
    from transformers import AutoProcessor

    try:
        with quiet(names=LIBRARY):
            found = AutoProcessor.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # the library raises many types
        raise EvalkitError(
            f"The processor of {model} cannot be loaded: {first_sentence(error)}",
            "Fetch the whole repository of the model; some processors need torchvision.",
        ) from error
    if not getattr(found, "chat_template", None) or not hasattr(found, "tokenizer"):
        raise EvalkitError(
            f"{model} has no chat template; expected a model that answers questions.",
            "Name a model that is tuned to follow instructions.",
        )
    return found


def load_network(folder: Path, model: str, dtype: Any, device: str) -> Any:
    """The network of a model, for inference."""
    from transformers import AutoModelForImageTextToText

    loader: Any = AutoModelForImageTextToText
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
            f"The weights of {model} lack {len(missing)} tensors of the network, such as"
            f" {missing[0]}.",
            "Fetch the files again.",
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
