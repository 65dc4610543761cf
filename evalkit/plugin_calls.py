"""Calls of plug-ins: what they print, which settings of the process they change, what they raise.

A plug-in is code of others in the process that measures. What it prints goes to stderr. A setting
of the process that it changes (the current directory, a random state, the default dtype) holds in
the calls of its own module and nowhere else, so that no plug-in changes the numbers of another
one. What it raises, SystemExit included, becomes one sentence that names it.
"""

from __future__ import annotations

import contextlib
import functools
import locale
import logging
import os
import random
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

from evalkit.core import EvalkitError
from evalkit.terminal import one_line

_LONGEST = 1000  # characters of the text of an exception
DECODING = ("ImageFile.LOAD_TRUNCATED_IMAGES", "Image.MAX_IMAGE_PIXELS")  # settings of Pillow
_changes: dict[str, dict[str, Any]] = {}  # by module: the settings that it changed, as it left them


@contextlib.contextmanager
def plugin_call(code: object, failed: str, hint: str = "", memory_hint: str = "") -> Iterator[None]:
    """Run code of a plug-in: `named` and `apart` in one."""
    with named(code, failed, hint, memory_hint), apart(code):
        yield


@contextlib.contextmanager
def named(code: object, failed: str, hint: str = "", memory_hint: str = "") -> Iterator[None]:
    """Raise what the code raises as an EvalkitError: "`failed`: its text".

    Its exit code is 2, or 3 where the code itself raised an EvalkitError with 3.

    Args:
        code: the function or object of the plug-in. The errors of evalkit's own pass unchanged, as
            a KeyboardInterrupt does.
        failed: names the plug-in, such as "The model 'mine' failed".
        hint, memory_hint: what to do next; the second one where memory ran out.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit: it would end a run without a word
        if isinstance(error, EvalkitError):
            if is_own(code):
                raise
            code = 3 if error.exit_code == 3 else 2  # 3: stopped by a service
            raise EvalkitError(
                f"{failed}: {said(error)}", str(error.hint or hint), code, code="plugin_calls-1"
            ) from error
        text = said(error)
        if memory_hint and "memory" in text.lower():
            hint = memory_hint
        raise EvalkitError(f"{failed}: {text}.", hint, code="plugin_calls-2") from error


def said(error: BaseException) -> str:
    """The type and the text of an exception on one line; the text alone of an EvalkitError."""
    try:
        text = error.message if isinstance(error, EvalkitError) else str(error)
        text = one_line(" ".join(str(text)[: 10 * _LONGEST].split()))[:_LONGEST]
    except KeyboardInterrupt:
        raise
    except BaseException:  # its class is code of the plug-in too
        text = ""
    if isinstance(error, EvalkitError) and text:
        return text
    return ": ".join(filter(None, (type(error).__name__, text)))


@contextlib.contextmanager
def apart(code: object, without: Sequence[str] = ()) -> Iterator[None]:
    """Print to stderr, and keep the changes of settings (see `_settings`) to the code's module.

    without: settings that stay as they are when the block begins.
    """
    with contextlib.redirect_stdout(sys.stderr):
        if is_own(code):
            yield
            return
        module, process = _module(code).partition(".")[0], os.getpid()
        before = _read()
        known = _changes.get(module, {})
        _write({name: value for name, value in known.items() if name not in without})
        try:
            yield
        finally:
            if os.getpid() != process:  # a fork of the plug-in must not go on with the command
                _end_fork(module)
            after = _read()
            names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
            kept = {name: value for name, value in known.items() if name in without}
            _changes[module] = kept | {name: after.get(name) for name in names}
            _write({name: before.get(name) for name in names})


def _end_fork(module: str) -> NoReturn:
    try:
        error = sys.exc_info()[1]
        reason = f": {said(error)}" if error else ""
        line = f"a process that {module} forked came back and was ended{reason}\n"
        os.write(2, line.encode(errors="backslashreplace"))
    finally:
        os._exit(1)


@contextlib.contextmanager
def unchanged(names: Sequence[str]) -> Iterator[None]:
    """Undo and refuse a change of settings on which evalkit depends in other threads."""
    before = {name: _settings()[name].read() for name in names}
    yield
    changed = [name for name in names if _settings()[name].read() != before[name]]
    if changed:
        _write({name: before[name] for name in changed})
        raise RuntimeError(f"it changed the setting {changed[0]} while images are read")


def is_own(code: object) -> bool:
    """Whether this is a function or an object of evalkit itself.

    A function is where its code is: `functools.wraps` copies the name of another module.
    """
    return _module(code).partition(".")[0] == "evalkit"


def _module(code: object) -> str:
    while isinstance(code, functools.partial):
        code = code.func
    code = code.__func__ if isinstance(code, types.MethodType) else code
    if isinstance(code, types.FunctionType):
        return str(code.__globals__.get("__name__", ""))
    if isinstance(code, types.ModuleType | str):  # a module that is about to be imported
        return code if isinstance(code, str) else code.__name__
    return str((code if isinstance(code, type) else type(code)).__module__)


class _Setting(NamedTuple):
    """A setting of the process. Values can be compared with `==`."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


