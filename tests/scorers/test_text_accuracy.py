"""`text_accuracy`, `text_cer` and `text_distance`, with the real networks of RapidOCR."""

# ruff: noqa: RUF001 (quotation marks of many languages)

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torchmetrics.functional.text import char_error_rate, edit_distance

import evalkit
from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.prompts.quotes import quoted
from evalkit.scorer import Answer, NoAnswer
from evalkit.scorers.text_accuracy import Line, TextReader, by_rows
from evalkit.scorers.text_comparison import closest, normalized, word_accuracy
from evalkit.scorers.text_comparison import edit_distance as own_distance

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
PROMPT = 'a shop with "Grand Opening" above “SALE 2026!”'
TEXT = "Grand\nOpening\nSale 2026"


def drawn(text: str = TEXT, font: str = "DejaVuSans.ttf", size: int = 24) -> Image.Image:
    image = Image.new("RGB", (224, 224), "white")
    ImageDraw.Draw(image).text((12, 40), text, "black", ImageFont.truetype(str(FONTS / font), size))
    return image


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    image.save(file := io.BytesIO(), "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


@pytest.fixture(scope="module")
def score() -> Callable[..., Any]:
    reader = TextReader()
    return lambda image, prompt=PROMPT: next(iter(reader([image], [prompt])))


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ('a sign "STOP" and "GO"', ["STOP", "GO"]),
        ("a sign 'Don't stop' here", ["Don't stop"]),
        ("‘It’s on’ the wall of the children’s room", ["It’s on"]),
        ("„Guten Tag“ “hello” «Bonjour» « Salut »", ["Guten Tag", "hello", "Bonjour", "Salut"]),
        ("海报上写着\"促销\"和「特价」", ["促销", "特价"]),
        ("\"He said 'hi'\"", ["He said 'hi'"]),
        ('a cup that says:"Joe\'s"', ["Joe's"]),
        ('a 12" record and a 7" single', []),
        ("the dogs' bowl and the cats' toy, rock 'n' roll", []),
        ("it's a '90s poster with 'SALE'", ["SALE"]),
        ('"" and " "', []),
        ("「前『中』後」と『外「内」外』", ["前『中』後", "外「内」外"]),
        ("「前「中」後」", ["前「中」後"]),
        ("“He said “hi” again” and “bye”", ["He said “hi” again", "bye"]),
        ("« un « deux » trois »", ["un « deux » trois"]),
        ("“not closed, “closed” here", ["closed"]),
        ("“a 'b' \"c\" d” 'e \"f\" g'", ["a 'b' \"c\" d", 'e "f" g']),
        ("the '90s and the 80s' music with '50% off'", ["50% off"]),
        ("a sign '90s' here", ["90s"]),
    ],
    ids=["straight", "single", "curly", "low-and-guillemets", "cjk", "nested", "colon", "inches",
         "apostrophes", "elision", "empty", "cjk-nested", "cjk-same", "curly-same",
         "guillemets-same", "not-closed", "mixed", "decades", "a-quoted-decade"],
)  # fmt: skip
def test_quoted_text_is_found_and_apostrophes_are_none(prompt: str, texts: list[str]) -> None:
    assert quoted(prompt) == texts


_PAIRS = ["“”", "„“", "«»", "»«", "‹›", "「」", "『』"]
_QUIET = st.text("ab c漢.", max_size=8)


@given(
    st.lists(st.tuples(_QUIET, st.sampled_from(_PAIRS), _QUIET, _QUIET, st.sampled_from(_PAIRS))),
    st.integers(0, 3),
)
def test_the_outer_quotes_count_at_any_depth(parts: list[Any], depth: int) -> None:
    prompt, expected = "", []
    for before, outer, left, right, inner in parts:
        # Some marks close one kind and open another one; these do not nest in each other.
        inner = outer if set(inner) & set(outer) or "“" in outer + inner else inner
        inner = "「」" if outer in ("„“", "»«", "«»") else inner
        text = f"{left}{inner[0] * depth}{left}{inner[1] * depth}{right}"
        prompt += f"{before}{outer[0]}{text}{outer[1]} "
        expected += [text.strip()] if text.strip() else []
    assert quoted(prompt) == expected


_WORD = st.from_regex(r"[a-z]{1,5}('[a-z]{1,3}|s')?", fullmatch=True)
_ELISION = st.sampled_from(["rock 'n' roll", "the '90s", "get 'em", "'tis", "don't", "boys'"])


@given(st.lists(_WORD | _ELISION, max_size=12), st.sampled_from("'’"))
def test_an_apostrophe_starts_no_quote(words: list[str], mark: str) -> None:
    text = " ".join(words).replace("'", mark)
    assert quoted(text) == []
    assert quoted(f'{text} "STOP" {text}') == ["STOP"]


@given(st.text(st.sampled_from("“”„«»‹›「」『』\"'‘’‚ ab漢5") | st.characters(), max_size=40))
def test_quotes_are_parts_of_the_prompt_in_its_order(prompt: str) -> None:
    place = 0
    for text in quoted(prompt):
        place = prompt.index(text, place) + len(text)


@given(st.text("ab c", max_size=70), st.text("abcd", max_size=80))
def test_the_edit_distance_is_that_of_torchmetrics(a: str, b: str) -> None:
    assert own_distance(a, b) == int(edit_distance([b], [a], reduction="sum"))


