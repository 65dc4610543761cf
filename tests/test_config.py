"""One flat TOML and flags -> one frozen Config."""

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.config import Config, load_config, parse_settings
from evalkit.core import EvalkitError, Prompt
from evalkit.specs import is_path, split_label, split_models

TEXT = st.text(
    st.characters(exclude_categories=["Cs"]), max_size=30
)  # control characters, quotes, emoji, line ends
NAME = TEXT.filter(str.strip)
# `~` is expanded.
PATH = TEXT.filter(lambda text: "\0" not in text and not text.startswith("~"))
PROMPT_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zs", "Zl", "Zp"]), min_size=1, max_size=20
)
VALUES = st.one_of(TEXT, st.integers(), st.floats(allow_nan=False), st.booleans())


MODEL = NAME.filter(lambda text: "=" not in text and not text.startswith("~"))


@st.composite
def configs(draw: st.DrawFn) -> Config:
    prompts = [
        Prompt(f"{at}", text, draw(st.sampled_from(["", "colour"])))
        for at, text in enumerate(draw(st.lists(PROMPT_TEXT, min_size=1)))
    ]
    return Config(
        models=tuple(
            draw(st.lists(NAME.filter(lambda t: "=" not in t), min_size=1, max_size=4, unique=True))
        ),
        prompts=draw(st.one_of(PATH.filter(str.strip), st.just(tuple(prompts)))),
        out=draw(PATH),
        per_prompt=draw(st.integers(1, 10_000)),
        seed=draw(st.integers(0, 2**63 - 1)),
        reference=draw(st.one_of(st.none(), PATH.filter(str.strip))),
        metrics=tuple(draw(st.lists(NAME, max_size=3, unique=True))),
        encoders=draw(st.sampled_from(["auto", "standard", "mini", "a,b:c"])),
        device=draw(st.sampled_from(["auto", "cpu", "cuda:3"])),
        batch_size=draw(st.integers(1, 65_536)),
        max_cost=draw(st.one_of(st.none(), st.integers(0, 1000), st.floats(0, 1e8))),
        options=draw(
            st.dictionaries(TEXT, st.dictionaries(TEXT, VALUES, min_size=1, max_size=3), max_size=3)
        ),
    )


@settings(deadline=None, max_examples=200)
@given(configs())
def test_toml_round_trip(config: Config) -> None:
    text = config.to_toml().encode().decode()
    assert Config.from_toml(text) == config


def test_round_trip_of_hostile_texts() -> None:
    hostile = (
        '"""',
        "a\\",
        "a\r\nb",
        "\x00\x1f\x7f\x85\u2028",
        "]\nseed = 5",
        "\U0001f600",
        "'''",
        "a = 1 # b",
    )
    config = Config(models=hostile, prompts='p"\n.txt', options={h: {h: h} for h in hostile})
    again = Config.from_toml(config.to_toml())
    assert again == config
    assert again.seed == 0


def test_defaults_then_file_then_flags(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        'models = ["noise"]\nprompts = "p.txt"\nseed = 3\nper_prompt = 2\n'
        "[model.noise]\nsize = 8\nother = 1\n"
    )
    config = load_config(
        file, {"seed": 5, "per_prompt": None, "batch_size": None}, {"noise": {"size": "16"}}
    )
    assert (config.seed, config.per_prompt, config.batch_size) == (5, 2, None)
    assert config.options == {"noise": {"size": "16", "other": 1}}


def test_paths_in_a_file_are_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/c.toml").write_text(
        'models = ["noise", "./pics", "a.b:c"]\nprompts = "p.txt"\n'
        'out = "."\nreference = "scenes"\n'
    )
    monkeypatch.chdir(tmp_path)
    config = load_config("sub/c.toml", {})
    assert config == Config(
        models=("noise", "sub/pics", "a.b:c"), prompts="sub/p.txt", out="sub", reference="scenes"
    )
    assert (
        load_config("sub/c.toml", {"prompts": "p.txt"}).prompts == "p.txt"
    )  # flags: relative to here


