"""The jobs in examples/ for GitHub and GitLab: their commands, run in a clone with a remote."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

import evalkit
from evalkit.prompts import read_prompts

EXAMPLES = Path(__file__).parent.parent / "examples"
GITHUB = EXAMPLES / "github" / "evalkit-gate.yml"
GITLAB = EXAMPLES / "gitlab" / ".gitlab-ci.yml"


def github_job() -> dict[str, Any]:
    [job] = yaml.safe_load(GITHUB.read_text("utf-8"))["jobs"].values()
    return job


def gitlab_job() -> dict[str, Any]:
    return yaml.safe_load(GITLAB.read_text("utf-8"))["evalkit-gate"]


def github_commands() -> list[str]:
    return [step["run"] for step in github_job()["steps"] if "run" in step]


def gitlab_commands() -> list[str]:
    return [*gitlab_job()["before_script"], *gitlab_job()["script"]]


JOBS = {
    "github": (github_commands, github_job()["env"] | {"GITHUB_BASE_REF": "main"}),
    "gitlab": (
        gitlab_commands,
        gitlab_job()["variables"] | {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"},
    ),
}


def git(*arguments: str, at: Path) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
    subprocess.run(command, cwd=at, check=True, capture_output=True)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare repository whose branch main has what the files of the examples ask for."""
    root = tmp_path_factory.mktemp("ci")
    work, bare = root / "work", root / "origin.git"
    evalkit.init(work, prompts="suite")
    texts = [prompt.text for prompt in read_prompts("suite:object")[:20]]
    (work / "prompts.txt").write_text("\n".join(texts))
    config, gate = work / "evalkit.toml", work / "gate.toml"
    config.write_text(
        config.read_text().replace('"suite"', '"prompts.txt"') + 'metrics = ["clip_score"]\n'
    )
    gate.write_text(gate.read_text() + 'allow_mismatch = ["generation"]\n')
    evalkit.run(config=config, out=root / "main")
    evalkit.baseline_save(root / "main", out=work / "baseline.json", reason="the first one")
    git("init", "-q", "-b", "main", at=work)
    git("add", ".", at=work)
    git("commit", "-qm", "main", at=work)
    git("clone", "-q", "--bare", str(work), str(bare), at=root)
    return bare


@pytest.fixture
def run_job(origin: Path, tmp_path: Path) -> Callable[[str, Callable[[Path], None]], Any]:
    """Run the commands of a job in a clone with a change, until one of them fails."""

    def run(name: str, edit: Callable[[Path], None]) -> tuple[Path, subprocess.CompletedProcess]:
        clone = tmp_path / "clone"
        git("clone", "-q", str(origin), str(clone), at=tmp_path)
        git("checkout", "-q", "-b", "change", at=clone)
        edit(clone)
        # The baseline of the branch itself must not count.
        (clone / "baseline.json").write_text("{}")
        programs = tmp_path / "bin"
        programs.mkdir()
        (programs / "evalkit").write_text(f'#!/bin/sh\nexec {sys.executable} -m evalkit "$@"\n')
        (programs / "evalkit").chmod(0o755)
        commands, variables = JOBS[name]
        lines = [line for line in commands() if not line.startswith("python -m pip install")]
        assert len(lines) == len(commands()) - 1
        source = str(Path(evalkit.__file__).parent.parent)
        env = os.environ | variables | {"PYTHONPATH": source}
        env["PATH"] = f"{programs}{os.pathsep}{env['PATH']}"
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", "\n".join(lines)],
            cwd=clone, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return clone, done

    return run


def worse(clone: Path) -> None:
    path = clone / "evalkit.toml"
    path.write_text(path.read_text().replace("mine=gan", "mine=noise"))


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_the_job_fails_on_a_regression_and_leaves_its_page(name: str, run_job: Any) -> None:
    clone, done = run_job(name, worse)
    assert done.returncode == 1, done.stderr
    assert "REGRESSED" in done.stdout
    suite = ElementTree.parse(clone / "gate.xml").getroot()
    assert suite.get("failures") == "1"
    page = (clone / "reports/candidate/report/index.html").read_text("utf-8")
    assert 'id="gate"' in page
    assert "git:origin/main:baseline.json by more than allowed: clip_score" in page


@pytest.mark.slow
def test_the_job_passes_without_a_change(run_job: Any) -> None:
    clone, done = run_job("github", lambda clone: None)
    assert done.returncode == 0, done.stderr
    assert (clone / "gate.xml").is_file()


def test_what_the_jobs_keep_is_what_their_commands_write() -> None:
    [upload] = [step["with"] for step in github_job()["steps"] if "upload" in step.get("uses", "")]
    kept = upload["path"].split()
    artifacts = gitlab_job()["artifacts"]
    assert kept == ["gate.xml", "reports/candidate", "!reports/candidate/features"]
    assert [artifacts["reports"]["junit"], *artifacts["paths"]] == kept[:2]
    for commands in (github_commands(), gitlab_commands()):
        assert "--out reports/candidate" in commands[-2]
        assert "--junit gate.xml" in commands[-1]


def test_the_workflow_has_the_least_permissions_and_pinned_actions() -> None:
    text = GITHUB.read_text("utf-8")
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    actions = re.findall(r"uses: (\S+)", text)
    assert len(actions) == 4
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in actions)
    for command in github_commands():  # an expression in a command would be code of a stranger
        assert "${{" not in command


@pytest.mark.parametrize("path", [GITHUB, GITLAB])
def test_no_secrets_and_the_commands_of_the_comments(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"secrets\.|token|password", text, re.IGNORECASE)
    assert text.count("CHANGE:") == 3
    for command in ("evalkit init", "evalkit run --config", "evalkit baseline save"):
        assert command in text


@pytest.mark.parametrize("commands", [github_commands, gitlab_commands])
def test_the_installation_fails_until_it_is_filled_in(commands: Callable[[], list[str]]) -> None:
    """The package is not on the public index, where `evalkit` is another project."""
    [install] = [line for line in commands() if "pip install" in line]
    [requirement] = shlex.split(install)[4:]
    assert re.fullmatch(r"evalkit-t2i @ git\+https://\S+/OWNER/evalkit@COMMIT", requirement)
