"""One flat TOML file plus flags -> one frozen `Config`. Defaults < file < flags."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral
from pathlib import Path
from typing import Any, get_args

import tomli_w

from evalkit.core import EvalkitError, Precision, Prompt
from evalkit.files import parse_toml, read_utf8
from evalkit.hints import did_you_mean
from evalkit.prompts import is_bundled, prompts_from_list
from evalkit.prompts.perturb import check_kinds
from evalkit.specs import (
    Functions,
    default_label,
    expanded,
    is_path,
    model_texts,
    spelled_as_path,
    split_label,
    split_names,
    with_path,
)

Value = str | int | float | bool
Options = Mapping[str, Mapping[str, Value]]  # model label -> option -> value
_DEVICE = re.compile(r"auto|cpu|mps|xpu|cuda(:\d+)?")
_PATHS = ("file", "images", "model", "questions")  # options of scorers that may name a file
_ENCODERS = re.compile(r"[A-Za-z0-9_.:-]+(,[A-Za-z0-9_.:-]+)*")


@dataclass(frozen=True)
class Config:
    """Everything that a run depends on. Paths are relative to the current directory.

    Args:
        models: names of generators, `package.module:attribute`, or folders of images; with
            `label=` before any of these, the model has this label.
        prompts: the path of a prompt file, `suite` or `suite:GROUP` (bundled prompts), or the
            prompts themselves.
        perturb: kinds of variants of each prompt (prompts/perturb.py), which are added to the list.
        text_column: of a table or JSON, where the prompts are; None finds it by its name.
        group_column: where the groups of the prompts are; None finds it by its name.
        out: the run folder; "" stands for a folder in `reports/` whose name holds the models, the
            prompts and a hash of the settings.
        per_prompt: images per prompt.
        seed: the run's seed; each image derives its own from it.
        reference: the name of installed reference statistics, or a path; None is the default of
            the encoders.
        metrics: names of metrics; () is the usual set.
        encoders: `auto`, `standard`, `mini`, or names joined by commas.
        precision: in which evalkit's own encoders compute: `exact`, `tf32` or `bf16`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`, `xpu`.
        batch_size: images per batch; results agree up to rounding. None is 32, and more for
            encoders on a GPU, see `encoders.batches`.
        max_cost: the limit in US dollars for remote services, over all commands on the run folder;
            None for no limit.
        options: options of each model, by its label.
        scorers: options of scorers by name.
        functions: the models that are Python objects, by their text in `models`.
    """

    models: tuple[str, ...]
    prompts: str | tuple[Prompt, ...]
    out: str = ""
    per_prompt: int = 1
    seed: int = 0
    reference: str | None = None
    metrics: tuple[str, ...] = ()
    encoders: str = "auto"
    device: str = "auto"
    precision: Precision = "exact"
    batch_size: int | None = None
    max_cost: float | None = None
    perturb: tuple[str, ...] = ()
    text_column: str | None = None
    group_column: str | None = None
    options: Options = field(default_factory=dict)
    scorers: Options = field(default_factory=dict)
    functions: Functions = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for text in self.models:
            if isinstance(text, str):
                split_label(text)  # raises for a label without a model
        for key in ("models", "metrics", "perturb"):
            value: Sequence[str] = getattr(self, key)
            _require(
                all(isinstance(item, str) and item.strip() for item in value),
                key,
                value,
                "names without blanks",
            )
            labels = "Give each a label: `--models a=dalle,b=dalle`." if key == "models" else ""
            _require(len(set(value)) == len(value), key, ", ".join(value), "each name once", labels)
        check_kinds(self.perturb)
        _require(
            bool(self.models),
            "models",
            "nothing",
            "at least one generator or folder",
            "Name them, for example `--models noise`.",
        )
        _require(
            bool(self.prompts),
            "prompts",
            "nothing",
            "a file or a list",
            "Name a file with one prompt per line: `--prompts FILE`.",
        )
        for key, low, high in (
            ("per_prompt", 1, 10_000),
            ("batch_size", 1, 65_536),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, key)
            _require(
                (key == "batch_size" and value is None)
                or (type(value) is int and low <= value <= high),
                key,
                value,
                f"a whole number from {low} to {high}",
            )
        money = self.max_cost
        good = money is None or (type(money) in (int, float) and 0 <= money < 1e9)
        _require(good, "max_cost", money, "US dollars, 0 or more", "For example `--max-cost 20`.")
        _require(self.reference != "", "reference", "nothing", "a name or a path")
        for key in ("out", "prompts", "reference"):
            value = getattr(self, key)
            good = not (isinstance(value, str) and "\0" in value)
            _require(good, key, value, "a path without NUL characters")
        _require(
            bool(_ENCODERS.fullmatch(self.encoders)),
            "encoders",
            self.encoders,
            "auto, standard, mini, or names joined by commas",
        )
        check_precision(self.precision)
        try:
            self.to_toml().encode()
        except UnicodeEncodeError as error:
            found = error.object[error.start]
            raise EvalkitError(
                f"The configuration holds {found!r}, which is not valid Unicode.",
                "Rename the file.",
                code="config-1",
            ) from error
        except TypeError as error:
            raise EvalkitError(
                f"The configuration cannot be written as TOML: {error}.",
                "Use texts, numbers, true or false as options.",
                code="config-2",
            ) from error
        _require(
            bool(_DEVICE.fullmatch(self.device)),
            "device",
            self.device,
            "auto, cpu, cuda, cuda:<number>, mps or xpu",
        )

    def to_toml(self) -> str:
        """This configuration as flat TOML, without values that are None; see `from_toml`."""
        values = {key: value for key in KEYS if (value := getattr(self, key)) is not None}
        if not self.perturb:
            del values["perturb"]
        if not isinstance(self.prompts, str):
            values["prompts"] = [asdict(prompt) for prompt in self.prompts]
        if self.options:
            values["model"] = self.options
        if self.scorers:
            values["scorer"] = self.scorers
        return tomli_w.dumps(values)

    @staticmethod
    def from_toml(text: str, source: str = "the configuration", base: Path | None = None) -> Config:
        """Parse and check a configuration; relative paths start from `base`, if given."""
        return _config(_parse(text, source, base), source)


KEYS = tuple(
    item.name for item in fields(Config) if item.name not in ("options", "scorers", "functions")
)


def load_config(
    path: Path | str | None,
    flags: Mapping[str, Any],
    options: Options | None = None,
    scorers: Options | None = None,
) -> Config:
    """The configuration of a file (its paths are relative to it), overridden by flags.

    A flag that is None was not given. options: of models; scorers: of scorers.
    """
    values = read_values(path) if path is not None else {}
    values |= {key: value for key, value in flags.items() if value is not None}
    merged = {label: dict(known) for label, known in values.get("options", {}).items()}
    if flags.get("models") is not None:  # drop the file's options of models that the flag omits
        labels = _labels(model_texts(flags["models"])[0])
        merged = {label: known for label, known in merged.items() if _is_of(label, labels)}
    elif "models" in values:
        labels = _labels(values["models"])
        for label in merged:
            if not _is_of(label, labels):
                raise EvalkitError(
                    f"{path} has options of {label!r}, which is not among its models.",
                    did_you_mean(label, labels),
                    code="config-3",
                )
    values |= {
        "options": merge(merged, options or {}),
        "scorers": merge(values.get("scorers", {}), scorers or {}),
    }
    return _config(values, str(path or "the configuration"))


def merge(*given: Options) -> dict[str, dict[str, Value]]:
    """The options of all, of which later ones replace earlier ones."""
    merged: dict[str, dict[str, Value]] = {}
    for options in given:
        for label, values in options.items():
            merged.setdefault(label, {}).update(values)
    return merged


def _labels(texts: Iterable[str]) -> list[str]:
    """The labels of models; of a folder without one, its whole path."""
    named = [split_label(text) for text in texts]
    return [
        label or default_label(os.path.realpath(spec) if is_path(spec) else spec)
        for label, spec in named
    ]


def _is_of(label: str, labels: Iterable[str]) -> bool:
    """Whether options belong to one of the models: a folder may be given by its last parts."""
    return any(f"/{known}".endswith(f"/{label}") for known in labels)


def read_values(path: Path | str) -> dict[str, Any]:
    """The keys that a file gives, with checked types; its paths are relative to it."""
    return _parse(_read(Path(path)), str(path), Path(path).parent)


def parse_settings(settings: Iterable[str]) -> dict[str, dict[str, Value]]:
    """`--set dalle.temperature=0.9` flags -> options by model or scorer.

    Values stay texts here; the signature of what they belong to later says which are numbers.
    """
    options: dict[str, dict[str, Value]] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        label, dot, option = name.strip().rpartition(".")
        if not (equals and dot and label and option):
            raise EvalkitError(
                f"The option {setting!r} is not of the form MODEL.OPTION=VALUE.",
                "For example `--set dalle.temperature=0.9`.",
                code="config-4",
            )
        options.setdefault(label, {})[option] = value.strip()
    return options


def check_precision(value: object) -> None:
    """Raise EvalkitError for a precision that encoders do not have."""
    known = get_args(Precision)
    _require(value in known, "precision", value, f"{', '.join(known[:-1])} or {known[-1]}")


def _require(good: bool, key: str, found: object, expected: str, hint: str = "") -> None:
    if not good:
        state = "missing" if found == "nothing" else repr(found)
        raise EvalkitError(f"{key} is {state}; expected {expected}.", hint, code="config-5")


def _read(path: Path) -> str:
    try:
        return read_utf8(path)
    except OSError as error:
        raise EvalkitError(
            f"The configuration {path} cannot be read: {error.strerror}.",
            "Check the path given to --config.",
            code="config-6",
        ) from error


def _parse(text: str, source: str, base: Path | None) -> dict[str, Any]:
    """The keys of a TOML text, with checked types and with paths that start from `base`."""
    try:
        values = parse_toml(text)
    except (ValueError, RecursionError) as error:
        raise EvalkitError(
            f"{source} is not valid TOML: {error}.",
            "Correct the file, or delete it and give the whole command again with the same --out."
            if os.path.basename(source) == "run.toml"  # the rest of the run states all but scores
            else "Correct the file; `evalkit init` writes an example.",
            code="config-7",
        ) from error
    options = _tables(values, "model", "dalle", source)
    scorers = _tables(values, "scorer", "vqa_score", source)
    for key in values:
        if key not in KEYS:
            raise EvalkitError(
                f"{source} has the unknown key {key!r}.",
                did_you_mean(key, (*KEYS, "model", "scorer")),
                code="config-8",
            )
    result = {key: _typed(key, value, source) for key, value in values.items()}
    result |= {"options": options} | ({"scorers": scorers} if scorers else {})
    return result if base is None else _rebase(result, base)


def _tables(values: dict[str, Any], name: str, example: str, source: str) -> dict[str, Any]:
    """The tables `[name.LABEL]` of a file, taken out of its values, with checked types."""
    options = values.pop(name, {})
    if not isinstance(options, dict) or not all(
        isinstance(table, dict) for table in options.values()
    ):
        raise EvalkitError(
            f"{source} has `{name}` as a value; expected tables such as [{name}.{example}].",
            code="config-9",
        )
    for label, table in options.items():
        for key, value in table.items():
            if not isinstance(value, Value):
                raise EvalkitError(
                    f"{source} sets {label}.{key} to {value!r}; "
                    "expected a text, a number, true or false.",
                    code="config-10",
                )
    return options


def _typed(key: str, value: object, source: str) -> Any:
    """The value of a key, or an EvalkitError that states the expected type."""
    if key == "models" and isinstance(value, dict):
        if all(isinstance(item, str) for item in value.values()):
            return model_texts(value)[0]
        raise EvalkitError(
            f"{source} sets models to {value!r}; expected a text for each label.",
            code="config-11",
        )
    if key in ("models", "metrics", "perturb"):
        if isinstance(value, str):
            value = list(model_texts(value)[0] if key == "models" else split_names(value))
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            check_kinds(value if key == "perturb" else (), source)
            return tuple(value)
        raise EvalkitError(
            f"{source} sets {key} to {value!r}; expected a list of texts.", code="config-12"
        )
    if key == "prompts" and isinstance(value, list):
        try:
            items = [
                Prompt(**{"id": f"{at:05d}", **item}) if isinstance(item, dict) else item
                for at, item in enumerate(value)
            ]
        except TypeError as error:
            raise EvalkitError(
                f"{source} has a prompt with unknown keys.",
                "Known: id, text, group.",
                code="config-13",
            ) from error
        return tuple(prompts_from_list(items))
    types, expected = (str,), "a text"
    if key in ("per_prompt", "seed", "batch_size"):
        types, expected = (int,), "a whole number"
    elif key == "max_cost":
        types, expected = (int, float), "a number"
    if type(value) not in types:
        raise EvalkitError(
            f"{source} sets {key} to {value!r}; expected {expected}.", code="config-14"
        )
    return value


def _rebase(values: dict[str, Any], base: Path) -> dict[str, Any]:
    def moved(path: str) -> str:
        # Not normalized: `..` after a symbolic link leads elsewhere.
        return str(base / Path(path).expanduser())

    for key in ("prompts", "out"):
        path = values.get(key)
        if isinstance(path, str) and path and not (key == "prompts" and is_bundled(path)):
            values[key] = moved(path)
    if is_path(values.get("reference", "")):
        values["reference"] = spelled_as_path(moved(values["reference"]))
    if "models" in values:
        values["models"] = tuple(with_path(text, moved) for text in values["models"])
    if "scorers" in values:
        values["scorers"] = {
            name: {key: whole_path(key, value, base) for key, value in one.items()}
            for name, one in values["scorers"].items()
        }
    return values


def whole_path(option: str, value: Value, base: Path | str = "") -> Value:
    """The value of a scorer's option as a run keeps it: a file or folder by its absolute path."""
    if option not in _PATHS or not isinstance(value, str) or not value:
        return value
    path = os.path.join(base, os.path.expanduser(value))
    return os.path.abspath(path) if os.path.exists(path) else value


def _config(values: Mapping[str, Any], source: str) -> Config:
    values = dict(values)
    texts, values["functions"] = model_texts(values.get("models") or ())
    values["models"] = tuple(with_path(text, expanded) for text in texts)
    for key in ("metrics", "perturb"):
        names = values.get(key) or ()
        values[key] = split_names(names) if isinstance(names, str) else tuple(names)
    for key in ("per_prompt", "batch_size", "seed"):
        if isinstance(values.get(key), Integral) and not isinstance(values[key], bool):
            values[key] = int(values[key])  # of NumPy
    for key in ("models", "prompts"):
        if not values.get(key):
            raise EvalkitError(
                f"{source} names no {key}.",
                f"Give `--{key}`, or add `{key} = …` to the configuration file.",
                code="config-15",
            )
    for key in ("prompts", "out", "reference"):
        if isinstance(values.get(key), str | Path):
            values[key] = expanded(str(values[key]))
    if not isinstance(values["prompts"], str):
        values["prompts"] = tuple(prompts_from_list(values["prompts"]))
    return Config(**values)
