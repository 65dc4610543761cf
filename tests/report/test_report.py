"""The report states what the folder holds, whatever people wrote into it, and opens without a
network.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html.parser
import io
import itertools
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image, ImageDraw

from evalkit.core import EvalkitError, MetricRow, Prompt, Record
from evalkit.escape import attribute, latex, markdown, visible
from evalkit.files import write_atomically
from evalkit.report.facts import read_facts
from evalkit.report.findings import compare, floor_at
from evalkit.report.html import render
from evalkit.report.markdown import metrics_table
from evalkit.report.report import report
from evalkit.run_folder import Run

HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    '"><svg onload=alert(1)> & &amp; \' onmouseover="alert(3)"',
    "a | pipe, a \\ backslash, `code` and *stars* _under_ [link](https://example.com) ![x](//example.com/x.png)",
    r"$\LaTeX_{}$ 100% of #1 & ~^ \input{/etc/passwd}",
    "right\u202eto left\u202c, \x1b[31mred\x1b[0m, zero\u200bwidth, שלום עולם",
    "{{ 7 * 7 }} {% raw %} </title></style></script>",
    "=cmd|' /C calc'!A0",
    "a very long prompt " * 26,
]
SIZES = {"dalle": 32, "gan": 32, "other/models $x_1$ <b>": 96}


def picture(rng: random.Random, side: int) -> bytes:
    image = Image.new("RGB", (side, side), tuple(rng.randrange(90, 240) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        x, y, r = rng.randrange(side), rng.randrange(side), rng.randrange(side // 6, side // 3)
        colour = tuple(rng.randrange(256) for _ in range(3))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(
            (x - r, y - r, x + r, y + r), fill=colour
        )
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def make_prompts(count: int, hostile: bool) -> list[Prompt]:
    rng = random.Random(1)
    groups = {
        "object": lambda: (
            f"a photo of a {rng.choice(['dog', 'cat', 'zebra', 'bus', 'pizza', 'kite'])}"
        ),
        "colour": lambda: (
            f"a {rng.choice(['red', 'blue', 'green'])} {rng.choice(['circle', 'car', 'umbrella'])} on grass"
        ),
        "count": lambda: (
            f"{rng.choice(['two', 'three', 'four'])} {rng.choice(['apples', 'birds', 'clocks'])} on the beach"
        ),
        "position": lambda: (
            f"a {rng.choice(['cow', 'cup'])} left of a {rng.choice(['chair', 'horse'])}"
        ),
        "free": lambda: (
            "A man in a wetsuit rides a wave while two people watch him from the shore."
        ),
    }
    texts = [
        (group, make()) for _ in range(-(-count // len(groups))) for group, make in groups.items()
    ][:count]
    prompts = [Prompt(f"p{i:04d}", text, group) for i, (group, text) in enumerate(texts)]
    if hostile:
        prompts[2 : 2 + len(HOSTILE)] = [
            Prompt(f"h{i}", text, "<hostile> & $group$") for i, text in enumerate(HOSTILE)
        ]
    return prompts


def make_run(
    path: Path,
    count: int = 40,
    models: tuple[str, ...] = ("dalle", "gan"),
    hostile: bool = True,
    seed: int = 0,
) -> Run:
    """A run folder as the stages before the report leave it, with invented numbers."""
    rng, run = random.Random(seed), Run(path)
    prompts = make_prompts(count, hostile)
    run.write_prompts(prompts)
    write_atomically(
        run.config_path,
        f'models = {list(models)!r}\nseed = 0\nper_prompt = 1\n[model.dalle]\nnote = "<b>"\n'.replace(
            "'", '"'
        ),
    )
    scores: list[tuple[object, ...]] = []
    rows: list[MetricRow] = []
    counts = {}
    pictures = [{side: picture(rng, side) for side in set(SIZES.values())} for _ in range(12)]
    for order, model in enumerate(models):
        run.register_model(model, model, order)
        records = []
        for index, prompt in enumerate(prompts):
            record = Record(
                prompt.id,
                index,
                0,
                7 * index,
                "ok",
                seconds=rng.uniform(0.02, 0.06) * (10 if order == 0 else 1),
            )
            if order == 0 and index == 5:
                record = Record(
                    prompt.id, index, 0, 0, "refused_input", detail="blocked by the <safety> filter"
                )
            elif order == 1 and index == 9:
                record = Record(
                    prompt.id, index, 0, 0, "transient", detail="timed out after 3 tries"
                )
            else:
                name = f"{index:05d}-0.png"
                png = pictures[(index + order) % 12][SIZES.get(model, 32)]
                folder = run.image_folder(model)
                (folder / name).write_bytes(png)
                record = Record(
                    prompt.id,
                    index,
                    0,
                    7 * index,
                    "ok",
                    name,
                    hashlib.sha256(png).hexdigest(),
                    record.seconds,
                )
                scores.append(
                    (
                        model,
                        index,
                        0,
                        "clip_score",
                        "mini-clip",
                        round(rng.gauss(27 - 2.6 * order, 3.2), 4),
                    )
                )
            records.append(record)
        run.append_records(model, records)
        ok = sum(record.status == "ok" for record in records)
        counts[model] = {
            "requested": count,
            "ok": ok,
            "refused": int(order == 0),
            "failed": int(order == 1),
        }
        rows += metric_rows(model, order, ok, count)
    run.write_scores(["model", "index", "sample", "metric", "encoder", "value"], scores)
    run.write_metrics(rows)
    run.write_protocol(
        {
            "encoders": {
                "inception": {"name": "mini-inception", "fingerprint": "9f" * 16},
                "clip": {"name": "mini-clip", "fingerprint": "3c" * 16},
            },
            "encoder_reasons": [
                f"mini-{name}, because the weights of {name} are not in the cache."
                for name in ("inception", "clip")
            ],
            "references": {
                "inception": {
                    "name": "scenes",
                    "encoder": "mini-inception",
                    "count": 10000,
                    "image_hash": "ab" * 16,
                }
            },
            "metrics": {
                "kid": {"options": {"subsets": 100, "seed": 2020}, "paper": "Binkowski et al. 2018"}
            },
            "intervals": {
                "level": 0.95,
                "seed": 0,
                "methods": {"fid": "jackknife over 20 groups of prompts, Student t"},
            },
            "counts": counts,
            "prompts": {"count": count, "duplicates": 3},
            "vocabulary": {"known_words": 340, "total_words": 391, "prompts_without_known_word": 2},
            "fid_floor": {
                "mini-inception": {
                    str(ok): 11.7 * 39 / ok for ok in {item["ok"] for item in counts.values()}
                }
            },
            "versions": {"evalkit": "0.1.0", "torch": "2.10.0", "transformers": None},
        }
    )
    return run


def metric_rows(model: str, order: int, ok: int, requested: int) -> list[MetricRow]:
    def row(
        metric,
        encoder,
        reference,
        value,
        low,
        high,
        better,
        interval="95% bootstrap over prompts, 1,000 resamples",
        note="",
    ):
        return MetricRow(
            model,
            metric,
            encoder,
            reference,
            value,
            low,
            high,
            ok,
            requested,
            better,
            interval,
            note,
        )

    return [
        row(
            "fid",
            "mini-inception",
            "scenes",
            38.12 + 9 * order,
            35.2 + 9 * order,
            41.4 + 9 * order,
            "lower",
        ),
        row(
            "kid",
            "mini-inception",
            "scenes",
            0.0123 + 0.002 * order,
            0.0083,
            0.0164 + 0.002 * order,
            "lower",
            "95% over subsets",
        ),
        row(
            "inception_score",
            "mini-inception",
            "",
            9.81 - 0.4 * order,
            9.2 - 0.4 * order,
            10.4 - 0.4 * order,
            "higher",
        ),
        row(
            "clip_score",
            "mini-clip",
            "",
            27.02 - 2.6 * order,
            26.1 - 2.6 * order,
            27.9 - 2.6 * order,
            "higher",
        ),
        row(
            "precision",
            "mini-inception",
            "scenes",
            0.61 - 0.05 * order,
            0.48 - 0.05 * order,
            0.73 - 0.05 * order,
            "higher",
        ),
        row(
            "recall",
            "mini-inception",
            "scenes",
            None,
            None,
            None,
            "higher",
            "",
            "not measured: needs at least 50 pictures",
        ),
        row("refusal_rate", "", "", 0.025 * (1 - order), 0.0, 0.13, "lower", "Wilson"),
        row(
            "images_per_second",
            "",
            "",
            2.6 * 10**order,
            None,
            None,
            "higher",
            "no interval: images of a batch share its time",
        ),
        row(
            "latency_p50",
            "",
            "",
            0.38 / 10**order,
            None,
            None,
            "lower",
            "no interval: images of a batch share its time",
        ),
    ]


def make_comparisons(
    run: Run, models: tuple[str, ...], metrics: tuple[str, ...] = ("fid", "kid", "clip_score")
) -> None:
    """comparisons.json as the score stage leaves it: the first model ahead on fid only, kid without
    an interval.
    """
    rows = []
    for metric in metrics:
        for a, b in itertools.combinations(models, 2):
            told, bare = metric == "fid" and a == models[0], metric == "kid"
            encoder, reference = (
                ("mini-clip", "") if metric == "clip_score" else ("mini-inception", "scenes")
            )
            row = {
                "metric": metric,
                "encoder": encoder,
                "reference": reference,
                "model_a": a,
                "model_b": b,
            }
            row |= {
                "better": "higher" if metric == "clip_score" else "lower",
                "value_a": 1.0,
                "value_b": 2.0,
            }
            row |= {
                "difference": -9.0 if told else 0.25,
                "low": None if bare else -12.5,
                "high": None if bare else -5.5 if told else 13.0,
            }
            row |= {
                "p": None if bare else 0.0001 if told else 0.4,
                "p_holm": None if bare else 0.0002 if told else 0.4,
            }
            row |= {
                "verdict": "a better" if told else "not told apart",
                "needed": None if told or bare else 12_345,
            }
            row |= {
                "prompts": 38,
                "images": 38,
                "method": "no interval: fewer than 5 prompts" if bare else "paired",
            }
            rows.append(row)
    run.write_comparisons(
        {"statement": "Every pair, Holm.", "level": 0.95, "family": len(rows), "rows": rows}
    )


class Page(html.parser.HTMLParser):
    """What a browser would find in the page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"prompt": [], "style": [], "script": [], "th": []}
        self.ids: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        if values.get("id"):
            self.ids.append(values["id"])
        name = (
            "prompt"
            if values.get("class") == "prompt" and tag == "p" and "id" not in values
            else tag
        )
        self._open.append(name)
        if name in self.texts:
            self.texts[name].append("")

    def handle_endtag(self, tag):
        while self._open and (top := self._open.pop()) not in {
            tag,
            "prompt" if tag == "p" else tag,
        }:
            assert top in {"meta", "img", "input", "br", "path", "use", "svg", "g"}, (tag, top)

    def handle_data(self, data):
        if self._open and self._open[-1] in self.texts:
            self.texts[self._open[-1]][-1] += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [values for name, values in self.tags if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    run = make_run(tmp_path_factory.mktemp("runs") / "two models")
    report(run.path)
    return run


@pytest.fixture(scope="module")
def page(run) -> Page:
    return Page((run.report_path / "index.html").read_text(encoding="utf-8"))


def test_prompts_come_back_exactly_as_they_were_written(run, page):
    texts = [prompt.text for prompt in run.prompts()]
    assert page.texts["prompt"] == texts
    shown = [values["alt"] for values in page.attributes("img") if values.get("loading")]
    assert len(shown) == 2 * len(texts) - 2
    assert set(shown) <= set(texts)


def test_a_folder_without_prompts_has_numbers_but_no_gallery(tmp_path):
    scored = Run(tmp_path / "bare")
    scored.write_metrics(
        [MetricRow("pictures", "fid", "pixels", "r", 3.0, 2.0, 4.0, 9, 9, "lower", "jackknife")]
    )
    text = report(scored.path).read_text(encoding="utf-8")
    assert "pictures: ready pictures" in text
    assert 'id="gallery"' not in text
    assert "Only pictures was measured." in text


def test_nothing_runs_but_our_own_script(page):
    assert len(page.texts["script"]) == len(page.texts["style"]) == 1
    for _, values in page.tags:
        assert not [name for name in values if name.startswith("on") or name == "style"]
    policy = next(
        values["content"]
        for values in page.attributes("meta")
        if values.get("http-equiv") == "Content-Security-Policy"
    )
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.texts[kind][0].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src 'self' data:;")
    assert "unsafe" not in policy


def test_every_address_is_local_and_exists(run, page):
    addresses = [
        values[name]
        for _, values in page.tags
        for name in ("src", "href", "srcset", "action", "xlink:href")
        if values.get(name)
    ]
    assert len(addresses) > 150
    for address in addresses:
        assert address is not None
        assert not re.match(r"(?i)\s*([a-z][a-z0-9+.-]*:|//|\\)", address), address
        target, _, part = address.partition("#")
        assert not part or part in page.ids
        assert not target or (run.report_path / target).is_file(), address
    assert "url(" not in page.texts["style"][0]


def test_page_is_built_for_everybody(page):
    assert len(page.ids) == len(set(page.ids))
    assert all("alt" in values for values in page.attributes("img"))
    assert all(
        values.get("scope") in {"col", "row", "rowgroup"} for values in page.attributes("th")
    )
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    labels = {values["aria-labelledby"] for _, values in page.tags if values.get("aria-labelledby")}
    assert labels <= set(page.ids)
    lazy = [values for values in page.attributes("img") if values.get("loading")]
    assert all(values["width"] == "32" and values["decoding"] == "async" for values in lazy)


def test_findings_follow_the_intervals(run):
    by_name = {c.metric: c for c in read_facts(run.path).comparisons}
    assert by_name["clip_score"].verdict == "dalle is ahead of gan."
    assert [cell.leads for cell in by_name["clip_score"].cells.values()] == [True, False]
    assert by_name["kid"].verdict == "dalle and gan cannot be told apart at this count (n = 39)."
    assert not any(cell.leads for cell in by_name["kid"].cells.values())
    assert by_name["recall"].kind == "missing"
    assert by_name["recall"].verdict == "Not measured: needs at least 50 pictures."
    assert by_name["latency_p50"].from_records


def test_what_was_not_measured_is_said_with_its_reason(run):
    for name in ("index.html", "report.md"):
        text = (run.report_path / name).read_text(encoding="utf-8")
        assert "not measured" in text
        assert "needs at least 50 pictures" in text
        assert "not comparable with published values" in text
        assert "knows 87% of the words" in text
        assert "blocked by the " in text
        assert "Perfect pictures would score" in text
        assert "no interval: images of a batch share its time" in text
        assert "3 prompts repeat an earlier one" in text
        assert "scenes (10,000 pictures)" in text


def test_three_models_with_two_leaders():
    def row(model, value):
        return MetricRow(model, "fid", "e", "r", value, value - 1, value + 1, 100, 100, "lower")

    (comparison,) = compare([row("a", 10.0), row("b", 11.0), row("c", 20.0)], ["a", "b", "c"], {})
    assert (
        comparison.verdict
        == "a and b are ahead of c, and cannot be told apart at this count (n = 100)."
    )
    assert [cell.leads for cell in comparison.cells.values()] == [True, True, False]


def test_counts_that_differ_allow_no_verdict_on_fid_but_one_on_kid():
    sizes = (("a", 10.0, 600), ("b", 20.0, 60))
    rows = [
        MetricRow(m, metric, "e", "r", v, v - 1, v + 1, n, 600, "lower")
        for metric in ("fid", "kid")
        for m, v, n in sizes
    ]
    fid, kid = compare(rows, ["a", "b"], {})
    assert (
        fid.verdict
        == "Not compared: the number of pictures moves this metric, and it differs (n = 60 to 600)."
    )
    assert not any(cell.leads for cell in fid.cells.values())
    assert kid.verdict == "a is ahead of b."


def test_paired_verdicts_take_the_place_of_separate_intervals(tmp_path):
    run = make_run(tmp_path / "run", count=40, hostile=False)
    assert {c.metric: c.kind for c in read_facts(run.path).comparisons}["clip_score"] == "ahead"
    make_comparisons(run, ("dalle", "gan"))
    by_name = {c.metric: c for c in read_facts(run.path).comparisons}
    assert by_name["fid"].verdict == "dalle is better than gan (paired over 38 prompts)."
    assert [(cell.leads, cell.worse) for cell in by_name["fid"].cells.values()] == [
        (True, False),
        (False, True),
    ]
    assert by_name["clip_score"].kind == "tied"
    assert "cannot be told apart (paired over 38 prompts)" in by_name["clip_score"].verdict
    assert "About 13,000 more prompts would tell gan from dalle" in " ".join(
        by_name["clip_score"].cautions
    )
    assert by_name["kid"].kind == "unsure"
    assert "fewer than 5 prompts" in by_name["kid"].verdict
    assert by_name["precision"].verdict.endswith(
        "at this count (n = 39)."
    )  # no pair of it: intervals decide


def test_the_table_of_differences_in_every_form(tmp_path):
    models = ("dalle", "gan", "other/models $x_1$ <b>")
    run = make_run(tmp_path / "run", count=12, models=models)
    make_comparisons(run, models)
    report(run.path)
    page = Page((run.report_path / "index.html").read_text(encoding="utf-8"))
    assert {"differences", "differences-title"} <= set(page.ids)
    text = (run.report_path / "report.md").read_text(encoding="utf-8")
    assert "## Which differences are real" in text
    assert "2 of 9 differences are real" in text
    assert "†" in text
    tex = (run.report_path / "tables" / "differences.tex").read_text(encoding="utf-8")
    assert tex.count("\\midrule") == 3
    assert r"$[-12.5,\,-5.5]$" in tex
    assert r"other/models \$x\_1\$" in tex
    assert "^\\dagger" in (run.report_path / "tables" / "metrics.tex").read_text(encoding="utf-8")


def test_comparisons_that_are_not_whole_are_passed_over(tmp_path):
    run = make_run(tmp_path / "run", count=12, hostile=False)
    run.write_comparisons(
        {
            "statement": 3,
            "rows": [
                {"metric": "fid"},
                "nothing",
                {"metric": "fid", "model_a": "dalle", "low": "x"},
            ],
        }
    )
    assert read_facts(run.path).pairs == []
    assert "Which differences are real" not in report(run.path).read_text(encoding="utf-8")


def test_numbers_of_different_protocols_are_not_put_together():
    rows = [
        MetricRow(m, "fid", e, "r", 1.0, 0.9, 1.1, 9, 9, "lower")
        for m, e in (("a", "inception"), ("b", "mini-inception"))
    ]
    first, second = compare(rows, ["a", "b"], {})
    assert (first.verdict, second.verdict) == ("Only a was measured.", "Only b was measured.")


def test_floor_between_counts_goes_along_one_over_n():
    table = {100: 10.0, 200: 5.0}
    assert floor_at(table, 100) == 10.0
    assert floor_at(table, 150) == pytest.approx(1000 / 150)
    assert floor_at(table, 50) is None
    assert floor_at(table, 300) is None


def test_same_folder_same_bytes(run, tmp_path):
    other = make_run(tmp_path / "two models")
    report(other.path)
    files = sorted(
        path.relative_to(run.report_path) for path in run.report_path.rglob("*") if path.is_file()
    )
    assert files == sorted(
        path.relative_to(other.report_path)
        for path in other.report_path.rglob("*")
        if path.is_file()
    )
    for name in files:
        assert (run.report_path / name).read_bytes() == (other.report_path / name).read_bytes(), (
            name
        )


def test_markdown_shows_prompts_as_text(run):
    text = (run.report_path / "report.md").read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    html_parts = [
        child.content
        for token in tokens
        for child in token.children or []
        if child.type == "html_inline"
    ]
    assert all(
        re.match(r'<br>|<img src="\.\./images/[\w%-]+/[\w.-]+" width="128" alt="[^"<>]*">$', part)
        for part in html_parts
    )
    assert not [token for token in tokens if token.type == "html_block"]
    links = [
        child
        for token in tokens
        for child in token.children or []
        if child.type in {"link_open", "image"}
    ]
    assert all(child.attrs.get("src", "").startswith("figures/") for child in links)


NASTY = st.text(
    alphabet=st.sampled_from(
        list("<>&\"'`*_[](){}|\\~^$#%@!:/=+-.?,;\n\t aZ09é\u202e\x1b\u200b漢🦓")
    )
    | st.characters(),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(NASTY)
def test_markdown_round_trip(text):
    cell = markdown(f"x{text}x")
    tokens = MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(
        f"| a |\n| --- |\n| {cell} |\n"
    )
    inline = [token for token in tokens if token.type == "inline"]
    assert len(inline) == 2
    assert {child.type for child in inline[1].children or []} <= {"text", "text_special"}
    shown = "".join(child.content for child in inline[1].children or [])
    assert shown == visible(f"x{text}x")
    value = attribute(text)
    assert not set(value) & set("<>\"'|`\n")
    assert html.unescape(value) == visible(text)


@settings(max_examples=150, deadline=None)
@given(NASTY)
def test_latex_round_trip(text):
    commands = {
        "textbackslash": "\\",
        "textasciitilde": "~",
        "textasciicircum": "^",
        "textless": "<",
        "textgreater": ">",
    }
    commands |= {"textbar": "|", "textquotedbl": '"', "textquotesingle": "'", "textasciigrave": "`"}
    pattern = r"\\(?P<name>[a-z]+)\{\}|\\texttt\{U\+(?P<code>[0-9A-F]+)\}|\\(?P<sign>[{}&%$#_])|"
    pattern += r"\{(?P<one>[-\[\]?!*])\}|(?P<plain>[^\\{}&%$#_~^<>|\"])"
    shown, end = "", 0
    for match in re.finditer(pattern, latex(text)):
        assert match.start() == end
        end = match.end()
        code = match["code"]
        shown += (
            chr(int(code, 16))
            if code
            else commands[match["name"]]
            if match["name"]
            else match["sign"] or match["one"] or match["plain"]
        )
    assert end == len(latex(text))
    assert shown == visible(text)
    assert latex(text).isprintable()


def test_missing_pieces_are_told(tmp_path):
    with pytest.raises(EvalkitError, match="not a run folder"):
        report(tmp_path)
    run = make_run(tmp_path / "run", count=10, hostile=False)
    run.metrics_path.unlink()
    with pytest.raises(EvalkitError, match="evalkit score"):
        report(run.path)
    assert not run.report_path.exists()
    empty = Run(tmp_path / "empty")
    empty.write_prompts(run.prompts())
    empty.write_metrics([])
    with pytest.raises(EvalkitError, match="no model's images"):
        report(empty.path)


def test_a_model_that_refused_everything(tmp_path):
    run = Run(tmp_path / "refused")
    prompts = make_prompts(3, hostile=False)
    run.write_prompts(prompts)
    run.register_model("shy", "shy", 0)
    run.append_records(
        "shy", [Record(p.id, i, 0, 0, "refused_output", detail="no") for i, p in enumerate(prompts)]
    )
    run.write_metrics(
        [
            MetricRow(
                "shy",
                "fid",
                "mini-inception",
                "r",
                None,
                None,
                None,
                0,
                3,
                "lower",
                note="no picture was made",
            )
        ]
    )
    text = report(run.path).read_text(encoding="utf-8")
    assert "0 of 3 pictures were made (3 refused)" in text
    assert "Not measured: no picture was made." in text
    assert "3 requests without a picture" in text


def test_lost_and_hostile_file_names_are_gaps(tmp_path):
    run = make_run(tmp_path / "run", count=10, hostile=False)
    (run.image_folder("dalle") / "00003-0.png").unlink()
    (run.image_folder("gan") / "00004-0.png").write_bytes(b"not a picture")
    run.append_records("gan", [Record("p0002", 2, 0, 0, "ok", "../../../../etc/passwd")], rank=1)
    text = render(read_facts(run.path), [])
    assert text.count("the file is gone or not a picture") == 3
    assert "passwd" not in text


def test_hostile_model_name_mixed_sizes_and_samples(tmp_path):
    models = ("dalle", "gan", "other/models $x_1$ <b>")
    run = make_run(tmp_path / "run", count=12, models=models)
    facts = read_facts(run.path)
    page = Page(render(facts, []))
    assert {values["width"] for values in page.attributes("img") if values.get("loading")} == {
        "32",
        "96",
    }
    tex = metrics_table(facts)
    assert r"other/models \$x\_1\$ \textless{}b\textgreater{}" in tex


def test_a_thousand_prompts_take_seconds(tmp_path):
    run = make_run(tmp_path / "run", count=1000, hostile=False)
    start = time.process_time()  # not the clock: the machine may be busy
    path = report(run.path)
    assert time.process_time() - start < 15  # about 4 s
    assert path.stat().st_size < 3_000_000
    assert len(Page(path.read_text(encoding="utf-8")).texts["prompt"]) == 1000


def test_importing_the_stage_is_light():
    code = "import sys, evalkit.report.report; sys.exit(bool({'matplotlib', 'torch', 'pandas', 'jinja2', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_numbers_on_what_all_models_made_stand_beside_the_refusals(tmp_path: Path):
    run = make_run(tmp_path / "run", 20, hostile=False)
    report(run.path)
    assert "that all models made" not in (run.report_path / "index.html").read_text()
    rows = run.metrics()
    shared = [
        dataclasses.replace(row, on="common", count=18, value=33.25, low=30.0, high=36.0)
        for row in rows
        if row.metric == "fid"
    ]
    run.write_metrics([*rows, *shared])
    report(run.path)
    page, text = (
        (run.report_path / "index.html").read_text(),
        (run.report_path / "report.md").read_text(),
    )
    for written in (page, text):
        head, section = written.split("On the pictures that all models made")
        assert "33.2" not in head
        assert section.count("33.2") == 2
        assert "18 of 20 pictures" in section
