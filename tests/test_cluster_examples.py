"""The files in examples/cluster: their commands, run with the variables that clusters set."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from evalkit.cli.app import app
from evalkit.run_folder import Run

FOLDER = Path(__file__).parent.parent / "examples" / "cluster"
PROMPTS = [f"a red cube number {at}" for at in range(5)]
TASKS = 2  # of a job step
# A program that writes down each call: the variables it is given, then its arguments.
EVALKIT = """#!/bin/bash
{ env -0; printf '\\0'; printf '%s\\0' "$@"; } > "$CALLS/$(ls "$CALLS" | wc -l)"
"""
SRUN = f"""#!/bin/bash
for at in $(seq 0 {TASKS - 1}); do
  SLURM_PROCID=$at SLURM_LOCALID=$at SLURM_STEP_NUM_TASKS={TASKS} "$@"
done
"""
RAY = """#!/bin/bash
[ "$1 $2 $3" = "job submit --" ] && shift 3 && "$@"
"""


class Calls:
    """What the examples call, run in this process on a run in the current folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        (folder / "prompts.txt").write_text("\n".join(PROMPTS))
        (folder / "calls").mkdir()
        (folder / "bin").mkdir()
        for name, text in {"evalkit": EVALKIT, "srun": SRUN, "ray": RAY}.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)

    def of_script(self, name: str, *arguments: str, **variables: str) -> None:
        for command, given in self.recorded(name, *arguments, **variables):
            self.run(command, given)

    def recorded(
        self, name: str, *arguments: str, **variables: str
    ) -> list[tuple[list[str], Mapping[str, str]]]:
        """Run a script with programs that only write their calls down."""
        own = {
            "CALLS": str(self.folder / "calls"),
            "RUN": str(self.folder / "run"),
            "PROMPTS": str(self.folder / "prompts.txt"),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
        }
        [program] = re.findall(r"^#!/bin/(sh|bash)\n", (FOLDER / name).read_text("utf-8"))
        line = [program, str(FOLDER / name), *arguments]
        subprocess.run(line, env={**os.environ, **own, **variables}, check=True)
        found = []
        for path in sorted((self.folder / "calls").iterdir(), key=lambda one: int(one.name)):
            given, _, command = path.read_text().partition("\0\0")
            pairs = [text.partition("=")[::2] for text in given.split("\0")]
            found.append((command.rstrip("\0").split("\0"), dict(pairs)))
            path.unlink()
        return found

    def run(self, command: list[str], variables: Mapping[str, str]) -> None:
        with self.monkeypatch.context() as patch:
            for name, value in variables.items():
                if name.startswith(("SLURM_", "JOB_COMPLETION_INDEX", "EVALKIT_SHARDS")):
                    patch.setenv(name, value)
            result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0, (command, result.stderr)

    def check(self, shards: int) -> None:
        """The images of all shards are there, with values and a report."""
        run = Run(self.folder / "run")
        folder = run.image_folder("dalle")
        made = {path.name for path in folder.glob("manifest.*.jsonl")}
        assert made == {f"manifest.{at}.jsonl" for at in range(shards)}
        assert [record.status for record in run.records("dalle")] == ["ok"] * len(PROMPTS)
        parts = {path.name for path in run.path.glob("features/dalle/shards/*")}
        assert parts == {f"{at}-of-{shards}" for at in range(shards)}
        assert {"fid", "clip_score"} <= {row.metric for row in run.metrics()}
        assert (run.report_path / "index.html").is_file()


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(tmp_path, monkeypatch)


def test_two_machines(calls: Calls) -> None:
    for word in ("0", "1", "finish"):
        calls.of_script("two-machines.sh", word)
    calls.check(2)


def test_an_array_of_slurm(calls: Calls) -> None:
    text = (FOLDER / "slurm-array.sh").read_text("utf-8")
    [last] = re.findall(r"^#SBATCH --array=0-(\d+)%\d+$", text, re.MULTILINE)
    assert "--array=0 slurm-array.sh finish" in text
    assert f"{int(last) + 1} shards" in text

    def job(at: int, count: int) -> dict[str, str]:
        values = {"ID": at, "MIN": 0, "MAX": count - 1, "STEP": 1, "COUNT": count}
        batch = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
        return batch | {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}

    for word, jobs in (("generate", 2), ("encode", 2), ("finish", 1)):
        for at in range(jobs):
            calls.of_script("slurm-array.sh", word, **job(at, jobs))
    calls.check(2)


def test_a_job_step_of_slurm(calls: Calls) -> None:
    calls.of_script("slurm-step.sh", SLURM_PROCID="0", SLURM_LOCALID="0")
    calls.check(TASKS)


def test_indexed_jobs_of_kubernetes(calls: Calls) -> None:
    jobs = list(yaml.safe_load_all((FOLDER / "kubernetes-job.yaml").read_text("utf-8")))
    steps = [job["metadata"]["labels"]["step"] for job in jobs]
    assert steps == ["generate", "encode", "finish"]
    for job in jobs:
        count = job["spec"].get("completions", 1)
        for at in range(count):
            index = {"JOB_COMPLETION_INDEX": str(at)} if "completions" in job["spec"] else {}
            for command, given in in_pod(job, index):
                texts = " ".join(command).replace("/shared/reports/large", "run")
                texts = texts.replace("/shared", ".").replace("./", f"{calls.folder}/")
                [_, *arguments] = shlex.split(re.sub(r"\brun\b", f"{calls.folder}/run", texts))
                calls.run(arguments, given)
    calls.check(4)


def in_pod(job: Any, index: Mapping[str, str]) -> list[tuple[list[str], Mapping[str, str]]]:
    """The commands of a pod and their variables, which Kubernetes puts into `$(NAME)`."""
    [container] = job["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one["value"] for one in container.get("env", ())} | dict(index)
    words = [*container["command"], *container.get("args", ())]
    if words[:2] == ["sh", "-c"]:
        return [(shlex.split(line), given) for line in words[2].split("&&")]
    return [
        ([re.sub(r"\$\((\w+)\)", lambda found: given[found[1]], word) for word in words], given)
    ]


def test_a_job_of_ray(calls: Calls) -> None:
    [(command, _)] = calls.recorded("ray-job.sh")
    run, *arguments = command
    get_command(app).commands[run].make_context(run, arguments)  # type: ignore[attr-defined]
    assert command[-4:] == ["--engine", "ray", "--shards", "64"]
