"""The page as one file, and the zip: complete, safe to unpack, and the same each time."""

from __future__ import annotations

import base64
import io
import logging
import re
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image
from report_runs import Page, add_groups, make_comparisons, make_run

from evalkit.images import encode_png
from evalkit.report import single_file as module
from evalkit.report.report import report
from evalkit.run_folder import Run

MODELS = ("dalle", "gan")
DATA = re.compile(r"data:image/webp;base64,([A-Za-z0-9+/=]+)")


@pytest.fixture(scope="module")
def mailed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(tmp_path_factory.mktemp("runs") / "my first.run", 24, MODELS)
    make_comparisons(run, MODELS)
    add_groups(run)
    report(run.path, single_file=True, zip=True)
    return run


def single(run: Run) -> Path:
    return run.report_path / "my-first.run.html"


def archive(run: Run) -> Path:
    return run.report_path / "my-first.run.zip"


def test_one_file_holds_all_images_and_names_no_other_file(mailed: Run) -> None:
    text = single(mailed).read_text(encoding="utf-8")
    page, original = Page(text), Page((mailed.report_path / "index.html").read_text("utf-8"))
    assert "This file holds 46 of 46 images, as thumbnails of at most 768 pixels." in text
    for _, values in page.tags:
        for name in ("src", "href"):
            address = values.get(name) or "#"
            assert address.startswith(("#", "data:image/webp;base64,", "https://example.org/"))
    assert not [name for name in ("PDF", "CSV", "report.md", "metrics.tex") if name in text]
    images = [values["src"] for values in page.attributes("img") if values.get("src")]
    assert len(images) == len(original.attributes("img")) - original.attributes("img").count({})
    for address in images[:3]:
        match = DATA.fullmatch(address or "")
        assert match
        with Image.open(io.BytesIO(base64.b64decode(match[1]))) as image:
            assert (image.format, image.size) == ("WEBP", (32, 32))
    assert page.texts["prompt"] == original.texts["prompt"]
    assert page.texts["script"] == original.texts["script"]
    policy = [tag for tag in page.attributes("meta") if tag.get("http-equiv")]
    assert policy == [tag for tag in original.attributes("meta") if tag.get("http-equiv")]


def test_an_image_that_is_shown_is_the_image_of_the_run(mailed: Run) -> None:
    text = single(mailed).read_text(encoding="utf-8")
    gallery = text[text.index('id="gallery"') :]
    first = next(iter(DATA.findall(gallery)))
    with (
        Image.open(io.BytesIO(base64.b64decode(first))) as shown,
        Image.open(mailed.image_folder("dalle") / "00000-0.png") as made,
    ):
        assert shown.convert("RGB").tobytes() == made.convert("RGB").tobytes()  # small: lossless


