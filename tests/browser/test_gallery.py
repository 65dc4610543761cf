"""The gallery of the report page in a real browser: keys, address, blind mode, print."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_pages import until
from report_runs import HOSTILE_MODEL, add_groups, make_run

from evalkit.features.validation import VERSION, facts_of
from evalkit.images import Decoded, read_image
from evalkit.report.facts import read_facts
from evalkit.report.report import report
from evalkit.run_folder import Run
from evalkit.shards import Shard

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
MODELS = ("dalle", "gan", HOSTILE_MODEL)
COUNT = 24
ROWS = "#gallery > li:visible"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three models, 24 prompts with two samples each; a refusal, a failure and a black image."""
    run = make_run(tmp_path_factory.mktemp("runs") / "run", COUNT, MODELS)
    rows = run.scores()
    for model in MODELS:
        second = []
        for record in run.records(model):
            if record.file:
                name = record.file.replace("-0.", "-1.")
                folder = run.image_folder(model)
                shutil.copy(folder / record.file, folder / name)
                record = dataclasses.replace(record, file=name)
            second.append(dataclasses.replace(record, sample=1))
        run.append_records(model, second, Shard(1, 2))
    config = run.config_path.read_text(encoding="utf-8")
    run.config_path.write_text(config.replace("per_prompt = 1", "per_prompt = 2"), "utf-8")
    run.write_scores([tuple(row.values()) for row in rows])
    add_groups(run)
    black = next(record for record in run.records("gan") if record.index == 3)
    facts = facts_of(Decoded(read_image(run.image_path("gan", black)), "", "PNG"))
    path = run.validation_path("gan")
    path.parent.mkdir(parents=True)
    known = {black.sha256: facts._replace(black=True)}
    path.write_text(json.dumps({"version": VERSION, "facts": known}))
    report(run.path, single_file=True, zip=True)
    return run


@pytest.fixture
def opened(run: Run, open_context: Callable[..., Any]) -> Callable[..., Any]:
    def opened(fragment: str = "", **options: Any) -> Any:
        page = open_context(**options).new_page()
        page.goto((run.report_path / "index.html").as_uri() + fragment)
        return page

    return opened


def address(page: Any) -> str:
    """The part of the address that holds the state, once it is written."""
    page.wait_for_timeout(300)
    return page.evaluate("decodeURIComponent(location.hash)")


def numbers(page: Any) -> list[int]:
    """The numbers of the shown prompts, in their order on the page."""
    return [int(text.split()[0]) for text in page.locator(f"{ROWS} > p + p").all_text_contents()]


def names(page: Any, place: str = "#stage figcaption span") -> list[str]:
    return page.locator(place).all_inner_texts()


def test_an_address_with_an_odd_sample_shows_images(opened: Callable[..., Any]) -> None:
    for text in ("abc", "-3", "0.5", "99"):
        page = opened(f"#images?at=1&sample={text}")
        assert names(page) == list(MODELS)


def test_all_models_side_by_side_by_keys_alone(opened: Callable[..., Any]) -> None:
    page = opened()
    page.keyboard.press("o")
    zoom = page.get_by_role("dialog")
    expect(zoom.locator("#zoom-facts")).to_have_text(
        "No. 1 · object · 1 of 24 shown · sample 1 of 2"
    )
    assert names(page) == list(MODELS)
    page.keyboard.press("ArrowDown")
    expect(page.locator("#zoom-facts")).to_contain_text("No. 2 ")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#zoom-facts")).to_contain_text("No. 2 · colour · 2 of 24 shown · sample 2")
    assert all("00001-1" in image.get_attribute("src") for image in zoom.get_by_role("img").all())
    page.keyboard.press("ArrowRight")  # past the last sample
    expect(page.locator("#zoom-facts")).to_contain_text(re.compile("No. 3 .*sample 1"))
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#zoom-facts")).to_contain_text(re.compile("No. 2 .*sample 2"))
    page.keyboard.press("2")
    assert names(page) == ["gan"]
    page.keyboard.press("0")
    assert names(page) == list(MODELS)
    page.keyboard.press("End")
    page.keyboard.press("ArrowDown")  # there is no further prompt
    expect(page.locator("#zoom-facts")).to_contain_text("No. 24 ")
    for number in range(23, 0, -1):  # the whole gallery
        page.keyboard.press("ArrowUp")
        expect(page.locator("#zoom-facts")).to_contain_text(f"No. {number} ")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("ArrowDown")  # does nothing behind the list
    page.keyboard.press("Escape")
    expect(page.locator("#zoom-facts")).to_contain_text("No. 1 ")
    page.keyboard.press("Escape")
    expect(zoom).to_be_hidden()
    assert page.evaluate("document.activeElement.closest('#gallery > li') != null")


