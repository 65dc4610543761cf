"""Development sessions such as `nox -s tests`; the dependencies are groups in pyproject.toml."""

import re
import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "docs", "tests"]


@nox.session
def tests(session: nox.Session) -> None:
    """The whole test suite with the exact versions of constraints.txt."""
    session.install("-c", "constraints.txt", "--group", "test", "-e", ".")
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Rating page, report and documentation in a real browser. Needs a Chromium on the PATH."""
    session.install("-c", "constraints.txt", "--group", "browser", "--group", "docs", "-e", ".")
    session.run("pytest", "tests/browser", *session.posargs)


@nox.session
def kill(session: nox.Session) -> None:
    """Kills, signals, full disks, damaged runs: docs/reliability.md. Half an hour."""
    session.install("-c", "constraints.txt", "--group", "test", "-e", ".")
    files = ("tests/campaign/test_kill.py", "tests/campaign/test_damaged_runs.py")
    session.run("pytest", *files, "-m", "campaign", "-s", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Damaged and hostile inputs of all kinds: each is one sentence."""
    session.install("-c", "constraints.txt", "--group", "test", "-e", ".")
    session.run("pytest", "tests/campaign/test_fuzz.py", "-m", "campaign", "-s", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """How many small changes of metrics, statistics and the gate the tests notice."""
    session.install("-c", "constraints.txt", "--group", "test", "coverage", "-e", ".")
    for room in ("metrics", "statistics", "gate"):
        session.run("python", "benchmarks/mutants.py", room, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, lint rules, types, and the direction of imports."""
    session.install("-c", "constraints.txt", "--group", "lint", "-e", ".")
    types = ("pyright", "pyright --pythonplatform Windows")  # functions of POSIX are missing there
    for command in ("ruff format --check", "ruff check", *types, "lint-imports"):
        session.run(*command.split())


@nox.session
def docs(session: nox.Session) -> None:
    """The site in site/; the pages of commands match --help; links, search and examples work."""
    session.install("-c", "constraints.txt", "--group", "docs", "-e", ".")
    session.run("python", "docs/make_cli.py", "--check")
    session.run("python", "docs/make_errors.py", "--check")
    session.run("mkdocs", "build", "--strict")
    session.run("pytest", "tests/test_site.py", "tests/test_docs.py", "tests/test_guides.py")


@nox.session
def licences(session: nox.Session) -> None:
    """docs/licences.md states what the packages of constraints.txt state."""
    session.install("-c", "constraints.txt", "--group", "test", "-e", ".")
    session.run("python", "docs/make_licences.py", "--check")


@nox.session
def gallery(session: nox.Session) -> None:
    """The reports of docs/gallery.md, in reports/gallery/. Two minutes of CPU time."""
    session.install("-c", "constraints.txt", "scikit-image", "-e", ".")
    session.run("python", "docs/make_gallery.py", "reports/gallery")


@nox.session(python="3.11")
def minimums(session: nox.Session) -> None:
    """The lowest versions that pyproject.toml allows, on the lowest Python."""
    session.install("uv")
    session.run("uv", "pip", "install", "--resolution=lowest-direct", "--group", "test", "-e", ".")
    # Old versions warn about newer companions, so warnings are not errors here.
    session.run("pytest", "-n", "2", "-W", "default", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """The sdist and the wheel that is built from it, in dist/; both are ready for an index."""
    session.install("-c", "constraints.txt", "--group", "release")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")
    session.run("twine", "check", "--strict", *map(str, Path("dist").iterdir()))


@nox.session(python=["3.11", "3.12", "3.13"], requires=["build"])
def package(session: nox.Session) -> None:
    """The wheel alone, as a stranger installs it, and the first command of the README."""
    [wheel] = Path("dist").glob("*.whl")
    readme = Path("README.md").read_text(encoding="utf-8")
    [command] = re.findall(r"\.venv/bin/(evalkit run .*) --open$", readme, re.MULTILINE)
    session.install(str(wheel), *session.posargs)
    session.chdir(session.create_tmp())  # where evalkit/ is no folder
    for line in ("evalkit --version", "evalkit doctor", command):
        session.run(*line.split())