def test_what_does_not_fit_is_left_out_by_prompt_and_counted(
    mailed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (mailed.report_path / "index.html").read_text(encoding="utf-8")
    whole = len(module.to_single_file(page, mailed.report_path).encode())
    most = (len(page.encode()) + whole) // 2
    monkeypatch.setattr(module, "MOST_BYTES", most)
    text = module.to_single_file(page, mailed.report_path)
    assert len(text.encode()) <= most
    said = r"holds (\d+) of 46 images, for a fixed sample of prompts, as thumbnails of at most 192"
    found = re.search(said, text)
    assert found
    assert 5 < int(found[1]) < 40
    gone = len(re.findall(r"<img [^>]*src", page)) - len(DATA.findall(text))
    assert text.count("not in this file") == gone > 0
    rows = re.findall(r"<li><p class=prompt.*?</ul>", text, re.DOTALL)
    halves = [row for row in rows if "not in this file" in row and DATA.search(row)]
    assert len(halves) <= 1  # the images of a prompt stay together
    assert text == module.to_single_file(page, mailed.report_path)


def test_large_images_become_smaller(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 6, MODELS, hostile=False)
    large = encode_png(Image.new("RGB", (2000, 1000), "red"))
    run.append_records("dalle", [run.save_image("dalle", run.records("dalle")[0], large)])
    report(run.path, single_file=True)
    text = (run.report_path / "run.html").read_text(encoding="utf-8")
    sizes = {Image.open(io.BytesIO(base64.b64decode(data))).size for data in DATA.findall(text)}
    assert sizes == {(32, 32), (768, 384)}


def test_the_zip_holds_all_that_the_page_names(mailed: Run, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive(mailed)) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        opened.extractall(tmp_path)
    assert names == sorted(names)
    for name in names:
        parts = PurePosixPath(name).parts
        assert parts[0] == "my-first.run"
        assert not {"..", "/"} & {*parts}
        assert not re.search(r"[\\:]", name)
    folder = tmp_path / "my-first.run"
    index = folder / "report" / "index.html"
    assert index.read_bytes() == (mailed.report_path / "index.html").read_bytes()
    for _, values in Page(index.read_text(encoding="utf-8")).tags:
        for name in ("src", "href"):
            address = values.get(name) or "#"
            if not address.startswith(("#", "https://example.org/")):
                assert (index.parent / address).is_file(), address
    assert (folder / "metrics.json").read_bytes() == mailed.metrics_path.read_bytes()
    wanted = ("scores.csv", "comparisons.json", "protocol.json", "prompts.jsonl")
    assert all((folder / name).is_file() for name in wanted)
    tables = {path.name for path in (mailed.report_path / "tables").iterdir()}
    assert {path.name for path in (folder / "report" / "tables").iterdir()} == tables
    private = {"run.toml", "ratings", "features"}
    assert not private & {part for name in names for part in PurePosixPath(name).parts}


def test_no_path_of_the_machine_is_inside(mailed: Run) -> None:
    secret = str(mailed.path.parent).encode()
    assert secret not in single(mailed).read_bytes()
    with zipfile.ZipFile(archive(mailed)) as opened:
        assert not [name for name in opened.namelist() if secret in opened.read(name)]


def test_the_same_run_gives_the_same_bytes(mailed: Run) -> None:
    before = [path.read_bytes() for path in (single(mailed), archive(mailed))]
    report(mailed.path, single_file=True, zip=True)
    assert [path.read_bytes() for path in (single(mailed), archive(mailed))] == before


def test_files_that_are_out_of_date_are_removed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 6, MODELS, hostile=False)
    report(run.path, single_file=True, zip=True)
    both = [run.report_path / name for name in ("run.html", "run.zip")]
    own = run.report_path / "mine.html"
    own.write_text("mine")
    assert all(path.is_file() for path in both)
    report(run.path, zip=True)
    assert [path.is_file() for path in both] == [False, True]
    report(run.path)
    assert not any(path.is_file() for path in both)
    assert own.read_text() == "mine"


def test_missing_image_files_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(tmp_path / "run", 6, MODELS, hostile=False)
    (run.image_folder("gan") / "00003-0.png").unlink()
    with caplog.at_level(logging.WARNING, "evalkit.report"):
        report(run.path, single_file=True, zip=True)
    assert "1 image file of the run missing" in caplog.text
    assert "images/gan/00003-0.png" in caplog.text
    for_mail = (run.report_path / "run.html").read_text(encoding="utf-8")
    assert "the file is missing or is not an image" in for_mail


def test_a_run_named_like_the_page_does_not_replace_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "index", 6, MODELS, hostile=False)
    report(run.path, single_file=True)
    page = (run.report_path / "index.html").read_text(encoding="utf-8")
    assert "data:image/webp" not in page
    assert "data:image/webp" in (run.report_path / "index-single.html").read_text("utf-8")


def test_a_run_with_a_long_name_has_shortened_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / ("é" * 125 + "a"), 6, MODELS, hostile=False)
    report(run.path, single_file=True)
    [one] = [path for path in run.report_path.glob("*.html") if path.name != "index.html"]
    assert one.name == "é" * 100 + ".html"
    report(run.path)
    assert not one.exists()
