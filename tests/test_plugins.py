"""Names, module:attribute and folders become objects; errors suggest the nearest name."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest

import evalkit
from evalkit import plugins
from evalkit.core import EvalkitError, Metric, Prompt, Request
from evalkit.plugins import importing
from evalkit.plugins.importing import entries
from evalkit.specs import model_texts

REQUESTS = [Request(Prompt("00000", "a cat"), 0, 0, 11)]


def one(spec: str, **options: object) -> plugins.Model:
    [model] = plugins.models([spec], {spec: options} if options else {})  # type: ignore[dict-item]
    return model


def test_own_entry_points_are_always_installed() -> None:
    assert {"noise", "dalle", "gan"} <= set(plugins.names("generator"))
    assert {"pixels", "inception"} <= set(plugins.names("encoder"))
    assert {"fid", "kid"} <= set(plugins.names("metric"))


def test_names_resolve() -> None:
    image = plugins.load_generator(one("noise", size="6"), "cpu", REQUESTS)(["a"], [1])[0]
    assert image.size == (6, 6)  # type: ignore[union-attr]
    assert isinstance(plugins.metric("fid"), Metric)
    assert plugins.encoder("pixels", "cpu").fingerprint


def test_the_own_name_wins_over_another_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    theirs = [
        EntryPoint("noise", "zz_other:load", "evalkit.generators"),
        EntryPoint("extra", "zz_other:load", "evalkit.generators"),
    ]
    ours = [EntryPoint("noise", "evalkit.generators.noise:load", "evalkit.generators")]
    for order in (theirs + ours, ours + theirs):
        monkeypatch.setattr(importing, "entry_points", lambda group, order=order: order)
        entries.cache_clear()
        assert entries("generator")["noise"].module == "evalkit.generators.noise"
        assert "extra" in plugins.names("generator")
    monkeypatch.undo()
    entries.cache_clear()


def test_a_plain_function_and_a_class_are_generators_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTS", "abc")
    for spec in ("models_for_tests:plain", "models_for_tests:Weights", "models_for_tests:bound"):
        generator = plugins.load_generator(one(spec), "cpu", REQUESTS)
        assert generator(["a cat"], [11])[0].size == (8, 8)  # type: ignore[union-attr]


def test_options_have_the_types_of_the_signature() -> None:
    given = {"size": "4", "scale": "2", "dark": "true", "style": "5", "limit": "7"}
    assert one("models_for_tests:options", **given).options == {
        "size": 4,
        "scale": 2.0,
        "dark": True,
        "style": "5",
        "limit": 7,
    }
    assert one("models_for_tests:options").options == {
        "size": 8,
        "scale": 1.0,
        "dark": False,
        "style": "flat",
    }
    assert one("models_for_tests:options", scale=3).options["scale"] == 3.0
    assert one("models_for_tests:options", dark=True).options["dark"] is True
    plugins.load_generator(one("models_for_tests:options"), "cpu", REQUESTS)


@pytest.mark.parametrize(
    ("name", "value", "message", "hint"),
    [
        ("sise", "4", "no option 'sise'", "'size'"),
        ("device", "cpu", "no option 'device'", ""),
        ("size", "4.5", "expected a whole number", ""),
        ("size", 4.0, "expected a whole number", ""),
        ("size", True, "expected a whole number", ""),
        ("size", "9" * 5000, "expected a whole number", ""),
        ("scale", "nan", "expected a finite number", ""),
        ("scale", "hot", "expected a finite number", ""),
        ("dark", "1", "expected true or false", ""),
        ("dark", 1, "expected true or false", ""),
        ("style", 3, "expected a text", ""),
    ],
)
def test_wrong_options(name: str, value: object, message: str, hint: str) -> None:
    with pytest.raises(EvalkitError, match=message) as error:
        one("models_for_tests:options", **{name: value})
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("noisy", "no generator 'noisy'", "'noise'"),
        ("zzzz", "no generator 'zzzz'", "noise"),
        ("./nowhere", "no folder ./nowhere", ""),
        ("no_such_module:load", "needs the module 'no_such_module'", "spelling"),
        ("models_for_tests:plian", "no 'plian'", "'plain'"),
        ("models_for_tests:constant", "is an int; expected a function", ""),
        (
            "models_for_tests:needs",
            "needs the option 'weights'",
            "--set models_for_tests:needs.weights=",
        ),
        ("bad_module_for_tests:load", "cannot be imported: ZeroDivisionError", ""),
        (
            "needs_absent_package:load",
            "needs the module 'absent_package'",
            "pip install absent_package",
        ),
        ("wrong_signature:draw", "takes prompts; expected a function of prompts and seeds", ""),
    ],
)
def test_wrong_specs(
    spec: str, message: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "bad_module_for_tests.py").write_text("1 / 0")
    (tmp_path / "needs_absent_package.py").write_text("import absent_package")
    (tmp_path / "wrong_signature.py").write_text("def draw(prompts): ...")
    with pytest.raises(EvalkitError, match=message) as error:
        one(spec)
    assert hint in error.value.hint
    assert error.value.exit_code == 2


def test_a_module_in_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model_in_the_current_folder.py").write_text("def load(prompts, seeds): ...")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in __import__("sys").path if path])
    assert (
        one("model_in_the_current_folder:load").target.__module__ == "model_in_the_current_folder"
    )


def test_an_exception_of_a_factory_becomes_one_sentence() -> None:
    with pytest.raises(
        EvalkitError,
        match="'models_for_tests:broken' could not be loaded: OSError: weights are missing",
    ) as error:
        plugins.load_generator(one("models_for_tests:broken"), "cpu", REQUESTS)
    assert isinstance(error.value.__cause__, OSError)


def test_options_for_a_model_outside_the_run() -> None:
    with pytest.raises(EvalkitError, match="'nois'") as error:
        plugins.models(["noise"], {"nois": {"size": 3}})
    assert "'noise'" in error.value.hint
    with pytest.raises(EvalkitError, match="no option 'x'"):
        plugins.models(["models_for_tests:plain"], {"models_for_tests:plain": {"x": 1}})


def labels(texts: list[str], known: dict[str, str] | None = None) -> list[str]:
    return [model.label for model in plugins.models(texts, {}, known)]


def test_labels_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/pics", "b/pics", "noise"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert labels(["a/pics", "evalkit:noise", "./noise", "b/pics"]) == [
        "pics",
        "noise",
        f"{tmp_path.name}/noise",
        "b/pics",
    ]
    assert [model.spec for model in plugins.models(["a/pics/"], {})] == [str(tmp_path / "a/pics")]
    known = {"pics": str(tmp_path / "a/pics")}
    assert labels(["b/pics", "a/pics"], known) == ["b/pics", "pics"]


@pytest.mark.parametrize("spec", ["noise", "openai:gpt-image-2", "my=noise", "dalle,noise"])
def test_a_name_that_is_also_a_folder_is_refused_with_both_spellings(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = spec.rpartition("=")[2].rpartition(",")[2]
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EvalkitError, match="installed generator and also a folder") as error:
        plugins.models(spec.split(","), {})
    assert f"`./{name}`" in error.value.hint
    assert f"`evalkit:{name}`" in error.value.hint
    assert [model.spec for model in plugins.models([f"./{name}"], {})] == [str(tmp_path / name)]
    if name == "noise":
        [model] = plugins.models(["evalkit:noise"], {})
        assert (model.label, model.spec, model.bundled) == ("noise", "noise", True)


def test_a_model_is_that_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook moves between folders whose files have one name."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same_name.py").write_text(f"def draw(): return {name!r}\n")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(importing, "_folders", [])
    for name in ("first", "second", "first"):
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.delitem(sys.modules, "same_name", raising=False)
        assert plugins.find("generator", "same_name:draw")() == name
        assert plugins.find("generator", "same_name:draw")() == name  # loaded once
    monkeypatch.chdir(tmp_path / "second")
    with pytest.raises(EvalkitError, match=r"imported from .*first.* has another same_name.py"):
        plugins.find("generator", "same_name:draw")
    monkeypatch.chdir(tmp_path)  # without one of its own
    assert plugins.find("generator", "same_name:draw")() == "first"


def test_explicit_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "x=y"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert labels(["main=./a", "pr = ./b", "noise"]) == ["main", "pr", "noise"]
    assert labels(["b=./a", "./b"]) == ["b", f"{tmp_path.name}/b"]  # given labels come first
    cold, hot = plugins.models(["cold=noise", "hot=noise"], {"hot": {"size": "8"}})
    assert (cold.options["size"], hot.options["size"]) == (32, 8)
    known = {"main": str(tmp_path / "a"), "cold": "noise", "hot": "noise"}
    assert labels(["./a", "hot=noise"], known) == ["main", "hot"]
    assert labels(["pr=./a"], known) == ["pr"]  # the same images under a second label
    for texts, message in (
        (["main=./b"], f"'main' of this run is {tmp_path / 'a'}"),
        (["noise"], "has the model 'noise' with several labels: 'cold', 'hot'"),
        (["x=y"], "is a folder here, and it is also how"),
        (["x=./a", "x=./b"], "have the same label, 'x'"),
        (["x= "], "has a label and nothing else"),
    ):
        with pytest.raises(EvalkitError, match=message):
            plugins.models(texts, {}, known)


def test_two_models_with_one_label_are_refused_with_both_specs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a/pics").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for specs, label in (
        (["a/pics", "./a/../a/pics"], "pics"),
        (["noise", "noise"], "noise"),
        (["noise=a/pics", "noise"], "noise"),
    ):
        with pytest.raises(EvalkitError) as error:
            plugins.models(specs, {})
        assert error.value.message == (
            f"The models {specs[0]!r} and {specs[1]!r} have the same label, {label!r}."
        )
        assert "a=SPEC" in error.value.hint


def test_a_label_that_a_run_has_for_a_folder_is_not_given_to_a_name(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="'noise' of this run is /x; 'noise' is another one"):
        plugins.models(["noise"], {}, {"noise": "/x"})


def test_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(EvalkitError, match="is a file; expected a folder"):
        plugins.models([str(tmp_path / "a.safetensors")], {})


def test_functions_given_in_python() -> None:
    def plain(prompts, seeds): ...

    texts, functions = model_texts([plain, {"a": 1}.get, model_of_this_module])
    assert texts[0].startswith("python:")
    assert texts[0].endswith("<locals>.plain")
    assert texts[2] == f"{__name__}:model_of_this_module"  # an import finds it again
    [first, _, third] = plugins.models(texts, {}, {}, functions)
    assert (first.label, first.target) == ("plain", plain)
    assert first.code
    assert third.target is model_of_this_module
    with pytest.raises(EvalkitError, match="is a Python function, which only its own program has"):
        plugins.models(texts[:1], {})
    texts, functions = model_texts({"a": lambda prompts, seeds: [], "b": lambda prompts, seeds: []})
    models = plugins.models(texts, {}, {}, functions)
    assert [model.label for model in models] == ["a", "b"]
    assert models[0].target is not models[1].target


def model_of_this_module(prompts, seeds): ...


def test_values_that_a_function_holds_are_part_of_its_hash() -> None:
    def make(colour: int, extra: object = None):
        def mine(prompts, seeds):
            return [colour, extra]

        return mine

    class Mine:
        def __init__(self, colour: int) -> None:
            self.colour = colour

        def __call__(self, prompts, seeds): ...

    def base(colour, prompts, seeds): ...

    for build in (make, Mine, lambda colour: functools.partial(base, colour), typed):
        codes = []
        for colour in (1, 1, 2):
            [text], functions = model_texts([build(colour)])
            codes.append(plugins.models([text], {}, {}, functions)[0].code)
        assert codes[0] == codes[1] != codes[2]
    [text], functions = model_texts([make(1, object())])
    assert plugins.models([text], {}, {}, functions)[0].code  # an object counts by its type
    texts, functions = model_texts([lambda prompts: []])
    with pytest.raises(EvalkitError, match="takes prompts; expected a function of prompts and see"):
        plugins.models(texts, {}, {}, functions)


def typed(colour: int):
    """A function without readable source, as one typed into an interpreter."""
    space: dict = {}
    exec(f"def mine(prompts, seeds): return [{colour}]", space)
    return space["mine"]


def test_an_archive_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.zip").touch()
    for spec in ("d.zip", "./d.zip"):
        with pytest.raises(EvalkitError, match=r"d\.zip is a file; expected a folder") as error:
            one(spec)
        assert "`evalkit score` reads zip" in error.value.hint


NAMED = """
import threading, time
import evalkit
from evalkit.core import EvalkitError