def _attribute(owner: Any, name: str) -> _Setting:
    return _Setting(lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


@functools.cache
def _settings() -> dict[str, _Setting]:
    """The settings on which numbers, messages or paths of evalkit or other plug-ins depend."""
    import numpy
    import torch
    from PIL import Image, ImageFile

    from evalkit import precision

    def directory() -> str:
        try:
            return os.getcwd()
        except FileNotFoundError:  # it was removed
            return ""

    def set_directory(value: str) -> None:
        if value:
            os.chdir(value)

    generators: Any = numpy.random

    def numpy_random() -> tuple[Any, ...]:
        source = generators.get_bit_generator()
        if not isinstance(source, numpy.random.MT19937):  # the state of another one is its owner's
            return (source,)
        name, keys, *rest = numpy.random.get_state()
        return source, name, keys.tobytes(), *rest  # type: ignore[union-attr]

    def set_numpy_random(value: tuple[Any, ...]) -> None:
        source, *state = value
        generators.set_bit_generator(source)
        if state:
            name, keys, *rest = state
            numpy.random.set_state((name, numpy.frombuffer(keys, numpy.uint32), *rest))

    def set_torch_random(value: bytes) -> None:
        torch.set_rng_state(torch.from_numpy(numpy.frombuffer(value, numpy.uint8).copy()))

    def set_path(value: Iterable[str]) -> None:
        sys.path[:] = value

    def set_filters(value: Iterable[Any]) -> None:
        warnings.resetwarnings()  # the caches of all modules are renewed
        warnings.filters[:] = value  # type: ignore[index]

    def autocast() -> tuple[Any, ...]:
        return tuple(
            (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
            for kind in ("cpu", "cuda")
        )

    def set_autocast(value: Iterable[tuple[str, bool, Any]]) -> None:
        for kind, enabled, dtype in value:
            torch.set_autocast_enabled(kind, enabled)
            torch.set_autocast_dtype(kind, dtype)

    def set_device(value: Any) -> None:
        torch.set_default_device(None if value == torch.device("cpu") else value)

    cudnn = torch.backends.cudnn
    return {
        "directory": _Setting(directory, set_directory),
        "stderr": _attribute(sys, "stderr"),
        "path": _Setting(lambda: tuple(sys.path), set_path),
        "recursion": _Setting(sys.getrecursionlimit, sys.setrecursionlimit),
        "locale": _Setting(
            lambda: locale.setlocale(locale.LC_ALL),
            lambda value: locale.setlocale(locale.LC_ALL, value),
        ),
        "logging": _attribute(logging.root.manager, "disable"),
        "warnings": _Setting(lambda: tuple(warnings.filters), set_filters),
        "showwarning": _attribute(warnings, "showwarning"),
        DECODING[0]: _attribute(ImageFile, "LOAD_TRUNCATED_IMAGES"),
        DECODING[1]: _attribute(Image, "MAX_IMAGE_PIXELS"),
        "random": _Setting(random.getstate, random.setstate),
        "numpy random": _Setting(numpy_random, set_numpy_random),
        "numpy errors": _Setting(numpy.geterr, lambda value: numpy.seterr(**value)),
        "device": _Setting(torch.get_default_device, set_device),
        "torch random": _Setting(lambda: torch.get_rng_state().numpy().tobytes(), set_torch_random),
        "dtype": _Setting(torch.get_default_dtype, torch.set_default_dtype),
        "autocast": _Setting(autocast, set_autocast),
        "gradients": _Setting(torch.is_grad_enabled, torch.set_grad_enabled),
        "threads": _Setting(torch.get_num_threads, torch.set_num_threads),
        "deterministic": _Setting(
            torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode
        ),
        "precision": _Setting(precision.read, precision.write),
        "cudnn.deterministic": _attribute(cudnn, "deterministic"),
        "cudnn.benchmark": _attribute(cudnn, "benchmark"),
    }


def _read() -> dict[str, Any]:
    """All settings, and every variable of the environment as `$NAME`."""
    values = {name: setting.read() for name, setting in _settings().items()}
    return values | {f"${name}": value for name, value in os.environ.items()}


def _write(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if not name.startswith("$"):
            _settings()[name].write(value)
        elif value is None:
            os.environ.pop(name[1:], None)
        else:
            os.environ[name[1:]] = value