def test_the_focus_returns_to_the_prompt_that_was_seen_last(opened: Callable[..., Any]) -> None:
    page = opened()
    page.locator("#gallery > li").nth(4).get_by_role("link").nth(1).click()
    expect(page.locator("#zoom-facts")).to_contain_text("No. 5 ")
    page.keyboard.press("ArrowDown")
    page.get_by_role("button", name="Close").click()
    seen = "document.activeElement.closest('#gallery > li').querySelector('p + p').textContent"
    assert page.evaluate(seen).startswith("6")


def test_filters_and_order_are_in_the_address(opened: Callable[..., Any], run: Run) -> None:
    page = opened()
    page.keyboard.press("/")
    page.keyboard.type("photo")
    texts = [prompt.text for prompt in run.prompts()]
    wanted = [place + 1 for place, text in enumerate(texts) if "photo" in text.lower()]
    assert numbers(page) == wanted
    assert 1 < len(wanted) < COUNT
    page.locator("#controls").get_by_label("Order").select_option("score of gan")
    page.locator("#controls").get_by_label("Direction").select_option("lowest first")
    order = numbers(page)
    assert sorted(order) == wanted != order
    assert address(page) == "#images?q=photo&sort=1&dir=low"
    page.reload()
    assert (numbers(page), page.locator("#controls").get_by_label("Search").input_value()) == (
        order,
        "photo",
    )
    page.keyboard.press("o")
    assert address(page) == f"#images?q=photo&sort=1&dir=low&at={order[0]}"
    page.keyboard.press("ArrowDown")
    expect(page.locator("#zoom-facts")).to_contain_text(f"No. {order[1]} ")
    link = page.url
    page.go_back()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert numbers(page) == order
    other = opened("")
    other.goto(link)
    expect(other.get_by_role("dialog")).to_be_visible()
    page.locator("#controls").get_by_label("Search").fill("")
    page.locator("#controls").get_by_label("Order").select_option("prompt list")
    page.locator("#controls").get_by_label("Direction").select_option("highest first", force=True)
    assert numbers(page) == list(range(1, COUNT + 1))


def test_order_by_the_difference_of_two_models(opened: Callable[..., Any], run: Run) -> None:
    facts = read_facts(run.path)
    scores = {
        (model, index): float(f"{value:.{facts.score_digits}f}")  # as they are shown
        for (model, index, _), value in facts.scores.items()
    }

    def difference(index: int) -> float | None:
        both = [scores.get((model, index)) for model in ("gan", "dalle")]
        return None if None in both else both[0] - both[1]

    known = [index for index in range(COUNT) if difference(index) is not None]
    page = opened("#images?sort=1&minus=0")
    expected = sorted(known, key=lambda index: (-difference(index), index))
    rest = [index for index in range(COUNT) if index not in known]
    assert len(rest) == 2  # without a score: last
    assert numbers(page) == [index + 1 for index in expected + rest]
    page.locator("#controls").get_by_label("Direction").select_option("lowest first")
    expected = sorted(known, key=lambda index: (difference(index), index))
    assert numbers(page) == [index + 1 for index in expected + rest]


def test_groups_and_failures(opened: Callable[..., Any], run: Run) -> None:
    page = opened()
    page.locator("#controls").get_by_label("Group").select_option("colour")
    groups = [prompt.group for prompt in run.prompts()]
    assert numbers(page) == [place + 1 for place, name in enumerate(groups) if name == "colour"]
    page.locator("#controls").get_by_label("Group").select_option("all")
    files = [record for model in MODELS for record in run.records(model)]
    digest = next(one.sha256 for one in run.records("gan") if one.index == 3)
    black = sorted({one.index + 1 for one in files if one.sha256 == digest})
    for kind, wanted in {"refused": [6], "failed": [10], "black": black}.items():
        page.locator("#controls").get_by_label("Failures").select_option(kind)
        assert numbers(page) == wanted
    page.locator("#controls").get_by_label("Failures").select_option("all prompts")
    page.locator("body").click(position={"x": 1, "y": 1})
    page.keyboard.press("f")
    assert numbers(page) == sorted([*black, 6, 10])
    expect(page.locator("#count")).to_have_text(f"{len(black) + 2} of 24 prompts")
    assert address(page) == "#images?only=any"
    page.keyboard.press("f")
    assert len(numbers(page)) == COUNT


