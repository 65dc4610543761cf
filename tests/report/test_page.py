"""The order of the page, its tables, and that its numbers are those of the files."""

from __future__ import annotations

import html
import re

import pytest
from odd_runs import FIFTY, LONG, ODD, WORDS
from page_tables import Tables
from report_runs import Page, make_comparisons, make_run

from evalkit.report.facts import read_facts
from evalkit.report.html import to_html
from evalkit.report.markdown import to_markdown
from evalkit.report.report import report
from evalkit.report.sections import contexts
from evalkit.run_folder import Run

# As a number of the page; thousands have separators, and a minus sign is U+2212.
NUMBER = re.compile(r"\u2212?\d[\d,]*(?:\.\d+)?")


def written(run: Run) -> str:
    """The page without charts, which take most of the time."""
    facts = read_facts(run.path, scored=False)
    return to_html(facts, [], contexts(facts))


def is_rounded(shown: str, value: float) -> bool:
    """Whether a number of the page is the value, to the last shown digit."""
    digits = len(shown.partition(".")[2])
    number = float(shown.replace("\u2212", "-").replace(",", ""))
    return abs(number - value) <= 0.5 * 10.0**-digits * (1 + 1e-9)


def test_order_of_the_page(tmp_path):
    run = make_run(tmp_path / "run", 12, hostile=False)
    make_comparisons(run, ("dalle", "gan"))
    text = written(run)
    order = [
        "<h1>dalle and gan on 12 prompts</h1>", "2 models, 12 prompts", 'class="answers"',
        'class="strip"', 'class="summary sortable"', 'class="summary pairwise sortable"',
        'id="groups"', 'id="charts"', 'id="gallery"', 'id="outcomes"', 'id="protocol"',
    ]  # fmt: skip
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_numbers_of_the_results_are_those_of_metrics_json(run):
    text = (run.report_path / "index.html").read_text(encoding="utf-8")
    rows = {(row.model, row.metric): row for row in run.metrics() if not row.group}
    titles = {entry["title"]: name for name, entry in run.protocol()["measures"].items()}
    seen = set()
    for table in Tables(text).of_class("sortable")[:2]:
        head = next(row for row in table if row[0].text == "Model")
        names = [next(name for title, name in titles.items() if cell.text.startswith(title + " "))
                 for cell in head[1:]]  # fmt: skip
        for line in table[table.index(head) + 1 :]:
            for name, cell in zip(names, line[1:], strict=True):
                row = rows[line[0].text, name]
                seen.add((row.model, row.metric))
                if row.value is None:
                    assert cell.text.startswith("not measured")
                    assert "data-value" not in cell.attributes
                    continue
                assert float(cell.attributes["data-value"] or "") == row.value
                shown = NUMBER.findall(cell.text)
                ends = [end for end in (row.low, row.high) if end is not None]
                in_ms = row.metric.startswith("latency")  # all are below a second
                expected = [row.value * (1000 if in_ms else 1), *ends, row.count]
                expected += [row.requested] if row.requested > row.count else []
                expected += [row.baseline] if row.baseline is not None else []
                assert len(shown) == len(expected), (cell.text, expected)
                assert all(map(is_rounded, shown, expected)), (cell.text, expected)
    assert seen == set(rows)


def test_numbers_of_the_differences_are_those_of_comparisons_json(tmp_path):
    run = make_run(tmp_path / "run", 12, hostile=False)
    make_comparisons(run, ("dalle", "gan"))
    comparisons = run.comparisons()
    assert comparisons is not None
    [table] = Tables(written(run)).of_class("pairwise")
    for row, cells in zip(comparisons.rows, table[1:], strict=True):
        shown = NUMBER.findall(cells[2].text.replace("95%", "").replace("+", ""))
        ends = (row.low, row.high, row.low_adjusted, row.high_adjusted)
        expected = [row.difference, *(end for end in ends if end is not None)]
        if row.low is None:
            assert "no interval" in cells[2].text
            shown = shown[:1]
        assert len(shown) == len(expected)
        assert all(map(is_rounded, shown, expected)), (cells[2].text, expected)


def test_bold_is_only_what_is_significant(tmp_path):
    run = make_run(tmp_path / "run", 12, hostile=False)
    assert "value leads" not in written(run)
    make_comparisons(run, ("dalle", "gan"))
    assert written(run).count("value leads") == 1  # FID of dalle
    assert '<span class="value leads">38.1<' in written(run)


