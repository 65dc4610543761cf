"""What a release states in several places is one thing."""

from __future__ import annotations

import ast
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import evalkit
from evalkit.core import DISTRIBUTION

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
WORKFLOWS = {
    path.name: yaml.safe_load(path.read_text("utf-8"))
    for path in (ROOT / ".github" / "workflows").glob("*.yml")
}
NOX = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))


def sessions() -> dict[str, list[str]]:
    """The sessions of nox, with their versions of Python."""
    found: dict[str, list[str]] = {}
    for node in NOX.body:
        if isinstance(node, ast.FunctionDef):
            arguments = [
                item
                for call in node.decorator_list
                if isinstance(call, ast.Call)
                for item in call.keywords
            ]
            versions = [ast.literal_eval(one.value) for one in arguments if one.arg == "python"]
            found[node.name] = versions[0] if versions else []
    return found


def form(name: str) -> dict[str, Any]:
    path = ROOT / ".github" / "ISSUE_TEMPLATE" / name
    return yaml.safe_load(path.read_text("utf-8"))


def test_the_version_is_that_of_the_changelog_and_the_citation() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    [(version, date), *_] = re.findall(r"^## \[(\d\S*)\] - (\S+)$", changelog, re.MULTILINE)
    assert PROJECT["version"] == version == citation["version"]
    assert citation["date-released"] == date
    assert citation["license"] == PROJECT["license"]
    assert sorted(citation["keywords"]) == sorted(PROJECT["keywords"])
    assert PROJECT["name"] == DISTRIBUTION
    minor = version.rpartition(".")[0]
    assert f"evalkit is at version {minor}." in (ROOT / "SECURITY.md").read_text("utf-8")
    assert evalkit.__version__ == version


def test_the_summary_of_a_version_is_short() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    summary = re.split(r"^## .*\n", text, flags=re.MULTILINE)[1].partition("\n### ")[0]
    assert 10 < len(summary.splitlines()) <= 40


def test_the_stated_versions_of_python_are_those_that_are_tried() -> None:
    stated = [
        found[1] for line in PROJECT["classifiers"] if (found := re.search(r":: (3\.\d+)$", line))
    ]
    assert PROJECT["requires-python"] == f">={stated[0]}"
    assert sessions()["package"] == stated
    for job in ("tests", "package"):
        matrix = WORKFLOWS["ci.yml"]["jobs"][job]["strategy"]["matrix"]
        assert matrix["python"] == stated
        assert len(matrix["os"]) == 3


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_a_workflow_may_do_next_to_nothing_and_calls_sessions_that_exist(name: str) -> None:
    text = (ROOT / ".github" / "workflows" / name).read_text("utf-8")
    assert "secrets." not in text
    assert WORKFLOWS[name]["permissions"] == {}
    for job in WORKFLOWS[name]["jobs"].values():
        assert job["timeout-minutes"]
        assert job["permissions"] in ({"contents": "read"}, {"id-token": "write"})
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": False}
            if "nox -s" in step.get("run", ""):
                assert called(job, step["run"]) <= set(sessions())


def called(job: dict[str, Any], line: str) -> set[str]:
    """The sessions of nox that a step calls."""
    text = line.partition("nox -s ")[2].partition(" --")[0]
    if "matrix.sessions" in text:
        text = " ".join(job["strategy"]["matrix"]["sessions"])
    return {one.strip('"').partition("-")[0] for one in text.split()}


def test_every_session_runs_in_ci_but_campaigns() -> None:
    found = {
        session
        for job in WORKFLOWS["ci.yml"]["jobs"].values()
        for step in job["steps"]
        if "nox -s" in step.get("run", "")
        for session in called(job, step["run"])
    }
    campaigns = {"kill", "fuzz", "mutants"}  # up to hours
    assert found | {"build"} == set(sessions()) - campaigns  # `package` requires `build`


def test_a_release_is_published_after_an_approval_only() -> None:
    jobs = WORKFLOWS["release.yml"]["jobs"]
    assert [name for name, job in jobs.items() if "id-token" in job["permissions"]] == ["publish"]
    assert (jobs["publish"]["environment"], jobs["publish"]["needs"]) == ("release", "build")
    assert not any("run" in step for step in jobs["publish"]["steps"])


def test_the_forms_ask_for_what_an_answer_needs() -> None:
    asked = {
        name: {
            part["id"]: part.get("validations", {}).get("required", False)
            for part in form(name)["body"]
            if part["type"] != "markdown"
        }
        for name in ("bug.yml", "number.yml")
    }
    assert asked["bug.yml"]["doctor"]
    assert asked["number.yml"]["protocol"]
    assert asked["number.yml"]["doctor"]


def test_the_page_of_licences_names_every_package_and_every_bundled_file() -> None:
    page = (ROOT / "docs" / "licences.md").read_text("utf-8")
    extras = PROJECT["optional-dependencies"].values()
    for text in (*PROJECT["dependencies"], *(one for extra in extras for one in extra)):
        assert f"| `{Requirement(text).name}` |" in page
    patterns = re.findall(r"^\| `([^`]*/[^`]*)` \|", page, re.MULTILINE)
    data = (".gz", ".jsonl", ".npz", ".safetensors", ".tsv", ".webp")
    files = [
        path.relative_to(ROOT).as_posix()
        for room in ("evalkit", "reference_stats")
        for path in (ROOT / room).rglob("*")
        if path.suffix in data
    ]
    assert len(files) > 10
    for name in files:
        assert any(fnmatch(name, f"{one}*" if one.endswith("/") else one) for one in patterns), name
    assert "GPL" not in page.replace("None of the packages below is under the GPL", "")


def test_contributing_is_short() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()) <= 45
