"""A run in a notebook: a table and a strip of images in one piece of HTML."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image
from report_runs import HOSTILE, HOSTILE_MODEL, Page, make_comparisons, make_run

import evalkit
from evalkit.core import Prompt, Record
from evalkit.images import encode_png
from evalkit.report.notebook import to_notebook
from evalkit.results import Run

MODELS = ("dalle", "gan", HOSTILE_MODEL)


def cells(html: str) -> list[list[str]]:
    """The rows of all tables, as text."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [
        [
            re.sub(r"<[^>]+>", " ", cell).strip()
            for cell in re.findall(r"<t[dh].*?</t[dh]>", row, re.DOTALL)
        ]
        for row in rows
    ]


def test_values_with_intervals_and_the_best_only_where_it_is_significant(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", models=MODELS, hostile=False)
    html = to_notebook(run.path)
    assert 'class="best"' not in html
    assert "Bold" not in html
    make_comparisons(run, MODELS)
    html = Run(run.path)._repr_html_()
    table = cells(html)
    assert table[0][0] == "metric"
    assert re.match(r"FID ↓ +mini-inception · scenes", table[1][0])
    assert [cell.split()[0] for cell in table[1][1:]] == ["38.1", "47.1", "56.1"]
    assert [cell.count("†") for cell in table[1][1:]] == [0, 1, 1]
    assert "35.2 to 41.4" in table[1][1]
    assert re.findall(r'class="best">([^<]*)<', html) == ["38.1"]
    assert "Recall is not measured: needs at least 50 images." in html
    assert "Bold" in html


def test_the_same_prompts_for_all_models_as_small_images(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", models=("dalle", "gan"), hostile=False)
    (run.image_folder("gan") / "00009-0.png").unlink(missing_ok=True)
    images = Page(to_notebook(run.path)).attributes("img")
    assert len(images) == 12
    assert [image["alt"] for image in images[:6]] == [image["alt"] for image in images[6:]]
    for image in images:
        kind, _, data = (image["src"] or "").partition(",")
        assert kind == "data:image/webp;base64"
        assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) <= 96


def test_noise_in_many_models_stays_small(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.write_prompts([Prompt(f"p{i}", "a long prompt " * 8) for i in range(9)])
    random = np.random.default_rng(0)
    for order in range(7):
        run.register_model(f"m{order}", "noise", order)
        for index in range(9):
            noise = random.integers(0, 256, (128, 128, 3), dtype=np.uint8)
            record = Record(f"p{index}", index, 0, 0, "ok")
            png = encode_png(Image.fromarray(noise))
            run.append_records(f"m{order}", [run.save_image(f"m{order}", record, png)])
    html = to_notebook(run.path)
    assert html.count("<img") == 14
    assert len(html) < 200_000


def test_untrusted_text_is_text(tmp_path: Path) -> None:
    """In the table, the prompts and the names of models; no element and no attribute appears."""
    run = make_run(tmp_path / "run", 10, MODELS)
    run.write_prompts([Prompt(f"h{i}", text) for i, text in enumerate(HOSTILE[:6])])
    page = Page(to_notebook(run.path))
    assert {name for name, _ in page.tags} <= {
        "div", "style", "p", "span", "table", "thead", "tbody", "tr", "th", "td", "bdi", "img",
    }  # fmt: skip
    for _, attributes in page.tags:
        assert set(attributes) <= {"class", "title", "dir", "src", "alt"}
    assert {image["alt"] for image in page.attributes("img")} == set(HOSTILE[:6])
    titles = {values["title"] for values in page.attributes("th") if "title" in values}
    assert titles == set(HOSTILE[:6])


def test_what_is_missing_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    made = evalkit.generate("noise", ["a cat", "a <dog>"], out=tmp_path / "run")
    html = made._repr_html_()
    assert "has no metrics.json. Write it again with `evalkit.score(" in html
    assert html.count("<img") == 2
    (made.image_folder("noise") / "00000-0.png").write_bytes(b"not an image")
    assert "unreadable" in made._repr_html_()
    empty = Run(tmp_path / "nothing")._repr_html_()
    assert "There is no folder" in empty
    assert "<img" not in empty
    made.prompts_path.write_text("{", encoding="utf-8")
    assert "prompts.jsonl is damaged" in made._repr_html_()


def test_a_name_that_leads_out_of_the_run_is_not_read(tmp_path: Path) -> None:
    made = evalkit.generate("noise", ["a cat"], out=tmp_path / "run")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    record = Record(made.prompts()[0].id, 0, 0, 0, "ok", "../../../secret.png")
    made.append_records("noise", [record])
    html = made._repr_html_()
    assert "<img" not in html
    assert "manifest.0.jsonl is damaged" in html
