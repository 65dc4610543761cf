"""What plug-ins print, change and raise stays theirs: other plug-ins, results and files do not
notice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting_encoder import CountingEncoder, image_files
from PIL import Image, ImageFile
from typer.testing import CliRunner

import evalkit
from evalkit import plugins
from evalkit.cli.app import app
from evalkit.core import EvalkitError, FailedMetricWarning, Generator, Metric, Prompt, Request
from evalkit.features.encode import image_features
from evalkit.generators.calls import images_of
from evalkit.plugin_calls import plugin_call


class Odd(BaseException):
    """No Exception: `except Exception` does not catch it."""


class Silent(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


class Exiting(Exception):
    def __str__(self) -> str:
        raise SystemExit(0)


RAISED = {
    "exit": (SystemExit(), "SystemExit"),
    "exit 0": (SystemExit(0), "SystemExit: 0"),
    "generator exit": (GeneratorExit(), "GeneratorExit"),
    "odd": (Odd("a\nb \x1b[1m \udcff"), "Odd: a b \ufffd[1m \ufffd"),
    "no text": (Silent(), "Silent"),
    "a text that exits": (Exiting(), "Exiting"),
    "own sentence": (EvalkitError("My own.", exit_code=0), "My own."),
}


def drawn(seed: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (seed % 256, 0, 0))


def calls(generator: Any, count: int = 2) -> list[Any]:
    return images_of(generator, ["a"] * count, list(range(count)), "mine")[0]


def raising(error: BaseException) -> Any:
    def function(*_: object) -> Any:
        raise error

    return function


@pytest.mark.parametrize("name", RAISED)
def test_whatever_a_plugin_raises_is_one_sentence_that_names_it(name: str, tmp_path: Path) -> None:
    error, text = RAISED[name]

    class Encoder(CountingEncoder):
        prepare = raising(error)

    for named, call in (
        ("The model 'mine'", lambda: calls(raising(error))),
        (
            "The encoder 'counting'",
            lambda: image_features(image_files(tmp_path, 3), Encoder(), tmp_path / "x.npz"),
        ),
    ):
        with pytest.raises(EvalkitError) as caught:
            call()
        assert caught.value.message.startswith(f"{named} failed: {text}")
        assert caught.value.exit_code == 2
        assert caught.value.__cause__ is error


def test_an_interruption_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt):
        calls(raising(KeyboardInterrupt()))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import sys; sys.exit(0)", "cannot be imported: SystemExit: 0"),
        ("def load(:", "cannot be imported: SyntaxError"),
        ("raise ImportError('no')", "cannot be imported: ImportError: no"),
        ("raise ModuleNotFoundError('no')", "cannot be imported: ModuleNotFoundError: no"),
        ("def __getattr__(name): raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
    ],
)
@pytest.mark.parametrize("kind", ["generator", "encoder", "metric"])
def test_a_module_that_fails_on_import_is_named(
    kind: Any, source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails_on_import.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fails_on_import", raising=False)
    with pytest.raises(EvalkitError, match=f"The {kind} 'fails_on_import:load' {message}"):
        plugins.find(kind, "fails_on_import:load")


def test_a_file_with_the_name_of_another_module_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "calendar.py").write_text("def load(prompts, seeds): ...")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EvalkitError, match=r"the installed module calendar, not calendar\.py"):
        plugins.find("generator", "calendar:load")


def _seed() -> None:
    torch.manual_seed(5)
    np.random.seed(5)


CHANGES = {
    "dtype": lambda: torch.set_default_dtype(torch.float16),
    "device": lambda: torch.set_default_device("meta"),
    "gradients": lambda: torch.set_grad_enabled(False),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "precision of products": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "seeds": _seed,
    "directory": lambda: os.chdir("/"),
    "environment": lambda: os.environ.update(PLUGIN_CALLS_TEST="1"),
    "environment emptied": lambda: os.environ.clear(),
    "path": lambda: sys.path.clear(),
    "warnings": lambda: warnings.simplefilter("ignore"),
    "truncated images": lambda: setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True),
    "largest image": lambda: setattr(Image, "MAX_IMAGE_PIXELS", 1),
    "numpy errors": lambda: np.seterr(all="raise"),
    "numbers of another kind": lambda: np.random.set_bit_generator(np.random.PCG64(5)),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "standard error": lambda: setattr(sys, "stderr", None),
}


def state() -> list[Any]:
    return [
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.backends.cuda.matmul.fp32_precision,
        torch.get_rng_state().tolist(),
        torch.is_autocast_enabled("cpu"),
        repr(np.random.get_state(legacy=False)),
        os.getcwd(),
        dict(os.environ),
        list(sys.path),
        list(warnings.filters),
        ImageFile.LOAD_TRUNCATED_IMAGES,
        Image.MAX_IMAGE_PIXELS,
        np.geterr(),
        sys.stderr,
    ]


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_a_plugin_changes_holds_in_its_own_calls_only(name: str) -> None:
    """Its module has the setting again in its next call; other code never has it."""
    changed = {"__name__": f"changes_{name.replace(' ', '_')}", "change": CHANGES[name]}
    exec("def first():\n    change()\ndef second(): ...", changed)
    before = state()
    with plugin_call(changed["first"], "The plug-in failed"):
        changed["first"]()
        inside = state()
    assert inside != before
    assert state() == before
    with plugin_call(changed["second"], "The plug-in failed"):
        assert state() == inside
    assert state() == before
    with plugin_call(test_an_interruption_stays_one, "The other plug-in failed"):
        assert state() == before


def test_a_folder_that_a_plugin_removes_under_itself_is_no_folder_of_others(
    tmp_path: Path,
) -> None:
    def removing(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        os.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        return [drawn(seed) for seed in seeds]

    before = os.getcwd()
    for _ in range(2):
        (tmp_path / "gone").mkdir()
        calls(removing)
        assert os.getcwd() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes can be forked")
@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_fork_that_comes_back_does_not_go_on_with_the_command() -> None:
    ended: list[int] = []

    def forking(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        if not (child := os.fork()):
            raise ValueError("in the child")
        ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return [drawn(seed) for seed in seeds]

    process = os.getpid()
    try:
        calls(forking)
    finally:
        if os.getpid() != process:
            os._exit(7)
    assert ended == [1]


def test_random_numbers_of_a_plugin_go_on_from_call_to_call() -> None:
    def unseeded(prompts: list[str], seeds: list[int]) -> list[Image.Image]:
        return [drawn(int(torch.randint(1 << 30, ()))) for _ in seeds]

    found = [image.tobytes() for _ in range(3) for image in calls(unseeded, 4)]
    assert len(set(found)) > 6


@pytest.mark.parametrize("kind", ["image", "array"])
def test_a_generator_may_use_its_buffer_again(kind: str) -> None:
    def lazy(prompts: list[str], seeds: list[int]) -> Any:
        buffer = np.zeros((8, 8, 3), np.uint8)
        image = Image.new("RGB", (8, 8))
        for seed in seeds:
            buffer[:] = 10 * seed
            image.paste((10 * seed,) * 3, (0, 0, 8, 8))
            yield buffer if kind == "array" else image

    assert [image.getpixel((0, 0))[0] for image in calls(lazy, 4)] == [0, 10, 20, 30]


def test_what_a_generator_does_with_its_arguments_changes_nothing() -> None:
    prompts, seeds = ["a", "b"], [1, 2]

    def clears(prompts: list[str], seeds: list[int]) -> list[Image.Image]:
        made = [drawn(seed) for seed in seeds]
        prompts.clear()
        seeds.clear()
        return made

    assert len(images_of(clears, prompts, seeds, "mine")[0]) == 2  # type: ignore[arg-type]
    assert (prompts, seeds) == (["a", "b"], [1, 2])


def test_what_a_factory_does_with_the_requests_changes_no_other_model() -> None:
    given = [Request(Prompt("0", "a cat"), 0, 0, 11)]

    def spoils(*, requests: list[Request]) -> Generator:
        object.__setattr__(requests[0].prompt, "text", "spoilt")
        requests.clear()
        return lambda prompts, seeds: [drawn(seed) for seed in seeds]

    plugins.load_generator(plugins.Model("mine", "mine", spoils, {}), "cpu", given)
    assert given == [Request(Prompt("0", "a cat"), 0, 0, 11)]


def _cut() -> Image.Image:
    import io

    file = io.BytesIO()
    Image.effect_noise((200, 200), 90).convert("RGB").save(file, "PNG")
    return Image.open(io.BytesIO(file.getvalue()[:20_000]))


class Endless:
    """States a length, and has another."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Image.Image]:
        return iter(lambda: drawn(1), 0)


