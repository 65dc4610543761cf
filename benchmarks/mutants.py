"""Mutation test: which small changes of the code of a room do its tests notice?

A random sample of all mutants of `evalkit/ROOM`, each in a fork of one process that has imported
every library, with the tests that run the changed line, quick ones first. The share is that of all
mutants of the room, with Wilson's 95% interval. Needs the package coverage:

    python benchmarks/mutants.py statistics --count 100 --seed 1
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.machinery
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from mutations import Mutant, code_of, mutants_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = "tests/test_metrics_page.py::test_the_page_agrees"
TESTS = {
    "metrics": ["tests/metrics", "tests/test_oracles.py", f"{PAGE}_with_the_fields_of_each_metric"],
    "statistics": ["tests/statistics"],
    "gate": ["tests/gate", "--ignore=tests/gate/test_selftest.py"],
}
PYTEST = ["-q", "-x", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist"]
PYTEST += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what the parent has imported
PYTEST += ["--override-ini=addopts=--import-mode=importlib"]
SLOWEST = 5.0  # seconds of the processor; slower tests are left out, so the share is rather too low
SECONDS, MEMORY = 120, 12 * 2**30  # of the processor, and bytes, for the tests of a mutant


class Contexts:
    """A pytest plugin: coverage by test, and what each test takes."""

    def __init__(self, coverage: Any) -> None:
        self.coverage, self.seconds = coverage, {}

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        # What a fixture of a file does belongs to all tests of the file.
        self.coverage.switch_context(item.nodeid.split("::")[0])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item):
        self.coverage.switch_context(item.nodeid)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        start = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - start
        return result


class Loader(importlib.machinery.SourceFileLoader):
    """Puts the mutated module in the place of the module, before anything imports it."""

    def __init__(self, mutant: Mutant, changed: bool) -> None:
        path = ROOT / mutant.path
        super().__init__(".".join(Path(mutant.path).with_suffix("").parts), str(path))
        self.code: CodeType = code_of(mutant if changed else None, path)

    def get_code(self, fullname: str) -> CodeType:
        return self.code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.name:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=self.path, is_package=False)


def in_fork(work: Callable[[], int]) -> int:
    """The exit code of `work()` in a fork without output; below 0 where a signal ends it."""
    child = os.fork()
    if not child:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1), os.dup2(quiet, 2)
        code = 1
        try:
            code = int(work())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def record(room: str, out: Path) -> int:
    """Run the tests of the room once; write which tests run which line."""
    from coverage import Coverage

    coverage = Coverage(data_file=None, include=[f"{ROOT}/evalkit/{room}/*"], config_file=False)
    plugin = Contexts(coverage)
    coverage.start()
    failed = pytest.main([*PYTEST, *TESTS[room]], plugins=[plugin])
    coverage.stop()
    data = coverage.get_data()
    lines = {
        str(Path(file).relative_to(ROOT)): data.contexts_by_lineno(file)
        for file in data.measured_files()
    }
    # Not those of the repository: each fork imports these anew.
    libraries = [name for name, module in sys.modules.items() if not _is_own(module)]
    found = {"lines": lines, "seconds": plugin.seconds, "libraries": libraries}
    out.write_text(json.dumps(found), encoding="utf-8")
    return failed


def _is_own(module: Any) -> bool:
    file = Path(getattr(module, "__file__", None) or "/")
    return file.is_relative_to(ROOT) and "site-packages" not in file.parts


def tests_of(mutant: Mutant, known: dict[str, Any]) -> list[str]:
    """The tests that run the changed statement, quick ones first; see `Mutant.lines`."""
    lines = known["lines"].get(mutant.path, {})
    chosen = {test for line in mutant.lines for test in lines.get(str(line), ())} - {""}
    if mutant.at_import:  # all tests of the module, and those that run no line, only read values
        ran = {test for of in known["lines"].values() for tests in of.values() for test in tests}
        chosen = {test for tests in lines.values() for test in tests} - {""}
        chosen |= known["seconds"].keys() - ran
    # A file stands for its tests: what a fixture runs, all of them may notice.
    every = {test: seconds for test, seconds in known["seconds"].items() if seconds <= SLOWEST}
    quick = [test for test in every if test in chosen or test.partition("::")[0] in chosen]
    return sorted(quick, key=every.__getitem__)


def survives(mutant: Mutant, tests: list[str], changed: bool = True) -> bool:
    """Whether all tests pass; one that does not end is killed by its time on the processor."""

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        sys.meta_path.insert(0, Loader(mutant, changed))  # pyright: ignore
        return pytest.main([*PYTEST, *tests])

    return not tests or in_fork(work) == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("room", choices=TESTS)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the sample")
    parser.add_argument("--unchanged", action="store_true", help="a control: nothing is killed")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork does not inherit threads
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(ROOT / "build" / "hypothesis"))
    os.chdir(ROOT)
    files = sorted(Path("evalkit", asked.room).glob("*.py"))
    every = [mutant for file in files for mutant in mutants_of(file)]
    sample = random.Random(asked.seed).sample(every, min(asked.count, len(every)))
    known = _known(asked.room, files)
    for name in known["libraries"]:
        with suppress(Exception):
            importlib.import_module(name)
    if not survives(sample[0], tests_of(sample[0], known), changed=False):
        raise SystemExit(f"The tests of {asked.room} fail in a fork on the code as it is.")
    alive = 0
    chosen = range(len(sample)) if asked.only is None else asked.only
    for place in chosen:
        mutant = sample[place]
        if survives(mutant, tests_of(mutant, known), not asked.unchanged):
            alive += 1
            print(f"{place}: {mutant}", flush=True)
    killed = len(chosen) - alive
    from evalkit.statistics.intervals import wilson

    interval = wilson(killed, len(chosen), 0.95)
    print(
        f"{asked.room}: {len(chosen)} of {len(every)} mutants, seed {asked.seed}: {killed} killed,"
        f" {killed / len(chosen):.1%} ({interval.low:.1%} to {interval.high:.1%})"
    )


def _known(room: str, files: list[Path]) -> dict[str, Any]:
    """What `record` found, kept until the code or the tests change."""
    folders = [entry for entry in TESTS[room] if not entry.startswith("-")]
    entries = [Path(entry.partition("::")[0]) for entry in folders]
    tests = [file for entry in entries for file in (entry, *entry.rglob("*.py"))]
    text = b"".join(file.read_bytes() for file in sorted({*files, *tests}) if file.is_file())
    out = ROOT / "build" / f"mutants-{room}-{hashlib.sha256(text).hexdigest()[:16]}.json"
    out.parent.mkdir(exist_ok=True)
    if not out.exists() and in_fork(lambda: record(room, out)) != 0:
        out.unlink(missing_ok=True)
        raise SystemExit(f"The tests of {room} fail on the code as it is.")
    return json.loads(out.read_text())


if __name__ == "__main__":
    main()