def test_the_strip_shows_all_models_for_a_fixed_sample(tmp_path):
    run = make_run(tmp_path / "run", 40, ("dalle", "gan", "third"), hostile=False)
    text = written(run)
    [strip] = re.findall(r'<figure class="strip">(.*?)</figure>', text, re.DOTALL)
    images = Page(strip).attributes("img")
    assert len({values["src"] for values in images}) == len(images) > 20
    assert all("loading" not in values for values in images)  # they are on the first screen
    assert "for 8 of 40 prompts, a fixed sample without selection" in strip
    numbers = [re.findall(r"Prompt (\d+), ", str(values["alt"]))[0] for values in images]
    shown = to_markdown(facts := read_facts(run.path), [], contexts(facts))
    assert set(numbers) == set(re.findall(r"^\| (\d+)\. ", shown, re.MULTILINE))  # as in report.md


def test_speed_and_raters_have_tables_of_their_own(tmp_path):
    run = make_run(tmp_path / "run", 12, hostile=False)
    titles = re.findall(r'<h3 id="results-\d">(.*?)</h3>', written(run))
    assert titles == ["Image metrics", "Speed and cost"]  # and no raters, as nobody was asked


def test_the_footer_links_every_table(run):
    text = (run.report_path / "index.html").read_text(encoding="utf-8")
    linked = re.findall(r'href="tables/(.*?)"', text)
    assert linked == sorted(path.name for path in (run.report_path / "tables").iterdir())


def test_each_difference_is_read_by_itself(tmp_path):
    """A row names its metric and its pair: it can be sorted, and it is a card on a phone."""
    models = ("a", "b", "c")
    run = make_run(tmp_path / "run", 12, models, hostile=False)
    make_comparisons(run, models)
    [table] = Tables(written(run)).of_class("pairwise")
    assert {len(row) for row in table} == {6}
    assert all(row[0].text.startswith(("FID", "KID", "CLIP score")) for row in table[1:])
    comparisons = run.comparisons()
    assert comparisons is not None
    for row, cells in zip(comparisons.rows, table[1:], strict=True):
        assert float(cells[2].attributes["data-value"] or "") == row.difference


def test_tables_are_read_without_a_script(run):
    text = (run.report_path / "index.html").read_text(encoding="utf-8")
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    assert len(tables) > 5
    assert not [table for table in tables if "aria-sort" in table or "<button" in table]


@pytest.mark.parametrize("name", [name for name in ODD if name != "fifty models"])
def test_odd_runs_have_a_sensible_page(tmp_path, name):
    text = written(ODD[name](tmp_path / "run"))
    page = Page(text)
    assert {"findings", "protocol"} <= set(page.ids)
    assert re.search(r"\bnan\b|\bNone\b|\binf\b", re.sub(r"<style>.*?</style>", "", text)) is None
    assert "evalkit report" in text
    expected = {
        "one model": "1 model, 12 prompts",
        "one prompt": "The image of every model for the prompt.",
        "not scored": "<code>evalkit score</code> measures the images of this run",
        "no images": "0 of 24 images were generated (24 missing)",
        "deleted images": "the file is missing or is not an image",
        "no values": "Not measured: it is NaN.",
        "right to left": html.escape(WORDS["right to left"][0]),
        "emoji": html.escape(WORDS["emoji"][0]),
        "long": LONG.strip(),
    }
    assert expected[name] in text
    prompts = [values for _, values in page.tags if "prompt" in str(values.get("class")).split()]
    assert all(values.get("dir") == "auto" for values in prompts)


def test_a_run_that_is_not_scored_has_a_whole_report(tmp_path):
    run = ODD["not scored"](tmp_path / "run")
    text = report(run.path).read_text(encoding="utf-8")
    assert 'id="results"' not in text
    assert 'id="charts"' not in text
    assert len({values["src"] for values in Page(text).attributes("img") if "src" in values}) == 22
    assert "<summary>Images" in (run.report_path / "report.md").read_text(encoding="utf-8")


def test_fifty_models_have_short_names_and_few_comparisons(tmp_path):
    run = ODD["fifty models"](tmp_path / "run")
    text = written(run)
    assert "<h1>50 models on 12 prompts</h1>" in text
    assert len(text) < 1_500_000
    head, *rows = Tables(text).of_class("sortable")[0]
    names = [row[0].text for row in rows]
    assert len(names) == len(set(names)) == 50
    assert all(len(name) <= 24 for name in names)
    titles = {values.get("title") for values in Page(text).attributes("bdi")}
    assert set(FIFTY) <= titles  # the whole names
    assert head[0].text == "Model"
    assert "Shown: the 147 comparisons with the best model of each metric. All 3,675 are" in text
    verdicts = re.findall(r'<p class="verdict">(.*?)</p>', text)
    assert max(map(len, verdicts)) < 800  # six names of 54 characters, twice