def test_blind_mode_hides_names_order_and_scores(opened: Callable[..., Any]) -> None:
    page = opened("#images?blind=77")
    tiles = page.locator("#gallery > li").nth(1).locator("li:not(.sample)")
    assert [text[0] for text in tiles.all_text_contents()[:3]] == ["A", "B", "C"]
    shown = "".join(page.locator("#gallery ul").all_text_contents())
    assert "blocked by the <safety> filter" in shown
    for word in ("dalle", "gan", HOSTILE_MODEL):
        assert word not in shown
    links = [link.get_attribute("href") for link in page.locator("#gallery a[href]").all()]
    assert {*links} == {"#images"}  # no address of an image
    orders = {
        tuple(re.findall(r"images/(\w+)", " ".join(
            image.get_attribute("src") for image in row.locator("img").all()[:3])))
        for row in page.locator("#gallery > li").all()
    }  # fmt: skip
    assert len(orders) > 3
    page.keyboard.press("o")
    assert names(page) == ["A", "B", "C"]
    expect(page.locator("#stage em")).to_have_count(0)
    sources = [image.get_attribute("src") for image in page.locator("#stage img").all()]
    page.keyboard.press("n")
    assert sorted(names(page)) == sorted(MODELS)
    expect(page.locator("#stage em")).to_have_count(3)
    after = [image.get_attribute("src") for image in page.locator("#stage img").all()]
    assert after == sources  # each stays at its place
    page.keyboard.press("ArrowDown")
    assert names(page) == ["A", "B", "C"]
    page.keyboard.press("b")
    assert names(page) == list(MODELS)
    assert "blind" not in address(page)


def test_while_blind_no_order_tells_whose_image_is_better(opened: Callable[..., Any]) -> None:
    page = opened("#images?blind=77&sort=1&minus=0")
    assert numbers(page) == list(range(1, COUNT + 1))
    order = page.locator("#controls").get_by_label("Order")
    assert order.input_value() == ""
    offered = order.locator("option:not([disabled])").all_text_contents()
    assert offered == ["prompt list", "mean score", "largest difference of models"]
    expect(page.locator("#minus")).to_be_hidden()
    page.locator("body").click(position={"x": 1, "y": 1})
    page.keyboard.press("b")
    assert order.locator("option:not([disabled])").count() == 3 + len(MODELS)
    order.select_option("score of gan")
    page.locator("body").click(position={"x": 1, "y": 1})
    page.keyboard.press("b")
    assert numbers(page) == list(range(1, COUNT + 1))


def test_each_sample_has_a_row_with_its_label(opened: Callable[..., Any]) -> None:
    for fragment in ("", "#images?blind=77"):
        items = opened(fragment).locator("#gallery > li").first.locator("li")
        texts = [text.strip() for text in items.all_text_contents()]
        assert [place for place, text in enumerate(texts) if text.startswith("Sample")] == [0, 4]
        assert (texts[0], texts[4]) == ("Sample 1", "Sample 2")
        tops = [item.bounding_box()["y"] for item in items.all()]
        assert len({*tops[1:4]}) == len({*tops[5:]}) == 1
        assert tops[1] < tops[4] < tops[5]


def test_the_amount_of_a_difference_is_shown(opened: Callable[..., Any], run: Run) -> None:
    """It is one of the means of models: the samples of one model are no difference."""
    page = opened("#images?sort=spread")
    found = [text.split(" · ") for text in page.locator(f"{ROWS} > p + p").all_text_contents()]
    amounts = {int(parts[0]): parts[-1] for parts in found if "difference" in parts[-1]}
    facts = read_facts(run.path)
    digits = facts.score_digits
    for number, said in amounts.items():
        means = [
            round(facts.scores[model, number - 1, 0], digits)
            for model in MODELS
            if (model, number - 1, 0) in facts.scores
        ]
        expected = max(means) - min(means)
        assert float(said.removeprefix("largest difference ")) == pytest.approx(expected, abs=1e-6)
    assert len(amounts) == COUNT
    assert (
        "gan \u2212 dalle"
        in opened("#images?sort=1&minus=0").locator(f"{ROWS} > p + p").first.text_content()
    )


