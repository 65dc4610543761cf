"""run.toml of a run folder, which counts only where it agrees with the images of the folder."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.config import Value, read_values
from evalkit.core import EvalkitError
from evalkit.run_folder import Run, folder_name
from evalkit.seeds import image_seed
from evalkit.specs import INSTALLED, default_label, is_path, split_label

_IRRELEVANT = ("price", "timeout", "api_key_env")  # options on which no image depends


def prompts_source(run: Run) -> str:
    """The file or the name that the prompts of a run were read from, as its run.toml remarks.

    "" for prompts of Python, and where the remark is gone.
    """
    try:
        first = run.config_path.read_text(encoding="utf-8").partition("\n")[0]
        found = re.match(r'# Prompts were read from ("(?:[^"\\]|\\.)*")\.', first)
        return json.loads(found[1]) if found else ""
    except (OSError, ValueError):
        return ""


def run_config(run: Run) -> dict[str, Any]:
    """The keys of run.toml, as `config.read_values` gives them; {} if there is none.

    Raises EvalkitError for a file that is damaged, or that states other models, options, prompts,
    images per prompt or another seed than the images have.
    """
    if not os.path.lexists(run.config_path):
        return {}
    values = read_values(run.config_path)
    files = [run.config_path, *sorted((run.path / "images").glob("*/*.json*"))]
    _require_agreement(os.fspath(run), *((path, *_state(path)) for path in files))
    return values


def relevant(options: Mapping[str, Value]) -> dict[str, Value]:
    """The options on which images depend."""
    return {name: value for name, value in options.items() if name not in _IRRELEVANT}


def lost_models(run: Run) -> dict[str, str]:
    """The models that run.toml or the last scoring names and the folder lacks: label to a sentence.

    Raises EvalkitError as `run_config` does.
    """
    specs = {label: run.model(label)["spec"] for label in run.models()}
    lost = {label: "was scored" for label in run.scored_images() if label not in specs}
    for text in run_config(run).get("models", ()):
        label, given = split_label(text)
        if not any(_is_model(run, one, spec, label, given) for one, spec in specs.items()):
            path = os.path.basename(os.path.realpath(given)) if is_path(given) else ""
            ends = [one for one in lost if path and f"/{os.path.realpath(given)}".endswith(one)]
            lost[label or (ends or [path])[0] or default_label(given)] = "is in run.toml"
    return {
        label: f"There is no folder images/{folder_name(label)}, and the model {label!r} {known}."
        for label, known in lost.items()
    }


def _state(path: os.PathLike[str]) -> tuple[int, int, int]:
    found = os.lstat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=100)  # a command asks several times
def _require_agreement(path: str, *files: tuple[Any, ...]) -> None:
    run = Run(path)
    found = list(_contradictions(run, read_values(run.config_path)))
    if found:
        raise EvalkitError(
            f"{run.config_path} contradicts the images of the run: {'; '.join(found)}.",
            "Restore the file, or make another run with this configuration: `--out`.",
            code="run_config-1",
        )


def _contradictions(run: Run, values: Mapping[str, Any]) -> Iterator[str]:
    prompts = values.get("prompts")
    if prompts and os.path.realpath(str(prompts)) != os.path.realpath(run.prompts_path):
        yield f"prompts is {str(prompts)!r:.80}, and the prompts are in prompts.jsonl"
    listed = [split_label(text) for text in values.get("models", ())]
    seed, per_prompt = values.get("seed", 0), values.get("per_prompt", 1)
    compared = run.sources().get("models", {})  # of runs with seeds of their own
    with_prompts = os.path.lexists(run.prompts_path)  # else whoever needs them says so
    for label in run.models():
        records, note = run.records(label, check=with_prompts), run.model(label)
        if not records:  # a call was stopped before run.toml was written
            continue
        if "models" in values and not any(_is_model(run, label, note["spec"], *a) for a in listed):
            yield f"models lacks {label!r} ({note['spec']})"
        first = records[0]
        if label not in compared and image_seed(seed, first.prompt, first.sample) != first.seed:
            yield f"seed is {seed}, and the images of {label!r} have another one"
        samples = 1 + max(record.sample for record in records)
        if per_prompt < samples:
            yield f"per_prompt is {per_prompt}, and {label!r} has {samples} images per prompt"
        if "options" in note:
            old = relevant(note["options"])
            new = relevant(values.get("options", {}).get(label, {}))
            for key in sorted({*old, *new}):
                if old.get(key) != new.get(key):
                    yield f"{label}.{key} is {new.get(key)!r}, and was {old.get(key)!r}"


def _is_model(run: Run, known: str, spec: str, label: str, given: str) -> bool:
    """Whether a model as run.toml names it is a known one of the run."""
    if is_path(given):
        same = os.path.realpath(given) == os.path.realpath(run.path / spec)
        return same and (label == known if label else f"/{os.path.realpath(given)}".endswith(known))
    return given.removeprefix(INSTALLED) == spec and (label or default_label(given)) == known