def test_conventions_say_what_counts() -> None:
    text = "ＧＲＡＮＤ\u00a0Opening—don’t “miss”: 50%!"
    assert normalized(text, "letters") == "grand opening dont miss 50"
    assert normalized(text, "folded") == 'grand opening-don\'t "miss": 50%!'
    assert normalized("Cafe\u0301 \n X", "exact") == "Café X"


def test_words_count_as_often_as_they_are_asked_for_and_others_do_not_count() -> None:
    assert word_accuracy(["sale sale", "now"], "now and sale") == pytest.approx(2 / 3)
    assert word_accuracy(["促销"], "销x") == 0.5


def test_the_order_of_several_quotes_does_not_count() -> None:
    assert closest(["one two", "three"], "three one twp") == "three one two"


def test_lines_are_read_by_rows() -> None:
    def line(text: str, x: float, y: float) -> Line:
        return Line(text, 1.0, np.array([[x, y], [x + 9, y], [x + 9, y + 10], [x, y + 10]]))

    lines = [line("d", 50, 33), line("b", 30, 2), line("c", 5, 30), line("a", 0, 0)]
    assert [one.text for one in by_rows(lines)] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("font", ["DejaVuSans.ttf", "DejaVuSerif-Bold.ttf", "STIXGeneral.ttf"])
def test_clean_text_is_read_as_it_is(score: Callable[..., Any], font: str) -> None:
    answer = score(drawn(font=font))
    assert answer.values == {"accuracy": 1.0, "cer": 0.0, "distance": 1.0}
    assert " ".join(answer.details["read"]).lower() == "grand opening sale 2026"


def test_damage_never_makes_text_more_accurate(score: Callable[..., Any]) -> None:
    image = drawn(size=16)
    blurred = [score(image.filter(ImageFilter.GaussianBlur(radius))) for radius in (1, 2, 6)]
    assert score(jpeg(image, 40)).values["accuracy"] == 1.0
    for name, better in (("accuracy", 1), ("distance", 1), ("cer", -1)):
        values = [better * answer.values[name] for answer in blurred]
        assert values == sorted(values, reverse=True)
        assert values[0] > values[-1]


def test_text_that_is_absent_is_a_true_zero(score: Callable[..., Any]) -> None:
    answer = score(Image.new("RGB", (64, 64), "navy"))
    assert answer.values == {"accuracy": 0.0, "cer": 1.0, "distance": 0.0}
    assert answer.details["found"] == "no text"


def test_other_text_costs_distance_and_errors_but_no_accuracy(score: Callable[..., Any]) -> None:
    answer = score(drawn("Grand\nOpening\nof cinemas"), 'a poster "grand opening"')
    assert answer.values["accuracy"] == 1.0
    expected = char_error_rate(["grand opening of cinemas"], ["grand opening"])
    assert answer.values["cer"] == pytest.approx(float(expected))
    assert answer.values["distance"] == pytest.approx(1 - 11 / 24)


def test_a_prompt_without_quoted_text_has_no_answer(score: Callable[..., Any]) -> None:
    assert score(drawn(), "a shop") == NoAnswer("the prompt quotes no text")
    assert score(drawn(), 'a shop with "!"') == NoAnswer(
        "the prompt quotes neither letters nor digits"
    )


def test_a_long_and_narrow_image_is_read(score: Callable[..., Any]) -> None:
    image = Image.new("RGB", (20, 600), "white")
    image.paste(drawn("STOP", size=7).crop((10, 36, 30, 56)), (0, 20))
    assert isinstance(score(image), Answer)  # 3 GB at the network's scale, were it not framed


def test_three_numbers_of_a_run_cost_one_reading(tmp_path: Path) -> None:
    def model(prompts: list[str], seeds: list[int]) -> list[Image.Image]:
        return [drawn("STOP", size=60) for _ in prompts]

    names = ["text_accuracy", "text_cer", "text_distance"]
    prompts = ['a sign "stop"', 'a sign "stop go"', "a dog"]
    evalkit.generate({"model": model}, prompts, out=tmp_path / "run")
    every = evalkit.score(tmp_path / "run", metrics=names, only=True)
    rows = {row.metric: row for row in every if row.metric in names}
    assert [rows[name].value for name in names] == pytest.approx([0.75, 3 / 14, 11 / 14])
    assert all("1 x the prompt quotes no text" in row.caution for row in rows.values())
    assert {row.count for row in rows.values()} == {2}
    [kept] = (tmp_path / "run").rglob("pp-ocrv6-small-letters*.jsonl")
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [line.get("details", {}).get("read") for line in lines] == [["STOP"], ["STOP"], None]


def test_wrong_options_and_missing_packages_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = plugins.scorer("text_accuracy")
    with pytest.raises(EvalkitError, match="no convention 'letter'") as error:
        plugins.load_scorer(scorer, {"compare": "letter"}, "cpu", tmp_path)
    assert error.value.hint == "Did you mean 'letters'?"
    with pytest.raises(EvalkitError, match=r"is 2\.0; expected 0 to 1"):
        plugins.load_scorer(scorer, {"confidence": 2.0}, "cpu", tmp_path)
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(EvalkitError, match="rapidocr") as error:
        TextReader()
    assert ".[ocr]" in error.value.hint