class Judge:
    name, fingerprint = "mini-judge", "own"
    def __call__(self, images, prompts):
        return [1.0] * len(images)

class Colours:
    name, fingerprint, kind = "pixels", "own", "inception"
    def prepare(self, image):
        raise AssertionError("nothing is measured")
    def __call__(self, images):
        return {}

class Lasting(Judge):
    name = "lasting-1"
    def __call__(self, images, prompts):
        threading.Thread(target=time.sleep, args=(600,)).start()
        return [1.0] * len(images)

def broken():
    raise RuntimeError("no weights")

JUDGE = evalkit.Scorer("judge", "higher", load=Judge)
LASTING = evalkit.Scorer("lasting", "higher", load=Lasting)
"""


@pytest.fixture
def named_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "named_plugins.py").write_text(NAMED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "named_plugins", raising=False)
    return evalkit.generate("noise", ["a cat", "two dogs"], out="run").path


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": "named_plugins:JUDGE"}, "Judge has the name 'mini-judge', which is evalkit's"),
        ({"encoders": "named_plugins:Colours"}, "Colours has the name 'pixels', which is evalkit"),
        ({"encoders": "named_plugins:broken,pixels"}, "'named_plugins:broken' could not be loaded"),
    ],
    ids=["scorer", "encoder", "broken"],
)
def test_plug_ins_with_names_of_evalkit_and_broken_ones_are_refused_before_anything_is_measured(
    named_run: Path, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(EvalkitError) as raised:
        evalkit.score(named_run, **{"metrics": "duplicates", **settings})
    assert message in raised.value.message
    assert raised.value.hint
    assert not (named_run / "metrics.json").exists()
    assert not (named_run / "features").exists()


def test_a_command_ends_although_a_plug_in_leaves_a_thread_running(named_run: Path) -> None:
    command = [sys.executable, "-m", "evalkit", "score", str(named_run)]
    done = subprocess.run(
        [*command, "--metrics", "named_plugins:LASTING"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(named_run)
    assert "1 threads of plug-ins were still running and were ended." in done.stderr
    assert '"metric": "lasting"' in (named_run / "metrics.json").read_text()