def test_notes_and_reasons_are_cut() -> None:
    def talks(prompts: Sequence[str], seeds: Sequence[int]) -> list[Any]:
        image = drawn(1)
        image.info["note"] = "x" * 10**6
        return [image, evalkit.core.Refusal("bad_request", "x" * 10**6)]

    image, refusal = calls(talks)
    assert (len(image.info["note"]), len(refusal.detail)) == (1000, 1000)


@pytest.mark.parametrize("memory", [-1, 10**400], ids=["negative", "huge"])
def test_a_peak_memory_that_no_machine_has_is_named(memory: int) -> None:
    def plain(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        return [drawn(seed) for seed in seeds]

    plain.peak_memory = lambda: memory  # type: ignore[attr-defined]
    with pytest.raises(EvalkitError, match=r"'mine' failed: TypeError: peak_memory\(\) returned"):
        calls(plain)


def test_an_object_that_raises_where_it_is_looked_at_is_one_sentence() -> None:
    class Raises:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
            return []

    with pytest.raises(EvalkitError, match="has no readable signature"):
        plugins.load_generator(plugins.Model("mine", "mine", Raises(), {}), "cpu", [])


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (Endless, "returned 3 results; expected 2"),
        (lambda: None, "returned None; expected a list of 2 images"),
        (lambda: [drawn(1)], "returned 1 result; expected 2"),
        (lambda: iter(lambda: drawn(1), 0), "returned 3 results; expected 2"),
        (lambda: "ab", "returned a str; expected RGB images"),
        (lambda: [drawn(1), None], "returned None; expected RGB"),
        (lambda: [Image.new("P", (8, 8))] * 2, "returned an image in mode P"),
        (lambda: [Image.new("I;16", (8, 8))] * 2, "returned an image in mode I;16"),
        (lambda: [Image.new("RGB", (0, 8))] * 2, r"returned an image in mode RGB, \(0, 8\)"),
        (lambda: [np.zeros((8, 8, 3))] * 2, r"an array of float64 \[8, 8, 3\]"),
        (lambda: [np.broadcast_to(np.uint8(1), (8001, 8000, 3))] * 2, "more than 64 million"),
        (lambda: torch.zeros(2, 8, 8, 3), r"a Tensor of torch.float32 \[8, 8, 3\]"),
        (lambda: [evalkit.core.Refusal("ok")] * 2, "a Refusal with the status 'ok'"),
        (lambda: [evalkit.core.Refusal("full")] * 2, "a Refusal with the status 'full'"),  # type: ignore[arg-type]
        (lambda: [_cut()] * 2, "failed: OSError"),
    ],
)
def test_what_no_generator_may_return_is_one_sentence(results: Any, message: str) -> None:
    with pytest.raises(EvalkitError, match=f"The model 'mine' .*{message}"):
        calls(lambda prompts, seeds: results())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fingerprint", 5),
        ("settings", {"scheduler": object()}),
        ("settings", 5),
        ("at_once", "many"),
        ("peak_memory", 5),
        ("unmatched", 5),
    ],
)
def test_a_wrong_attribute_of_a_generator_is_named(name: str, value: object) -> None:
    def load() -> Generator:
        def generate(prompts: Any, seeds: Any) -> Any: ...

        setattr(generate, name, value)
        return generate

    with pytest.raises(EvalkitError, match=f"The model 'mine' has {name} = "):
        plugins.load_generator(plugins.Model("mine", "mine", load, {}), "cpu", [])