def test_models_as_a_flag_drop_the_options_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'models = ["noise", "other"]\nprompts = "p"\n'
        "[model.noise]\nsize = 8\n[model.other]\nx = 1\n"
    )
    assert load_config(tmp_path / "c.toml", {"models": "noise"}).options == {"noise": {"size": 8}}
    assert load_config(None, {"models": "noise", "prompts": "p"}, {"nois": {"x": 1}}).options == {
        "nois": {"x": 1}
    }  # options on the command line are checked later


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("promts = 'x'", "unknown key 'promts'", "'prompts'"),
        ("[modle.dalle]\nx = 1", "unknown key 'modle'", "'model'"),
        ("seed = 1.5", "sets seed to 1.5; expected a whole number", ""),
        ("seed = true", "expected a whole number", ""),
        ("models = [1]", "expected a list of texts", ""),
        ("model = 3", "expected tables", ""),
        ("[model.dalle]\nsizes = [1]", "dalle.sizes", ""),
        ("prompts = [{txt = 'a'}]", "unknown keys", "id, text, group"),
        ("seed = ", "not valid TOML", "evalkit init"),
        ("models = ['a']", "names no prompts", "--prompts"),
        ("prompts = 'a'", "names no models", "--models"),
    ],
)
def test_bad_files(text: str, message: str, hint: str) -> None:
    with pytest.raises(EvalkitError) as error:
        Config.from_toml(text, "c.toml")
    assert message in error.value.message
    assert hint in error.value.hint
    assert "c.toml" in error.value.message
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("per_prompt", 0),
        ("per_prompt", True),
        ("batch_size", 0),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", 1.0),
        ("models", ()),
        ("models", ("a", "a")),
        ("models", ("",)),
        ("metrics", ("fid", "fid")),
        ("reference", ""),
        ("encoders", "a,,b"),
        ("encoders", ""),
        ("device", "gpu"),
        ("prompts", ""),
        ("out", "\udcff"),
        ("max_cost", -0.01),
        ("max_cost", float("nan")),
        ("max_cost", True),
    ],
)
def test_ranges(key: str, value: object) -> None:
    with pytest.raises(EvalkitError, match=f"{key}|not valid Unicode"):
        Config(**({"models": ("noise",), "prompts": "p.txt"} | {key: value}))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, Path("x")])
def test_options_that_toml_cannot_hold_are_refused(value: object) -> None:
    with pytest.raises(EvalkitError, match="cannot be written as TOML") as error:
        Config(models=("noise",), prompts="p.txt", options={"noise": {"x": value}})  # type: ignore[dict-item]
    assert error.value.hint == "Use texts, numbers, true or false as options."


def test_max_cost_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('models = ["noise"]\nprompts = "p.txt"\nmax_cost = 20\n')
    assert load_config(file, {}).max_cost == 20
    assert load_config(file, {"max_cost": 2.5}).max_cost == 2.5
    file.write_text('models = ["noise"]\nprompts = "p.txt"\nmax_cost = "20"\n')
    with pytest.raises(EvalkitError, match="sets max_cost to '20'; expected a number"):
        load_config(file, {})


def test_settings() -> None:
    assert parse_settings(["dalle.temperature=0.9", "a.b:c.x=y=z", "dalle.top_k = 5"]) == {
        "dalle": {"temperature": "0.9", "top_k": "5"},
        "a.b:c": {"x": "y=z"},
    }
    for bad in ("dalle", "dalle=1", ".x=1", "dalle.=1"):
        with pytest.raises(EvalkitError, match=r"of the form MODEL\.OPTION=VALUE"):
            parse_settings([bad])


@settings(deadline=None)
@given(st.text(string.printable, max_size=60))
def test_any_text_is_a_config_or_a_clean_error(text: str) -> None:
    try:
        outcome = Config.from_toml(text).models
    except EvalkitError as error:
        outcome = error.message.removesuffix(".") != error.message
    assert outcome


