"""Development sessions such as `nox -s tests`; the dependencies are groups in pyproject.toml."""

import nox

nox.options.sessions = ["lint", "docs", "tests"]


@nox.session
def tests(session: nox.Session) -> None:
    """The whole test suite with the exact versions of constraints.txt."""
    session.install("-c", "constraints.txt", "--group", "test", "-e", ".")
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """The rating page and the report in a real browser. Needs a Chromium on the PATH."""
    session.install("-c", "constraints.txt", "--group", "browser", "-e", ".")
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
    for command in ("ruff format --check", "ruff check", "pyright", "lint-imports"):
        session.run(*command.split())


@nox.session
def docs(session: nox.Session) -> None:
    """docs/cli.md matches --help, and the examples of the pages run."""
    session.install("-c", "constraints.txt", "--group", "test", "-e", ".")
    session.run("python", "docs/make_cli.py", "--check")
    session.run("pytest", "tests/test_docs.py")


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