PLUGINS = """
import atexit, os, subprocess, sys, threading
import torch
from PIL import Image
from evalkit import Metric

def write():
    print("x"); os.write(1, b"x\\n"); sys.__stdout__.write("x\\n"); sys.__stdout__.flush()
    subprocess.run(["echo", "x"])
    thread = threading.Thread(target=print, args=("x",)); thread.start(); thread.join()
    os.chdir("/")

write()
atexit.register(print, "x"); atexit.register(os.write, 1, b"x\\n")

def generate(prompts, seeds):
    write()
    return [Image.new("RGB", (8, 8), (seed % 256, 0, 0)) for seed in seeds]

def failing(prompts, seeds):
    sys.exit(0)

class Encoder:
    name, fingerprint, kind = "mine", "1", "inception"
    def prepare(self, image):
        os.chdir("/")
        return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    def __call__(self, images):
        write()
        return {"pool": images.float()}

def mean(*, fake):
    write()
    return fake.mean(1)

def broken(*, fake):
    fake.zero_()
    sys.exit(0)

MEAN = Metric("my_mean", mean, "pool", "inception", "higher")
BROKEN = Metric("broken", broken, "pool", "inception", "higher")
"""


def evalkit_of(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from evalkit.cli.app import main; main()", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def test_the_command_line_with_plugins_that_print_move_and_exit(tmp_path: Path) -> None:
    (tmp_path / "faulty_plugins.py").write_text(PLUGINS)
    (tmp_path / "p.txt").write_text("a cat\na dog\n")
    made = evalkit_of(
        tmp_path,
        "generate",
        *("--models", "faulty_plugins:failing,faulty_plugins:generate"),
        *("--prompts", "p.txt", "--out", "run"),
    )
    assert made.returncode == 2, made.stderr
    assert "error: The model 'faulty_plugins:failing' failed on prompts 0000" in made.stderr
    assert "Traceback" not in made.stderr
    assert len(list((tmp_path / "run/images").glob("faulty_plugins*generate*/*.png"))) == 2
    scored = evalkit_of(
        tmp_path,
        "score",
        *("run", "--models", "faulty_plugins:generate", "--encoders", "faulty_plugins:Encoder"),
        *("--metrics", "faulty_plugins:BROKEN,faulty_plugins:MEAN", "--json"),
    )
    assert scored.returncode == 2, scored.stderr
    assert "Traceback" not in scored.stderr
    said = "error: The metric 'broken' failed: SystemExit: 0. [incomplete]"
    assert said in scored.stderr.splitlines()
    rows = {row["metric"]: row for row in json.loads(scored.stdout)}
    assert rows["broken"]["note"] == "not measured: The metric 'broken' failed: SystemExit: 0."
    assert rows["my_mean"]["value"] > 0
    written = json.loads((tmp_path / "run/metrics.json").read_text())["rows"]
    assert [row["metric"] for row in written] == [*rows]


def _reused(values: torch.Tensor) -> Any:
    def compute(*, fake: torch.Tensor) -> torch.Tensor:
        values[:] = fake[:, 0]
        return values

    return compute


def test_a_metric_may_use_its_buffer_again() -> None:
    from evalkit.score.evidence import Evidence
    from evalkit.score.measure import measure

    metric = Metric(
        "mine", _reused(torch.zeros(3, dtype=torch.float64)), "pool", "inception", "higher"
    )
    first, second = (
        measure(metric, Evidence("toy", {"pool": torch.full((3, 2), n)}, np.arange(3), {}, None))
        for n in (1.0, 2.0)
    )
    assert (first.value, second.value) == (1.0, 2.0)
    assert first.per_image is not None
    assert first.per_image.tolist() == [1.0] * 3


def test_a_failing_metric_names_how_to_drop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails.py").write_text(
        "from evalkit.core import Metric\n"
        "def compute(*, fake): raise ValueError('no')\n"
        "BAD = Metric('bad', compute, 'pool', 'inception', 'lower')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    evalkit.generate("noise", ["x", "y"], out="run")
    score = ["score", "run", "--encoders", "pixels", "--metrics"]
    failed = CliRunner().invoke(app, [*score, "vendi,fails:BAD"])
    assert failed.exit_code == 2
    assert "`evalkit score RUN --metrics fid,kid --only`" in failed.stderr
    assert CliRunner().invoke(app, [*score, "vendi", "--only"]).exit_code == 0
    assert CliRunner().invoke(app, [*score[:4]]).exit_code == 0


def test_a_failing_metric_is_a_warning_in_python() -> None:
    from evalkit.score.evidence import Evidence
    from evalkit.score.measure import measure_or_warn

    def failing(*, fake: torch.Tensor) -> torch.Tensor:
        raise ValueError("no")

    broken = Metric("mine", failing, "pool", "inception", "higher")
    evidence = Evidence("toy", {"pool": torch.ones(3, 2)}, np.arange(3), {}, None)
    with pytest.warns(FailedMetricWarning, match="The metric 'mine' failed: ValueError: no"):
        found = measure_or_warn(broken, evidence)
    assert (found.value, found.failed) == (None, True)
