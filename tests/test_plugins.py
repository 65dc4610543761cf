"""Names, module:attribute and folders become objects; errors suggest the nearest name."""

from pathlib import Path

import pytest

from evalkit import plugins
from evalkit.core import EvalkitError, Metric, Prompt, Request

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
        monkeypatch.setattr(plugins, "entry_points", lambda group, order=order: order)
        plugins._entries.cache_clear()
        assert plugins._entries("generator")["noise"].module == "evalkit.generators.noise"
        assert "extra" in plugins.names("generator")
    monkeypatch.undo()
    plugins._entries.cache_clear()


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
        ("models_for_tests:constant", "is a int; expected a function", ""),
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
    ],
)
def test_wrong_specs(
    spec: str, message: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "bad_module_for_tests.py").write_text("1 / 0")
    (tmp_path / "needs_absent_package.py").write_text("import absent_package")
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


def test_labels_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/pics", "b/pics", "noise"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert [
        model.label for model in plugins.models(["a/pics", "noise", "./noise", "b/pics"], {})
    ] == [
        "pics",
        "noise",
        f"{tmp_path.name}/noise",
        "b/pics",
    ]
    assert [model.spec for model in plugins.models(["a/pics/"], {})] == [str(tmp_path / "a/pics")]
    known = {str(tmp_path / "a/pics"): "pics"}
    assert [model.label for model in plugins.models(["b/pics", "a/pics"], {}, known)] == [
        "b/pics",
        "pics",
    ]


def test_two_models_with_one_label_are_refused_with_both_specs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a/pics").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    real = str(tmp_path / "a/pics")
    for specs, known in (
        (["a/pics", "./a/../a/pics"], {}),
        (["noise", "noise"], {}),
        (["noise", "a/pics"], {real: "noise"}),
    ):
        with pytest.raises(EvalkitError) as error:
            plugins.models(specs, {}, known)
        label = "pics" if specs[0] == "a/pics" else "noise"
        assert error.value.message == (
            f"The models {specs[0]!r} and {specs[1]!r} have one label, {label!r}."
        )