def test_size_of_the_images(opened: Callable[..., Any]) -> None:
    page = opened()
    image = page.locator("#gallery img").first
    width = image.bounding_box()["width"]
    page.keyboard.press("+")
    assert image.bounding_box()["width"] == width + 16
    assert address(page) == "#images?size=9"


def test_letters_can_be_switched_off(opened: Callable[..., Any]) -> None:
    page = opened()
    page.keyboard.press("?")
    page.get_by_role("checkbox").uncheck()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.keyboard.press("o")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_without_javascript_all_images_are_there(opened: Callable[..., Any]) -> None:
    page = opened(java_script_enabled=False)
    assert page.locator("#gallery img").count() == 2 * (3 * COUNT - 2)
    expect(page.locator("#controls")).to_be_hidden()
    expect(page.get_by_text("refused: blocked by the <safety> filter").first).to_be_visible()
    tile = page.locator("#gallery > li").first.get_by_role("link").first
    assert "dalle" in tile.text_content()
    tile.click()
    assert page.url.endswith(".png")


def test_print_names_the_model_of_each_image(opened: Callable[..., Any]) -> None:
    page = opened("#images?size=20")
    page.emulate_media(media="print")
    expect(page.locator("#controls")).to_be_hidden()
    row = page.locator("#gallery > li").nth(1)
    for tile, name in zip(row.locator("li:not(.sample)").all(), MODELS, strict=False):
        assert tile.text_content().startswith(name)
        assert tile.bounding_box()["width"] < 100  # not the size on the screen
    until(page, "[...document.querySelectorAll('#gallery img')].every((one) => one.complete)")
    assert page.pdf().count(b"/Subtype /Image") > 10  # the images are loaded


def test_a_phone_by_touch(opened: Callable[..., Any]) -> None:
    page = opened(**PHONE)
    page.locator("#gallery > li").nth(1).get_by_role("link").first.tap()
    box = page.locator("#stage img").first.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    swipe = """(to) => {
      const at = (x) => [new Touch({ identifier: 1, target: zoom, clientX: x, clientY: 400 })];
      const zoom = document.getElementById("zoom");
      zoom.dispatchEvent(new TouchEvent("touchstart", { touches: at(200) }));
      zoom.dispatchEvent(new TouchEvent("touchend", { changedTouches: at(to) }));
    }"""
    page.evaluate(swipe, 90)
    expect(page.locator("#zoom-facts")).to_contain_text("No. 3 ")
    page.evaluate(swipe, 310)
    expect(page.locator("#zoom-facts")).to_contain_text("No. 2 ")
    buttons = page.get_by_role("dialog").get_by_role("button").all()
    assert all(button.bounding_box()["height"] >= 44 for button in buttons if button.is_visible())


@pytest.mark.parametrize("kind", ["zip", "single file"])
def test_what_is_mailed_works_elsewhere(
    kind: str, run: Run, tmp_path: Path, open_context: Callable[..., Any]
) -> None:
    if kind == "zip":
        zipfile.ZipFile(run.report_path / "run.zip").extractall(tmp_path)
        path = tmp_path / "run" / "report" / "index.html"
    else:
        path = Path(shutil.copy(run.report_path / "run.html", tmp_path))
    page = open_context().new_page()
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.goto(path.as_uri())
    page.evaluate("for (const image of document.images) image.loading = 'eager'")
    until(page, "[...document.images].every((image) => image.complete)")
    loaded = "[...document.querySelectorAll('#gallery img')].filter((one) => one.naturalWidth > 0)"
    assert page.evaluate(f"{loaded}.length") == 2 * (3 * COUNT - 2)
    page.keyboard.press("o")
    assert names(page) == list(MODELS)
    until(page, "[...document.images].every((image) => image.complete)")
    assert page.evaluate("document.querySelector('#stage img').naturalWidth") == 32
    assert not failed


def test_axe_finds_no_violation(opened: Callable[..., Any]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for screen in ("", "?at=3", "?at=3&blind=1"):
        for options in ({"color_scheme": "light"}, {"color_scheme": "dark"}, PHONE):
            page = opened(f"#images{screen}", **options)
            if screen.endswith("blind=1"):
                page.keyboard.press("?")
            result = axe.run(page)
            assert not result.violations_count, (options, screen, result.generate_report())