def test_missing_and_binary_file(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    for name in ("none.toml", "b.toml"):
        with pytest.raises(EvalkitError, match="cannot be read"):
            load_config(tmp_path / name, {})


def test_a_folder_with_a_comma_in_its_name_is_one_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "sd,xl").mkdir()
    for text in (str(tmp_path / "sd,xl"), f"main={tmp_path / 'sd,xl'}"):
        assert split_models(text) == (text,)
    assert split_models("dalle, gan") == ("dalle", "gan")
    (tmp_path / "sd").mkdir()
    (tmp_path / "xl").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EvalkitError, match="is one folder, and its parts are folders too"):
        split_models("sd,xl")
    assert Config(models=("./sd,xl",), prompts="p").models == ("./sd,xl",)


def test_models_with_labels_in_toml_python_and_flags(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    expected = (f"main={tmp_path}/a", "pr=dalle")
    for models in (
        '["main=./a", "pr=dalle"]',
        '"main=./a, pr=dalle"',
        '{main = "./a", pr = "dalle"}',
    ):
        file.write_text(f'models = {models}\nprompts = "p.txt"\n[model.pr]\ntop_k = 3')
        config = load_config(file, {})
        assert tuple(text.replace("/./", "/") for text in config.models) == expected
        assert config.options == {"pr": {"top_k": 3}}
        assert load_config(file, {"models": "main=./a"}).options == {}
    for models in ("main=./a,pr=dalle", ["main=./a", "pr=dalle"], {"main": "./a", "pr": "dalle"}):
        assert load_config(None, {"models": models, "prompts": "p"}).models == (
            "main=./a",
            "pr=dalle",
        )
    with pytest.raises(EvalkitError, match="label 'a/b'; expected letters"):
        load_config(None, {"models": {"a/b": "dalle"}, "prompts": "p"})
    with pytest.raises(EvalkitError, match="A model is 3; expected a name, a folder or a function"):
        load_config(None, {"models": [3], "prompts": "p"})


def test_the_home_folder_is_found_in_quotes_and_after_commas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    flags = {"models": "~/a,x=~/b", "prompts": "~/p.txt", "out": "~/o", "reference": "~/r"}
    config = load_config(None, flags)
    assert config.models == ("/home/someone/a", "x=/home/someone/b")
    assert (config.prompts, config.out, config.reference) == (
        "/home/someone/p.txt",
        "/home/someone/o",
        "/home/someone/r",
    )


def test_paths_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sep", "\\")
    for path in ("C:\\runs\\a", ".\\a", "C:/runs/a", "a\\b"):
        assert is_path(path)
        assert split_label(f"main={path}") == ("main", path)
    for name in ("dalle", "openai:gpt-image-2", "diffusers:a/b"):
        assert not is_path(name)


@pytest.mark.parametrize("key", ["out", "prompts", "reference"])
def test_paths_with_nul_characters_are_refused(key: str):
    values = {"models": ("noise",), "prompts": "p.txt"} | {key: "a\0b"}
    with pytest.raises(EvalkitError, match=f"{key} is .* expected a path without NUL"):
        Config(**values)


def test_a_number_of_thousands_of_digits_is_one_sentence():
    text = f'models = ["noise"]\nprompts = "p.txt"\nseed = {"9" * 5000}\n'
    with pytest.raises(EvalkitError, match="not valid TOML"):
        Config.from_toml(text)


def test_options_of_no_model_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('models = ["dalle"]\nprompts = "suite"\n[model.dale]\ntop_k = 5\n')
    with pytest.raises(EvalkitError, match=r"c\.toml has options of 'dale'") as error:
        load_config(path, {})
    assert "dalle" in error.value.hint
    assert load_config(path, {"models": "gan"}).options == {}


@pytest.mark.parametrize("value", ["half", "float16", ""])
def test_an_unknown_precision_is_refused(value: str) -> None:
    with pytest.raises(EvalkitError, match="expected exact, tf32 or bf16"):
        Config(models=("noise",), prompts="p.txt", precision=value)  # type: ignore[arg-type]
