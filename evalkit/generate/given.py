"""The configuration of a call on a run folder: what it does not give is taken from the folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit import plugins
from evalkit.config import Config, Options, load_config, merge, read_values
from evalkit.core import EvalkitError
from evalkit.generate.plan import default_out, read_given
from evalkit.run_config import run_config
from evalkit.run_folder import Run

# A run keeps these. Others (device, batch_size, max_cost) belong to the machine and the moment.
_KEPT = (
    *("models", "prompts", "per_prompt", "seed", "perturb"),
    *("reference", "metrics", "encoders", "precision"),
)


def with_folder(
    file: Path | str | None,
    flags: Mapping[str, Any],
    options: Options | None,
    scorers: Options | None = None,
) -> Config:
    """The configuration of `load_config`, completed from the run folder that it belongs to.

    `out` is set. Options of the folder's models and scorers are completed one by one.
    """
    # An iterator is read twice below, and a pandas Series or an array has no truth value.
    flags = {
        key: tuple(v) if isinstance(v, Iterator) or _is_array(v) else v for key, v in flags.items()
    }
    own = read_values(file) if file is not None else {}
    own |= {key: value for key, value in flags.items() if value is not None}
    out = own.get("out") or _default_out(load_config(file, flags, options, scorers))
    flags, run = {**flags, "out": str(out)}, Run(out)
    if not run_config(run):
        if not (own.get("models") and own.get("prompts")) and run.is_run:
            command = f"--prompts {shlex.quote(str(run.prompts_path))}"
            command += f" --out {shlex.quote(str(run.path))}"
            raise EvalkitError(
                f"{run.path} has no run.toml; expected the models and prompts of the run again.",
                f"Give the whole command: `evalkit run --models … {command}`, with the seed and the"
                " options of the run. Settings that would change the images are refused.",
                code="generate-3",
            )
        return load_config(file, flags, options, scorers)
    named = {"models": own["models"]} if own.get("models") else {}
    known = load_config(run.config_path, named)  # without the options of models not named
    flags |= {key: getattr(known, key) for key in _KEPT if own.get(key) is None}
    merged = merge(known.options, own.get("options", {}), options or {})
    of_scorers = merge(known.scorers, own.get("scorers", {}), scorers or {})
    return load_config(file, flags, merged, of_scorers)


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and hasattr(value, "__len__")  # not a number of NumPy


def _default_out(config: Config) -> Path:
    models = plugins.models(config.models, config.options, {}, config.functions)
    return default_out(config, read_given(config), models)
