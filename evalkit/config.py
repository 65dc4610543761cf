"""One flat TOML file plus flags -> one frozen `Config`. Defaults < file < flags."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError, Prompt
from evalkit.prompts import is_bundled, prompts_from_list

Value = str | int | float | bool
Options = Mapping[str, Mapping[str, Value]]  # model label -> option -> value
_DEVICE = re.compile(r"auto|cpu|mps|xpu|cuda(:\d+)?")
_NAMED = re.compile(r"[A-Za-z][\w.-]+:(?!//)")  # two letters at least: C:/ is a drive
_ENCODERS = re.compile(r"[A-Za-z0-9_.:-]+(,[A-Za-z0-9_.:-]+)*")


@dataclass(frozen=True)
class Config:
    """Everything that a run depends on. Paths are relative to the current directory.

    Args:
        models: names of generators, `package.module:attribute`, or folders of images.
        prompts: the path of a prompt file, `suite` or `suite:GROUP` (bundled prompts), or the
            prompts themselves.
        out: the run folder; "" makes one in `reports/`, named after the models, the prompts and a
            hash of the settings.
        per_prompt: images per prompt.
        seed: the run's seed; each image has its own, derived from it.
        reference: the name of shipped reference statistics, or a path; None takes the default of
            the encoders.
        metrics: names of metrics; () is the usual set.
        encoders: `auto`, `standard`, `mini`, or names joined by commas.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`, `xpu`.
        batch_size: images per batch; no result depends on it.
        max_cost: US dollars that remote services may cost in this run, all commands on its folder
            together; None for no limit.
        options: options of each model, by its label.
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
    batch_size: int = 32
    max_cost: float | None = None
    options: Options = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("models", "metrics"):
            value: Sequence[str] = getattr(self, key)
            _require(
                all(isinstance(item, str) and item.strip() for item in value),
                key,
                value,
                "names without blanks",
            )
            _require(len(set(value)) == len(value), key, ", ".join(value), "each name once")
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
                type(value) is int and low <= value <= high,
                key,
                value,
                f"a whole number from {low} to {high}",
            )
        money = self.max_cost
        good = money is None or (type(money) in (int, float) and 0 <= money < 1e9)
        _require(good, "max_cost", money, "US dollars, 0 or more", "For example `--max-cost 20`.")
        _require(self.reference != "", "reference", "nothing", "a name or a path")
        _require(
            bool(_ENCODERS.fullmatch(self.encoders)),
            "encoders",
            self.encoders,
            "auto, standard, mini, or names joined by commas",
        )
        try:
            self.to_toml().encode()
        except UnicodeEncodeError as error:
            raise EvalkitError(
                f"The configuration holds {error.object[error.start]!r}, which is not valid Unicode.",
                "Rename the file.",
            ) from error
        _require(
            bool(_DEVICE.fullmatch(self.device)),
            "device",
            self.device,
            "auto, cpu, cuda, cuda:<number>, mps or xpu",
        )

    def to_toml(self) -> str:
        """The flat TOML of this configuration; `from_toml` gives it back. Values that are not set
        are left out.
        """
        lines = [
            f"{key} = {_toml(getattr(self, key))}" for key in KEYS if getattr(self, key) is not None
        ]
        for label, options in self.options.items():
            lines += [
                "",
                f"[model.{_key(label)}]",
                *(f"{_key(key)} = {_toml(value)}" for key, value in options.items()),
            ]
        return "\n".join(lines) + "\n"

    @staticmethod
    def from_toml(text: str, source: str = "the configuration", base: Path | None = None) -> Config:
        """Parse and check a configuration. Relative paths are taken from the folder `base`, where
        one is given.
        """
        return _config(_parse(text, source, base), source)


KEYS = tuple(item.name for item in fields(Config) if item.name != "options")


def load_config(
    path: Path | str | None, flags: Mapping[str, Any], options: Options | None = None
) -> Config:
    """The configuration of a file (paths relative to it) with flags on top; a flag that is None was
    not given.
    """
    values: dict[str, Any] = (
        _parse(_read(Path(path)), str(path), Path(path).parent) if path is not None else {}
    )
    values |= {key: value for key, value in flags.items() if value is not None}
    if (
        path is not None and flags.get("models") is not None
    ):  # the file's options of models that the flag takes out are no mistake
        specs = _names(flags["models"])
        paths = (*specs, *(os.path.realpath(spec) for spec in specs))
        known = values.get("options", {})
        values["options"] = {
            label: known[label]
            for label in known
            if any(f"/{path}".endswith(f"/{label}") for path in paths)
        }
    merged = {label: dict(known) for label, known in values.get("options", {}).items()}
    for label, given in (options or {}).items():
        merged.setdefault(label, {}).update(given)
    return _config(values | {"options": merged}, str(path or "the command"))


def parse_settings(settings: Iterable[str]) -> dict[str, dict[str, Value]]:
    """`--set dalle.temperature=0.9` flags -> options by model. Texts become numbers when the
    model's signature is known.
    """
    options: dict[str, dict[str, Value]] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        label, dot, option = name.strip().rpartition(".")
        if not (equals and dot and label and option):
            raise EvalkitError(
                f"--set got {setting!r}; expected MODEL.OPTION=VALUE.",
                "For example `--set dalle.temperature=0.9`.",
            )
        options.setdefault(label, {})[option] = value.strip()
    return options


def split_names(text: str) -> tuple[str, ...]:
    """`dalle, gan` -> ("dalle", "gan")."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _names(given: str | Iterable[object]) -> tuple[str, ...]:
    return split_names(given) if isinstance(given, str) else tuple(str(item) for item in given)


def is_path(spec: str) -> bool:
    """Whether a model or reference is written as a path (a folder without a slash is found later,
    after all names).

    `name:argument` is none, whatever the argument holds (`diffusers:stabilityai/sdxl-turbo`);
    `./name:argument` is.
    """
    return not _NAMED.match(spec) and ("/" in spec or os.sep in spec or spec in (".", ".."))


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint on a wrong name: the nearest one where there is one, else all that are known."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, 1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known) or 'none'}."


def _require(good: bool, key: str, found: object, expected: str, hint: str = "") -> None:
    if not good:
        state = "missing" if found == "nothing" else repr(found)
        raise EvalkitError(f"{key} is {state}; expected {expected}.", hint)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise EvalkitError(
            f"The configuration {path} cannot be read: {reason}.",
            "Check the path given to --config.",
        ) from error


def _parse(text: str, source: str, base: Path | None) -> dict[str, Any]:
    """The keys of a TOML text with their types checked and their paths made relative to here."""
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise EvalkitError(
            f"{source} is not valid TOML: {error}.",
            "See run.toml in any run folder for an example.",
        ) from error
    options = values.pop("model", {})
    for key in values:
        if key not in KEYS:
            raise EvalkitError(
                f"{source} has the unknown key {key!r}.", nearest(key, (*KEYS, "model"))
            )
    if not isinstance(options, dict) or not all(
        isinstance(table, dict) for table in options.values()
    ):
        raise EvalkitError(
            f"{source} has `model` as a value; expected tables such as [model.dalle]."
        )
    for label, table in options.items():
        for key, value in table.items():
            if not isinstance(value, Value):
                raise EvalkitError(
                    f"{source} sets {label}.{key} to {value!r}; expected a text, a number, true or false."
                )
    result: dict[str, Any] = {key: _typed(key, value, source) for key, value in values.items()} | {
        "options": options
    }
    return result if base is None else _rebase(result, base)


def _typed(key: str, value: object, source: str) -> Any:
    if (
        key in ("models", "metrics")
        and isinstance(value, list)
        and all(isinstance(item, str) for item in value)
    ):
        return tuple(value)
    if key in ("models", "metrics") and isinstance(value, str):
        return split_names(value)
    if key == "prompts" and isinstance(value, list):
        try:
            items = [
                Prompt(**{"id": f"{at:05d}", **item}) if isinstance(item, dict) else item
                for at, item in enumerate(value)
            ]
        except TypeError as error:
            raise EvalkitError(
                f"{source} has a prompt with unknown keys.", "Known: id, text, group."
            ) from error
        return tuple(prompts_from_list(items))
    whole, money = key in ("per_prompt", "seed", "batch_size"), key == "max_cost"
    expected = (int,) if whole else (int, float) if money else (str,)
    if key in ("models", "metrics") or type(value) not in expected:
        kind = (
            "a whole number"
            if whole
            else "a number"
            if money
            else "a list of texts"
            if key in ("models", "metrics")
            else "a text"
        )
        raise EvalkitError(f"{source} sets {key} to {value!r}; expected {kind}.")
    return value


def _rebase(values: dict[str, Any], base: Path) -> dict[str, Any]:
    def moved(path: str) -> str:
        return str(
            base / Path(path).expanduser()
        )  # not normalized: `..` after a symbolic link means something else

    for key in ("prompts", "out"):
        path = values.get(key)
        if isinstance(path, str) and path and not (key == "prompts" and is_bundled(path)):
            values[key] = moved(path)
    if is_path(values.get("reference", "")):
        values["reference"] = spelled_as_path(moved(values["reference"]))
    if "models" in values:
        values["models"] = tuple(
            spelled_as_path(moved(spec)) if is_path(spec) else spec for spec in values["models"]
        )
    return values


def spelled_as_path(path: str) -> str:
    """The same path, written so that it cannot be taken for a name."""
    return path if is_path(path) else f".{os.sep}{path}"


def _config(values: Mapping[str, Any], source: str) -> Config:
    values = dict(values)
    for key in ("models", "metrics"):
        values[key] = _names(values.get(key) or ())
    for key in ("models", "prompts"):
        if not values.get(key):
            raise EvalkitError(
                f"{source} names no {key}.", f"Add `{key} = …` to the file, or give `--{key}`."
            )
    for key in ("prompts", "out", "reference"):
        if isinstance(values.get(key), Path):
            values[key] = str(values[key])
    if not isinstance(values["prompts"], str):
        values["prompts"] = tuple(prompts_from_list(values["prompts"]))
    return Config(**values)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: object) -> str:
    """A TOML value. Texts are basic strings with every control character escaped."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Prompt):
        return (
            "{"
            + ", ".join(f"{key} = {_toml(getattr(value, key))}" for key in ("id", "text", "group"))
            + "}"
        )
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    escaped = (
        f"\\{c}" if c in '"\\' else f"\\u{ord(c):04X}" if ord(c) < 32 or ord(c) == 127 else c
        for c in str(value)
    )
    return '"' + "".join(escaped) + '"'
