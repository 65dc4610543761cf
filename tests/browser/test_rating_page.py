"""The page on which people rate, in a real browser, with the real server."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rating_server import MODELS, make_rated_run, serving

from evalkit.ratings.files import read_ratings

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
READY = "body[data-screen=rating][data-ready=true]"
KEYS = {  # of each mode, in the order in which the tests press them, and what is stored
    "pairwise": {"ArrowLeft": "left", "ArrowRight": "right", "0": "tie", "b": "both_bad"},
    "scale": {"1": "1", "5": "5", "3": "3", "x": "cannot_tell", "2": "2", "4": "4"},
    "checklist": {"y": "yes", "n": "no", "x": "cannot_tell", "1": "yes", "2": "no"},
}
KEYS["pairwise"]["x"] = "cannot_tell"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def started(context: Any, link: str) -> Any:
    """A page at its first item."""
    page = context.new_page()
    page.goto(link)
    page.get_by_role("button", name="Start").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_selector(READY)
    return page


def press(page: Any, *keys: str) -> None:
    """Press each key once the item can be answered."""
    for key in keys:
        page.wait_for_selector(READY)
        page.keyboard.press(key)


def count(page: Any) -> str:
    return page.locator("#count").inner_text()


def at(page: Any) -> str:
    """The text of the item on the screen."""
    page.wait_for_selector(READY)
    return page.get_by_role("heading", level=2).inner_text()


def wait_for_rows(study: Any, rater: str, number: int) -> list[Any]:
    for _ in range(100):
        rows = study.rows(rater)
        if len(rows) >= number:
            return rows
        time.sleep(0.05)
    raise AssertionError(f"{len(rows)} rows, expected {number}: {rows}")


@pytest.mark.parametrize("mode", KEYS)
def test_a_whole_study_is_rated_by_keyboard_alone(
    mode: str, studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies(mode)
    link, rater = study.take_rater()
    page = started(open_context(), link)
    pressed = []
    while not page.get_by_role("heading", name="Thank you").is_visible():
        page.wait_for_selector(f"{READY}, [data-screen=finish]")
        if page.locator(READY).count():
            key = list(KEYS[mode])[len(pressed) % len(KEYS[mode])]
            pressed.append(KEYS[mode][key])
            page.keyboard.press(key)
    rows = study.rows(rater)
    total = int(count(page).split(" of ")[1])
    questions = Counter(row.question for row in rows)
    assert set(questions.values()) == {total}
    assert [side(row) for row in rows] == pressed
    assert [row.position for row in rows] == sorted(row.position for row in rows)
    assert {row.revision for row in rows} == {0}
    assert all(200 <= row.ms < 60_000 and row.started_at for row in rows)
    assert not any(model in page.content() for model in MODELS)

    page.keyboard.press("u")  # the last answer, changed
    other = {"pairwise": ("0", "b"), "scale": ("1", "2"), "checklist": ("y", "n")}[mode]
    press(page, other[pressed[-1] == KEYS[mode][other[0]]])
    page.get_by_role("heading", name="Thank you").wait_for()
    last = study.rows(rater)[-1]
    assert (last.item, last.question, last.revision) == (rows[-1].item, rows[-1].question, 1)
    assert last.response != rows[-1].response


def side(row: Any) -> str:
    """left or right for the label of a model."""
    if row.response not in MODELS:
        return row.response
    return "left" if row.response == row.shown_left else "right"


def test_a_reload_goes_on_where_the_rater_was(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies("scale")
    link, rater = study.take_rater()
    page = started(open_context(), link)
    press(page, "4", "5")
    before = (at(page), page.locator("#question").inner_text(), page.locator("#step").inner_text())
    assert before[2] == "Question 3 of 3"
    page.reload()
    page.wait_for_selector(READY)  # and no instructions again
    assert before == (
        at(page),
        page.locator("#question").inner_text(),
        page.locator("#step").inner_text(),
    )
    press(page, "u")
    pleasing = page.get_by_role("button", name="Beautiful", pressed=True)
    expect(pleasing).to_be_visible()
    press(page, "Escape")
    expect(page.locator("#step")).to_have_text("Question 3 of 3")
    assert [row.response for row in study.rows(rater)] == ["4", "5"]


def test_the_back_button_shows_the_earlier_item_and_its_answer_can_be_changed(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies("pairwise")
    link, rater = study.take_rater()
    page = started(open_context(), link)
    first = at(page)
    press(page, "0")
    second = at(page)
    press(page, "b")
    third = at(page)
    page.go_back()
    page.go_back()
    expect(page.get_by_role("button", name="Tie", pressed=True)).to_be_visible()
    assert at(page) == first
    page.go_forward()
    assert at(page) == second
    press(page, "ArrowRight")
    assert at(page) == third
    rows = wait_for_rows(study, rater, 3)
    assert [(row.position, side(row), row.revision) for row in rows] == [
        (1, "tie", 0),
        (2, "both_bad", 0),
        (2, "right", 1),
    ]


def test_two_tabs_ask_nothing_twice(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies("pairwise")
    link, rater = study.take_rater()
    context = open_context()
    one = started(context, link)
    two = started(context, link)
    first = at(two)
    press(one, "0")
    expect(two.locator("#prompt")).not_to_have_text(first)
    assert at(one) == at(two)
    for tab in (one, two, two, one):
        press(tab, "b")
        expect(one.locator("#count")).to_have_text(count(tab))
        expect(two.locator("#count")).to_have_text(count(tab))
        assert at(one) == at(two)
    two.keyboard.press("p")
    press(one, "x")
    one.get_by_role("heading", name="Thank you").wait_for()
    expect(two.get_by_role("heading", name="Paused")).to_be_visible()
    two.keyboard.press("Enter")
    two.get_by_role("heading", name="Thank you").wait_for()
    rows = study.rows(rater)
    assert [(row.position, row.revision) for row in rows] == [(at, 0) for at in range(1, 7)]


def test_keys_and_buttons_do_nothing_before_all_images_have_loaded(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies("pairwise")
    link, rater = study.take_rater()
    page = open_context().new_page()
    held: list[Any] = []
    page.route("**/images/*", lambda route: held.append(route))
    page.goto(link)
    page.get_by_role("button", name="Start").click()
    images = page.locator("#frames img")
    boxes = [images.nth(at).bounding_box() for at in (0, 1)]
    assert all(box["width"] > 300 and box["width"] == 1.5 * box["height"] for box in boxes)
    page.wait_for_timeout(500)
    held.pop(0).continue_()  # one image is not enough
    page.wait_for_timeout(200)
    page.keyboard.press("0")
    page.get_by_role("button", name="Both bad").click()
    assert (count(page), page.locator(READY).count()) == ("0 of 6", 0)
    page.unroute("**/images/*")  # lets those go that are held
    press(page, "x")
    [row] = wait_for_rows(study, rater, 1)
    assert (row.response, boxes) == (
        "cannot_tell",
        [images.nth(at).bounding_box() for at in (0, 1)],
    )
    assert row.ms < 500  # the wait is not counted


def test_a_broken_image_can_be_loaded_again_or_be_left_unrated(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies("pairwise")
    link, rater = study.take_rater()
    page = open_context().new_page()
    page.route("**/images/*", lambda route: route.fulfill(status=500))
    page.goto(link)
    page.get_by_role("button", name="Start").press("Enter")
    expect(page.get_by_text("This image did not load.").first).to_be_visible()
    press(page, "ArrowLeft", "0")
    assert count(page) == "0 of 6"
    press(page, "x")
    expect(page.locator("#count")).to_have_text("1 of 6")
    page.unroute("**/images/*")
    page.get_by_role("button", name="Retry").first.click()
    expect(page.get_by_text("This image did not load.").first).to_be_hidden()
    press(page, "ArrowLeft")
    rows = wait_for_rows(study, rater, 2)
    assert [side(row) for row in rows] == ["cannot_tell", "left"]


def test_rating_goes_on_offline_and_no_answer_is_lost(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies("pairwise")
    link, rater = study.take_rater()
    context = open_context()
    page = started(context, link)
    page.wait_for_load_state("networkidle")  # the next images are there
    context.set_offline(True)
    press(page, "0", "b", "x")
    expect(page.get_by_role("status")).to_contain_text("You are offline. 3 answers are kept")
    assert (count(page), study.rows(rater)) == ("3 of 6", [])
    press(page, "0", "b")  # all that is known
    expect(page.get_by_text("The next items cannot be loaded now.")).to_be_visible()
    context.set_offline(False)
    expect(page.get_by_role("status")).to_be_empty()
    press(page, "x")
    page.get_by_role("heading", name="Thank you").wait_for()
    assert [row.response for row in study.rows(rater)] == [
        "tie",
        "both_bad",
        "cannot_tell",
        "tie",
        "both_bad",
        "cannot_tell",
    ]


def test_answers_of_a_closed_page_are_sent_by_the_next_one(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies("checklist")
    link, rater = study.take_rater()
    context = open_context()
    page = started(context, link)
    page.route("**/api/votes", lambda route: route.abort())
    press(page, "y", "n", "x")
    expect(page.get_by_role("status")).to_contain_text("3 answers are kept in this browser")
    page.close(run_before_unload=False)
    assert study.rows(rater) == []
    other_link, other = study.take_rater()  # another rater in the same browser: not their answers
    started(context, other_link)
    assert (study.rows(rater), study.rows(other)) == ([], [])
    page = context.new_page()
    page.goto(link)
    assert [row.response for row in wait_for_rows(study, rater, 3)] == ["yes", "no", "cannot_tell"]
    page.wait_for_selector(READY)
    assert (count(page), study.rows(other)) == ("1 of 3", [])


def test_a_lost_reply_stores_an_answer_once(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies("pairwise")
    link, rater = study.take_rater()
    page = started(open_context(), link)
    lost = []

    def lose(route: Any) -> None:
        lost.append(route.fetch())  # the server has stored it
        route.abort()

    page.route("**/api/votes", lose, times=1)
    press(page, "0", "b")
    expect(page.get_by_role("status")).to_be_empty(timeout=5000)
    rows = wait_for_rows(study, rater, 2)
    assert ([row.response for row in rows], len(lost)) == (["tie", "both_bad"], 1)


def test_a_link_that_is_not_known_any_more_is_a_sentence(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies("pairwise")
    link, rater = study.take_rater()
    context = open_context()
    page = started(context, link)
    context.clear_cookies()
    press(page, "0")
    page.get_by_role("heading", name="The study cannot go on here").wait_for()
    expect(page.locator("#sentence")).to_contain_text("Open the link that you were given.")
    expect(page.locator("#sentence")).to_contain_text("Answers kept in this browser: 1.")
    page.goto(link)
    assert [row.response for row in wait_for_rows(study, rater, 1)] == ["tie"]


def test_an_answer_of_another_raters_page_is_not_mixed_in(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies("pairwise")
    (link, rater), (other_link, other) = study.take_rater(), study.take_rater()
    context = open_context()
    page = started(context, link)
    started(context, other_link)  # the cookie is theirs now
    press(page, "0")
    expect(page.locator("#sentence")).to_contain_text("Reload the page")
    assert (study.rows(rater), study.rows(other)) == ([], [])
    page.goto(link)
    assert [row.response for row in wait_for_rows(study, rater, 1)] == ["tie"]


def test_an_answer_that_the_server_refuses_is_said_and_asked_again(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies("pairwise")
    link, rater = study.take_rater()
    page = started(open_context(), link)

    def refuse(route: Any) -> None:
        [vote] = route.request.post_data_json["votes"]
        rejected = [{"id": vote["id"], "reason": "ms is not a number"}]
        route.fulfill(json={"accepted": [], "rejected": rejected})

    page.route("**/api/votes", refuse, times=1)
    first = at(page)
    press(page, "0")
    expect(page.get_by_role("status")).to_have_text(
        "An answer was not accepted: ms is not a number"
    )
    expect(page.locator("#count")).to_have_text("0 of 6")
    press(page, "b")
    assert at(page) == first
    press(page, "x")
    rows = wait_for_rows(study, rater, 2)
    assert [(row.position, row.response) for row in rows] == [(2, "both_bad"), (1, "cannot_tell")]


def test_a_killed_server_loses_no_answer(tmp_path: Path, open_context: Callable[..., Any]) -> None:
    run = make_rated_run(tmp_path / "run", 4)
    with serving(run.path) as server:
        page = started(open_context(), server.links[0])
        press(page, "0", "b")
        page.wait_for_load_state("networkidle")
        server.kill()
    press(page, "x")
    expect(page.get_by_role("status")).to_have_text(
        "The server does not answer. 1 answer is kept in this browser and sent when the "
        "connection is back."
    )
    with serving(run.path, port=server.port):
        expect(page.get_by_role("status")).to_be_empty(timeout=15_000)
        press(page, "0")
        page.get_by_role("heading", name="Thank you").wait_for()
    rows = read_ratings(run.rater_path("rater-1"))[0]
    assert [(row.position, row.response) for row in rows] == [
        (1, "tie"),
        (2, "both_bad"),
        (3, "cannot_tell"),
        (4, "tie"),
    ]


def test_one_press_is_one_answer(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies("pairwise")
    link, rater = study.take_rater()
    page = started(open_context(), link)
    for _ in range(8):
        page.keyboard.down("0")  # held down: the key repeats
        page.wait_for_timeout(60)
    page.keyboard.up("0")
    expect(page.locator("#count")).to_have_text("1 of 6")
    page.wait_for_selector(READY)
    page.get_by_role("button", name="Both bad").dblclick()
    press(page, "Control+0", "Alt+b")  # the browser's own keys
    expect(page.locator("#count")).to_have_text("2 of 6")
    page.keyboard.press("?")
    page.get_by_role("checkbox").uncheck()
    page.get_by_role("button", name="Close").click()
    press(page, "0", "b")  # letters and digits are off
    expect(page.locator("#count")).to_have_text("2 of 6")
    press(page, "ArrowLeft")
    expect(page.locator("#count")).to_have_text("3 of 6")
    assert len(wait_for_rows(study, rater, 3)) == 3


def test_pauses_help_and_hidden_tabs_are_not_counted(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies("pairwise")
    link, rater = study.take_rater()
    page = started(open_context(), link)
    page.keyboard.press("p")
    expect(page.get_by_role("heading", name="Paused")).to_be_visible()
    page.keyboard.press("0")
    page.wait_for_timeout(700)
    page.keyboard.press("Enter")
    page.wait_for_selector(READY)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("0")
    page.wait_for_timeout(700)
    page.keyboard.press("Escape")
    hide = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(
        f"Object.defineProperty(document, 'hidden', {{value: true, writable: true}}); {hide}"
    )
    page.wait_for_timeout(700)
    page.evaluate(f"document.hidden = false; {hide}")
    press(page, "b")
    [row] = wait_for_rows(study, rater, 1)
    assert (row.response, row.ms < 1400) == ("both_bad", True)


def test_zoom_and_comparison(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    link, _ = studies("pairwise").take_rater()
    page = started(open_context(), link)
    left, right = page.locator("#frames img").all()
    fit = left.bounding_box()["width"]
    assert fit > 5 * 96  # small images are enlarged
    page.keyboard.press("z")
    assert left.bounding_box()["width"] == pytest.approx(2 * fit)
    moved = [image.bounding_box()["x"] for image in (left, right)]
    page.keyboard.press("ArrowRight")  # moves both images, and is no answer
    moves = [moved[0] - left.bounding_box()["x"], moved[1] - right.bounding_box()["x"]]
    assert moves[0] == moves[1] > 0
    page.keyboard.press("Escape")
    assert left.bounding_box()["width"] == fit
    page.keyboard.press("Space")
    assert (left.is_visible(), right.is_visible()) == (True, False)
    place = left.bounding_box()
    page.keyboard.press("Space")
    assert (left.is_visible(), right.is_visible()) == (False, True)
    assert right.bounding_box() == place
    expect(page.locator("#live")).to_have_text("Right image")
    page.keyboard.press("Escape")
    assert left.is_visible()
    assert right.is_visible()
    assert count(page) == "0 of 6"


@pytest.mark.parametrize("mode", KEYS)
def test_a_phone_shows_all_on_one_screen(
    mode: str, studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    study = studies(mode)
    link, rater = study.take_rater()
    page = open_context(**PHONE).new_page()
    page.goto(link)
    page.get_by_role("button", name="Start").tap()
    page.wait_for_selector(READY)
    size = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    assert size == [390, 844]
    buttons = [button for button in page.get_by_role("button").all() if button.is_visible()]
    assert all(button.bounding_box()["height"] >= 44 for button in buttons)
    places = [button.bounding_box() for button in buttons]
    if mode == "pairwise":
        tops = [image.bounding_box()["y"] for image in page.locator("#frames img").all()]
        assert tops[0] < tops[1]
        page.get_by_role("button", name="Top image").tap()
    else:
        page.locator("#options").get_by_role("button").first.tap()
    page.wait_for_selector(READY)
    assert [button.bounding_box() for button in buttons] == places  # nothing jumps
    [row] = wait_for_rows(study, rater, 1)
    assert side(row) == {"pairwise": "left", "scale": "1", "checklist": "yes"}[mode]


def test_a_screen_reader_finds_landmarks_names_and_announcements(
    studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    link, _ = studies("pairwise").take_rater()
    page = started(open_context(), link)
    assert page.get_by_role("banner").get_by_role("progressbar", name="Progress").count() == 1
    main = page.get_by_role("main")
    answers = main.get_by_role("group", name="Which image is the better answer to the text?")
    names = [re.sub(r"\s+", " ", line) for line in answers.aria_snapshot().splitlines()[1:]]
    assert names == [
        f' - button "{name}"'
        for name in ("Left image", "Tie", "Both bad", "Can\u2019t tell", "Right image")
    ]
    assert [image.get_attribute("alt") for image in main.get_by_role("img").all()] == [
        "Left image",
        "Right image",
    ]
    live = page.locator("[aria-live=polite]")
    text = at(page)
    assert live.inner_text().startswith(f"Item 1 of 6. {text}. Which image")
    page.keyboard.press("Tab")
    answers.get_by_role("button", name="Tie").focus()
    page.keyboard.press("Space")  # the button with the focus, not the comparison
    expect(live).to_contain_text(re.compile(r"^Tie\. Item 2 of 6\. "))
    expect(answers.get_by_role("button", name="Tie")).to_be_focused()  # the focus stays
    press(page, "u")
    expect(live).to_contain_text("Your answer: Tie.")
    page.get_by_role("button", name="Keep answer").press("Enter")
    expect(live).to_contain_text("Item 2 of 6.")


@pytest.mark.parametrize("mode", KEYS)
def test_axe_finds_no_violation(
    mode: str, studies: Callable[[str], Any], open_context: Callable[..., Any]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    link, _ = studies(mode).take_rater()
    page = open_context().new_page()
    page.goto(link)
    page.get_by_role("button", name="Start").wait_for()

    def check(screen: str, *settings: str) -> None:
        for setting in settings or ("light 1280 800", "dark 390 844"):
            scheme, width, height = setting.split()
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.set_viewport_size({"width": int(width), "height": int(height)})
            result = axe.run(page)
            assert not result.violations_count, (screen, setting, result.generate_report())

    check("instructions")
    page.keyboard.press("Enter")
    press(page, "x", "u")
    page.wait_for_selector(READY)
    check("an item", "dark 1280 800", "light 390 844", "light 844 390")
    check("an item")
    if mode != "pairwise":
        return
    for key, screen in {"z": "zoom", "Escape": "", "?": "help"}.items():
        page.keyboard.press(key)
        if screen:
            check(screen)
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    check("pause")
    page.keyboard.press("Enter")
    press(page, "Escape", *"00000")
    page.get_by_role("heading", name="Thank you").wait_for()
    check("the end")
