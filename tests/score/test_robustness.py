"""`perturb`: variants of prompts, their seeds, and what they change."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import evalkit
from evalkit.core import EvalkitError, Prompt
from evalkit.gate.snapshot import take
from evalkit.prompts.perturb import KINDS, with_variants
from evalkit.seeds import image_seed

COLOURS = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255)}
COLOUR = "evalkit.scorers.colour_match:COLOUR_MATCH"
PROMPTS = [f"a {colour} Square {at}" for at in range(4) for colour in COLOURS]


def literal(prompts: list[str], seeds: list[int]) -> list[Image.Image]:
    """The colour of the prompt where it is written in lower case; else black."""
    found = [next((c for word, c in COLOURS.items() if word in one), (0, 0, 0)) for one in prompts]
    return [Image.new("RGB", (8, 8), colour) for colour in found]


def noisy(prompts: list[str], seeds: list[int]) -> list[Image.Image]:
    """Noise of the seed, whatever the prompt."""
    draws = [np.random.default_rng(seed).integers(0, 256, (8, 8, 3)) for seed in seeds]
    return [Image.fromarray(one.astype(np.uint8)) for one in draws]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("lowercase", "A Red Fox", "a red fox"),
        ("uppercase", "A Red Fox", "A RED FOX"),
        ("contractions", "It is a dog I cannot see. They are", "It's a dog I can't see. They're"),
        ("expansions", "It's a dog that can\u2019t bark", "It is a dog that cannot bark"),
    ],
    ids=["lowercase", "uppercase", "contractions", "expansions"],
)  # fmt: skip
def test_each_kind_changes_what_it_says(kind: str, text: str, expected: str) -> None:
    assert KINDS[kind](text, random.Random(0)) == expected


def test_typos_are_neighbours_on_the_keyboard_at_a_tenth_of_the_letters() -> None:
    text = "The quick Brown fox, 12 times! " * 100
    changed = KINDS["typos"](text, random.Random(0))
    assert len(changed) == len(text)
    pairs = [(a, b) for a, b in zip(text, changed, strict=True) if a != b]
    letters = sum(one.isalpha() for one in text)
    assert 0.07 < len(pairs) / letters < 0.13
    assert all(a.isalpha() and a.isupper() == b.isupper() for a, b in pairs)
    assert {b.lower() for a, b in pairs if a.lower() == "q"} <= set("was")


def test_spaces_keep_the_words() -> None:
    text = "one two three four five six seven"
    changed = KINDS["spaces"](text, random.Random(0))
    assert changed != text
    assert changed.split() == text.split()


def test_variants_are_the_same_for_one_seed_and_have_the_seeds_of_their_original() -> None:
    prompts = [Prompt("a", "A big red house", "houses"), Prompt("b", "x")]
    made = with_variants(prompts, ["typos", "uppercase"], 3)
    assert made[:2] == prompts
    assert with_variants(made, ["typos", "uppercase"], 3) == made
    assert [one.id for one in made[2:]] == ["a~typos", "a~uppercase", "b~uppercase"]
    assert [one.group for one in made[2:]] == ["typos", "uppercase", "uppercase"]
    assert made[2].text != with_variants(prompts, ["typos"], 4)[2].text
    assert image_seed(7, "a~typos", 1) == image_seed(7, "a", 1) != image_seed(7, "a~other", 1)


def test_a_run_compares_variants_with_their_originals(tmp_path: Path) -> None:
    path = tmp_path / "run"
    evalkit.generate({"literal": literal, "noisy": noisy}, PROMPTS, out=path)
    before = [json.loads(line) for line in (path / "prompts.jsonl").read_text().splitlines()]
    evalkit.generate(out=path, prompts=PROMPTS, models={"literal": literal, "noisy": noisy},
                     perturb="uppercase,typos")  # fmt: skip
    evalkit.score(path, metrics=[COLOUR], only=True)
    after = [json.loads(line) for line in (path / "prompts.jsonl").read_text().splitlines()]
    assert after[: len(before)] == before
    changed = [row["group"] for row in after[len(before) :]]
    assert changed.count("uppercase") == len(before)
    rows = {(row.model, row.kind): row for row in evalkit.Run(path).robustness()}
    worse = rows["literal", "uppercase"]
    assert (worse.original, worse.variant, worse.difference) == (1.0, 0.0, -1.0)
    assert (worse.prompts, worse.images, worse.metric) == (12, 12, "colour_match")
    # Also where the changed prompt names no colour any more: the original counts.
    assert rows["literal", "typos"].prompts == changed.count("typos") > 0
    assert rows["literal", "typos"].original == 1.0
    assert rows["noisy", "uppercase"].difference == 0  # one seed: one image
    assert rows["noisy", "uppercase"].p_adjusted == 1.0
    left = evalkit.generate({"literal": literal, "noisy": noisy}, out=path, dry_run=True)
    assert [one.missing for one in left] == [0, 0]  # the run keeps its kinds
    with pytest.raises(EvalkitError, match="perturb lacks typos"):
        evalkit.generate({"literal": literal, "noisy": noisy}, out=path, perturb=["uppercase"])


def test_values_of_all_prompts_are_those_of_a_run_without_variants(tmp_path: Path) -> None:
    def values(path: Path) -> list[Any]:
        rows = [row for row in evalkit.Run(path).metrics() if row.encoder and not row.group]
        refusals = [one for one in evalkit.Run(path).metrics() if one.metric == "refusal_rate"]
        compared = evalkit.Run(path).comparisons()
        assert compared is not None
        return [*rows, *refusals[:2], *(row for row in compared.rows if not row.group)]

    models, metrics = {"literal": literal, "noisy": noisy}, [COLOUR, "vendi", "duplicates"]
    plain, changed = tmp_path / "plain", tmp_path / "changed"
    for path, perturb in ((plain, None), (changed, "uppercase,typos")):
        run = evalkit.run(models, [*PROMPTS, PROMPTS[0]], metrics=metrics, encoders="pixels",
                          reference=None, perturb=perturb, per_prompt=2, out=path)  # fmt: skip
        assert all(row.value is not None for row in values(path)[:6])
    assert values(plain) == values(changed)
    assert {row.group for row in run.metrics()} == {"", "uppercase", "typos"}
    assert evalkit.Run(changed).protocol()["prompts"] == evalkit.Run(plain).protocol()["prompts"]
    text = (run.report_path / "report.md").read_text()
    assert "13 prompts and 20 variants of them" in text
    assert "1 prompt repeats an earlier prompt" in text
    one, other = (take(f"{path}:noisy", ["vendi", "missing_rate"]) for path in (plain, changed))
    for name in ("vendi", "missing_rate", "black_rate"):
        assert one.states[name] == other.states[name]
    assert one.prompts == other.prompts


def test_text_in_quotation_marks_is_not_changed() -> None:
    text = 'A SIGN that says "OPEN At  Night, it is" and  a second one: “We are CLOSED”'
    for kind in KINDS:
        variants = with_variants([Prompt("a", text)], [kind], 0)[1:]
        assert all('"OPEN At  Night, it is"' in one.text for one in variants)
        assert all(one.text.endswith("“We are CLOSED”") for one in variants)
        assert len(variants) == (kind not in ("contractions", "expansions"))


def test_prompts_that_a_kind_leaves_as_they_are_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    path = tmp_path / "run"
    prompts = ["a red square", "A green square", "a blue square", "a blue square"]
    run = evalkit.run({"literal": literal}, prompts, metrics=COLOUR, out=path,
                      perturb=["lowercase", "contractions"])  # fmt: skip
    said = [
        "lowercase leaves 3 of 4 prompts as they are: these have no such variant",
        "contractions leaves 4 of 4 prompts as they are: these have no such variant",
    ]
    assert set(said) < {one.getMessage() for one in caplog.records}
    assert "1 of 4 prompts repeat an earlier one; they are kept" in caplog.text
    text = (run.report_path / "report.md").read_text()
    assert all(one in text for one in said)
    page = (run.report_path / "index.html").read_text()
    section = page[page.index('id="robustness"') :].partition("</section>")[0]
    assert all(one in section for one in said)


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt("a~typos", "a rde fox", "foxes"),
        Prompt("b~typos", "a rde fox", "typos"),  # without its original
        Prompt("b", "a blue fox", "typos"),
    ],
    ids=["group", "no-original", "own-group"],
)
def test_a_prompt_that_looks_like_a_variant_is_refused(prompt: Prompt) -> None:
    prompts = [Prompt("a", "a red fox", "foxes"), prompt]
    with pytest.raises(EvalkitError, match=prompt.text):
        with_variants(prompts, ["typos"], 0)


def test_a_group_with_the_name_of_a_kind_is_usual_where_there_are_no_variants() -> None:
    prompts = [Prompt("a", "a red fox", "typos")]
    assert with_variants(prompts, [], 0) == prompts


def test_an_unknown_kind_in_run_toml_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "run"
    evalkit.generate({"literal": literal}, PROMPTS, out=path, perturb="uppercase")
    config = path / "run.toml"
    config.write_text(config.read_text().replace("uppercase", "uppercas"))
    for command in (evalkit.score, evalkit.report):
        with pytest.raises(EvalkitError, match=r"run.toml sets perturb: .* 'uppercas'") as error:
            command(path)
        assert error.value.hint == "Did you mean 'uppercase'?"


def test_the_report_says_which_change_made_a_model_worse(tmp_path: Path) -> None:
    def careless(prompts: list[str], seeds: list[int]) -> list[Image.Image]:
        """Mostly black where the prompt shouts."""
        images = literal([prompt.lower() for prompt in prompts], seeds)
        for image, prompt, seed in zip(images, prompts, seeds, strict=True):
            if prompt.isupper():
                image.paste((0, 0, 0), (0, 0, 8, 2 + seed % 6))
        return images

    run = evalkit.run(
        {"careless": careless}, PROMPTS, metrics=COLOUR, perturb="uppercase",
        out=tmp_path / "run",
    )  # fmt: skip
    [row] = run.robustness()
    assert row.low is not None
    assert row.high is not None
    assert -1 < row.low <= row.difference <= row.high < 0
    text = (run.report_path / "report.md").read_text()
    [line] = [line for line in text.splitlines() if "| uppercase | careless |" in line]
    assert line.rstrip().endswith("| worse |")
    assert "Changed prompts" in (run.report_path / "index.html").read_text()


def test_an_unknown_kind_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="no kind of prompt variants 'typo'") as error:
        evalkit.generate(["noise"], PROMPTS, out=tmp_path / "run", perturb="typo")
    assert error.value.hint == "Did you mean 'typos'?"
    assert not (tmp_path / "run").exists()
