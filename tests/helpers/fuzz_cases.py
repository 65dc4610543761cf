"""Read damaged files through the command line, and judge what came of it.

    python tests/helpers/fuzz_cases.py png-flip-3        what one case does
    python tests/helpers/fuzz_cases.py png,npz 0 40      cases 0 to 39 of each, as JSON lines

The last line of a block has the most memory that the process took, in MB.
"""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fuzz_damage import KINDS, damaged
from fuzz_formats import IMAGES, PROMPTS, REFERENCES, SOURCES, Format
from fuzz_run_formats import GATES, MODELS, RATINGS, RUNS
from typer.testing import CliRunner

from evalkit.cli.app import app

BLOCKS = {
    "images": IMAGES,
    "sources": SOURCES,
    "statistics": REFERENCES,
    "texts": PROMPTS | RATINGS,
    "models": MODELS | GATES,
    "runs": RUNS,
}
FORMATS: dict[str, Format] = {
    name: form for block in BLOCKS.values() for name, form in block.items()
}
ENVIRONMENT = {"MINE_KEY": "0123456789abcdef"}  # of the template
Kind = str  # refused, equal, unchecked, wrong


class Outcome(NamedTuple):
    case: str
    kind: Kind
    detail: str = ""


def cases(name: str, first: int, last: int) -> Iterator[str]:
    """The cases of a format, each kind of damage in turn, with the seeds of this range."""
    kinds = list(KINDS)
    share = FORMATS[name].weight
    numbers = range(round(first * share), round(last * share))
    return (f"{name}-{kinds[at % len(kinds)]}-{at // len(kinds)}" for at in numbers)


def outcome(case: str) -> Outcome:
    """What the command makes of a damaged file. `wrong` is what must never be."""
    name, kind, seed = case.rsplit("-", 2)
    form = FORMATS[name]
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        folder = Path(place) / "case"
        shutil.copytree(_whole(name), folder)
        file = folder / form.file
        original = file.read_bytes()
        data = damaged(original, kind, int(seed))
        file.write_bytes(data)
        with contextlib.chdir(folder):
            return Outcome(case, *_judged(form, folder, data, original))


def _judged(form: Format, folder: Path, data: bytes, original: bytes) -> tuple[Kind, str]:
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", DeprecationWarning)  # Python does not show them
            done = CliRunner(env=ENVIRONMENT).invoke(app, list(form.command))
    except BaseException as error:
        return "wrong", f"raised {error!r}"
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return "wrong", f"raised {done.exception!r}"
    if warned:
        return "wrong", f"warned: {warned[0].message}"
    errors = [line for line in done.stderr.split("\n") if line.startswith("error: ")]
    if done.exit_code in (2, 3):  # 3: a model without a usable image
        named = form.names or Path(form.file).name
        if len(errors) != 1 or "Traceback" in done.stderr:
            return "wrong", f"not one sentence: {done.stderr!r}"
        if named not in done.stderr:
            return "wrong", f"does not name {named}: {errors[0]}"
        if done.exit_code == 2 and done.stdout.strip():  # else the folder of the run
            return "wrong", f"printed results: {done.stdout!r:.300}"
        return "refused", errors[0]
    if done.exit_code or errors:
        return "wrong", f"exit code {done.exit_code}: {done.stderr!r}"
    found = form.result(folder, done.stdout)
    if found == _expected(form):
        return "equal", ""
    if data == original:
        return "wrong", "the whole file gives another result"
    if form.checked or not form.says(folder, data):
        return "wrong", f"a silent result: {found!r:.300}; expected {_expected(form)!r:.300}"
    return "unchecked", ""


@cache
def _whole(name: str) -> Path:
    """A folder with the whole file of a format, and what belongs to it."""
    folder = Path(tempfile.mkdtemp(prefix="whole-"))
    with contextlib.chdir(folder):
        FORMATS[name].make(folder)
    return folder


_results: dict[str, Any] = {}


def _expected(form: Format) -> Any:
    """The result of the whole file."""
    name = next(name for name, one in FORMATS.items() if one is form)
    if name not in _results:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "case"
            shutil.copytree(_whole(name), folder)
            with contextlib.chdir(folder):
                done = CliRunner(env=ENVIRONMENT).invoke(app, list(form.command))
                assert done.exit_code == 0, done.output
                _results[name] = form.result(folder, done.stdout)
    return _results[name]


def main(arguments: list[str]) -> None:
    if len(arguments) == 1:
        print(*outcome(arguments[0]), sep="\n")
        return
    first, last = map(int, arguments[1:])
    begun = time.monotonic()
    for name in arguments[0].split(","):
        for case in cases(name, first, last):
            print(json.dumps({"starts": case}), flush=True)
            print(json.dumps(outcome(case)._asdict()), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    seconds = round(time.monotonic() - begun, 1)
    print(json.dumps({"megabytes": peak, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
