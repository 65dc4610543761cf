"""Damaged and hostile files: never a silent score, a traceback, code that runs, or 2 GB.

A part of the cases runs with all tests, the whole with `nox -s fuzz`. A case has a name that
builds it again: `python tests/helpers/fuzz_cases.py png-flip-3` shows what becomes of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_statistics
import pytest
import tomli_w
from fuzz_cases import BLOCKS, cases, outcome
from fuzz_formats import members
from fuzz_hostile import BOMBS, Bomb, payloads, places, write_places
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from packing import pack_zip
from rating_files import MODELS, PROMPTS, rated_run, table
from report_runs import make_comparisons, make_run
from strategies_for_tests import NASTY
from typer.testing import CliRunner

from evalkit.cli.app import app
from evalkit.config import load_config
from evalkit.core import EvalkitError
from evalkit.prompts import read_prompts

HELPERS = Path(__file__).parents[1] / "helpers"
LIMIT = 2000  # MB that a process may use
SEEDS = 24  # damaged files of each format, in the whole campaign
campaign = pytest.mark.campaign
few_and_many = pytest.mark.parametrize("examples", [10, pytest.param(500, marks=campaign)])


def explore(examples: int, check: Callable[..., None], **given_by: Any) -> None:
    """Run a property; the few examples are the same each time, the many are others."""
    few = examples < 100
    settings(
        max_examples=examples,
        deadline=None,
        derandomize=few,
        phases=[Phase.explicit, Phase.generate] + [Phase.shrink] * (not few),
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )(given(**given_by)(check))()


# --- damaged files ---
SLOW = ("statistics-pkl", "statistics-pt", "reference", "run-ratings", "run-study")
QUICK = [
    case
    for at, name in enumerate(
        name for names in ("images", "sources", "statistics", "texts") for name in BLOCKS[names]
    )
    if not name.startswith(SLOW)
    for case in cases(name, at % 12, at % 12 + 1)
]


@pytest.mark.parametrize("case", QUICK)
@pytest.mark.filterwarnings("default")
def test_a_damaged_file_is_refused_by_name_or_changes_nothing(case: str) -> None:
    found = outcome(case)
    assert found.kind != "wrong", found


@campaign
@pytest.mark.parametrize("block", BLOCKS)
def test_damaged_files(block: str) -> None:
    """In a process of its own, which must neither crash nor need much memory."""
    names = ",".join(BLOCKS[block])
    script = [sys.executable, str(HELPERS / "fuzz_cases.py"), names, "0", str(SEEDS)]
    environment = {**os.environ, "PYTHONPATH": str(HELPERS), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(script, capture_output=True, text=True, env=environment)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    print(f"{block}:", *lines[-1:])
    assert done.returncode == 0, (lines[-1:], done.stderr[-2000:])
    wrong = [line for line in lines if line.get("kind") == "wrong"]
    assert not wrong, "\n".join(map(str, wrong))
    assert lines[-1]["megabytes"] < LIMIT


# --- code in files, and files that unpack to more than the memory ---
@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "whole"
    folder.mkdir()
    with contextlib.chdir(folder):
        write_places(folder)
    return folder


@pytest.mark.parametrize("share", [43, pytest.param(1, marks=campaign)])
def test_no_code_in_a_file_runs(share: int, hostile: Path, tmp_path: Path) -> None:
    marker, folder = tmp_path / "ran", tmp_path / "case"
    pairs = [(what, place) for what in payloads(marker) for place in places()]
    for what, (file, command) in pairs[::share]:
        shutil.copytree(hostile, folder)
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(payloads(marker)[what])
        with contextlib.chdir(folder):
            done = CliRunner(env={"EVALKIT_CACHE": str(folder / "cache")}).invoke(app, command)
        shutil.rmtree(folder)
        assert not marker.exists(), (what, command)
        assert isinstance(done.exception, SystemExit | None), (what, command, done.exception)
        assert done.exit_code in (0, 2), (what, command, done.stderr)


def evalkit(folder: Path, *command: str) -> tuple[int, str, int]:
    """The exit code, what was printed, and the most memory in MB of a process."""

    def limits() -> None:  # the machine of the tests should survive
        resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))

    with (folder / "said").open("w+") as said:
        line = [sys.executable, "-m", "evalkit", *command]
        process = subprocess.Popen(line, cwd=folder, stdout=said, stderr=said, preexec_fn=limits)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, (folder / "said").read_text(), used.ru_maxrss >> 10


@campaign
@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.name)
def test_a_bomb_is_refused_within_the_memory(bomb: Bomb, tmp_path: Path) -> None:
    _prepared(bomb, tmp_path)
    code, said, megabytes = evalkit(tmp_path, *bomb.command)
    shutil.rmtree(tmp_path)
    print(f"{bomb.name}: {megabytes} MB")
    assert "Traceback" not in said, said[-2000:]
    if code or not bomb.readable:
        assert (code, said.count("error: ")) == (2, 1), said[-2000:]
        assert Path(bomb.name).name in said
    assert megabytes < LIMIT


@pytest.mark.parametrize("bomb", [bomb for bomb in BOMBS if bomb.quick], ids=lambda bomb: bomb.name)
def test_what_claims_to_be_huge_is_refused(bomb: Bomb, tmp_path: Path) -> None:
    _prepared(bomb, tmp_path)
    with contextlib.chdir(tmp_path):
        done = CliRunner().invoke(app, list(bomb.command))
    assert (done.exit_code, done.stderr.count("error: ")) == (2, 1), done.stderr
    assert Path(bomb.name).name in done.stderr


def _prepared(bomb: Bomb, folder: Path) -> None:
    pack_zip(folder / "set.zip", members())
    (folder / bomb.name).parent.mkdir(exist_ok=True)
    bomb.write(folder / bomb.name)


def test_a_link_in_a_zip_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(members()["0.png"])
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        link = zipfile.ZipInfo("a.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(tmp_path / "secret.png"))
    done = CliRunner().invoke(app, ["score", str(tmp_path / "set.zip"), "--encoders", "pixels"])
    assert done.exit_code == 2
    assert "set.zip/a.png is " in done.stderr


# --- any content of the right kind ---
LINES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Z"]), min_size=1, max_size=30)


@few_and_many
def test_prompts_are_read_as_they_were_written(examples: int, tmp_path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    def check(texts: list[str], groups: list[str]) -> None:
        rows = [{"prompt": text, "group": groups[at % 2]} for at, text in enumerate(texts)]
        (tmp_path / "p.json").write_text(json.dumps(rows))
        (tmp_path / "ids.json").write_text(
            json.dumps({f"id {at}": row for at, row in enumerate(rows)})
        )
        (tmp_path / "columns.json").write_text(json.dumps({"prompt": texts}))
        (tmp_path / "p.csv").write_text(table(rows), newline="")
        parquet.write_table(arrow.table({"prompt": texts}), tmp_path / "p.parquet")
        for name in ("p.json", "ids.json", "columns.json", "p.csv", "p.parquet"):
            found = read_prompts(tmp_path / name)
            assert [prompt.text for prompt in found] == texts, name
        assert [prompt.group for prompt in read_prompts(tmp_path / "p.csv")] == [
            row["group"] for row in rows
        ]

    explore(
        examples,
        check,
        texts=st.lists(LINES, min_size=1, max_size=6),
        groups=st.lists(LINES, min_size=2, max_size=2),
    )


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | NASTY
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3),
    max_leaves=6,
)
TOML = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | LINES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LINES, inner, max_size=3),
    max_leaves=5,
)
KEYS = ("models", "prompts", "out", "per_prompt", "seed", "reference", "metrics", "encoders",
        "device", "batch_size", "max_cost", "text_column", "group_column", "model")  # fmt: skip


@few_and_many
def test_any_table_is_a_configuration_or_a_sentence(examples: int, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    whole = {"models": ["noise"], "prompts": ["a cat"], "per_prompt": 1}

    def check(changed: dict[str, Any]) -> None:
        path.write_text(tomli_w.dumps(whole | changed), encoding="utf-8")
        try:
            made = load_config(path, {})
        except EvalkitError:
            return
        assert load_config(path, {}) == made
        assert made.models
        assert made.prompts

    explore(examples, check, changed=st.dictionaries(st.sampled_from(KEYS), TOML, max_size=3))


CELLS = st.one_of(
    st.sampled_from([*MODELS, *PROMPTS[:3], "00000", "00001", "r1", "r2", "left", "tie", "yes"]),
    st.sampled_from(["1", "5", "0", "3,5", "nan", "1e5", "-1", "", " ", "=1+1", "2026-01-02"]),
    NASTY,
)
COLUMNS = ("rater", "prompt", "prompt_id", "model", "question", "response", "model_a", "model_b",
           "winner", "left", "right", "image", "study", "kind", "started_at", "ms", "revision",
           "WorkerId", "Input.prompt", "Answer.preference", "annotator", "item", "check",
           "judge", "_unit_id", "_worker_id", "Participant id", "Status", "")  # fmt: skip


@few_and_many
def test_any_table_is_ratings_or_a_sentence(
    examples: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("rated")
    whole, path = rated_run(place / "whole"), place / "votes.txt"

    def check(names: list[str], rows: list[list[str]], skip: bool, as_json: bool) -> None:
        kept = [dict(zip(names, row, strict=False)) for row in rows]
        path.write_text(json.dumps(kept) if as_json else table(kept), "utf-8", "surrogatepass")
        shutil.rmtree(place / "run", ignore_errors=True)
        shutil.copytree(whole.path, place / "run")
        command = ["rate", "import", str(path), "--run", str(place / "run")]
        done = CliRunner().invoke(app, command + ["--on-bad", "skip"] * skip)
        assert isinstance(done.exception, SystemExit | None), done.exception
        assert done.exit_code in (0, 2), done.output
        assert done.stderr.count("\nerror: ") + done.stderr.startswith("error: ") == (
            done.exit_code == 2
        )

    wide = st.lists(CELLS, min_size=8, max_size=8)
    explore(
        examples,
        check,
        names=st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=8, unique=True),
        rows=st.lists(wide, min_size=1, max_size=4),
        skip=st.booleans(),
        as_json=st.booleans(),
    )


FILES = ("metrics.json", "comparisons.json", "protocol.json")


@few_and_many
def test_any_field_of_a_run_is_shown_or_a_sentence(
    examples: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`tables` reads the files that the report reads, and is quick."""
    run = make_run(tmp_path_factory.mktemp("fields") / "run", 8, hostile=False)
    make_comparisons(run, ("dalle", "gan"))
    whole = {name: (run.path / name).read_text() for name in FILES}

    def check(name: str, at: list[int], value: Any) -> None:
        content = node = json.loads(whole[name])
        for step, number in enumerate(at):  # down to any field, which gets any value
            keys = list(node) if isinstance(node, dict) else range(len(node))
            key = keys[number % len(keys)]
            if step == len(at) - 1 or not isinstance(node[key], dict | list) or not node[key]:
                node[key] = value
                break
            node = node[key]
        (run.path / name).write_text(json.dumps(content))
        done = CliRunner().invoke(app, ["tables", str(run.path), "--out", str(run.path / "t")])
        (run.path / name).write_text(whole[name])
        assert isinstance(done.exception, SystemExit | None), done.exception
        assert done.exit_code in (0, 2), done.output
        assert done.exit_code == 0 or name in done.stderr, done.stderr

    explore(
        examples,
        check,
        name=st.sampled_from(FILES),
        at=st.lists(st.integers(0, 40), min_size=1, max_size=4),
        value=JSON,
    )


@few_and_many
@pytest.mark.parametrize("function", fuzz_statistics.CHECKS)
def test_statistics_of_any_numbers(function: str, examples: int) -> None:
    of, columns = fuzz_statistics.CHECKS[function]
    explore(examples, lambda columns: fuzz_statistics.check(of, columns), columns=columns)
