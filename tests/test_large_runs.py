"""A run of more than 1,000 images per model: no folder has more, and every command finds them."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from models_for_tests import make_image
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError, Prompt, Request
from evalkit.generators.folder import load
from evalkit.images import encode_png
from evalkit.report.facts import read_facts
from evalkit.report.gallery import gallery
from evalkit.run_folder import Run, image_file

PROMPTS = [Prompt(f"{at:05d}", f"scene number {at}") for at in range(501)]
QUICK = {"metrics": "vendi,duplicates", "only": True, "encoders": "pixels"}
PLAIN = {"plain": "models_for_tests:plain"}


def per_folder(run: Run) -> dict[str, int]:
    """The number of images in each folder with images."""
    images = run.path / "images"
    return Counter(path.parent.relative_to(images).as_posix() for path in images.rglob("*.png"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """501 prompts with two images each, by two shards."""
    out = tmp_path_factory.mktemp("large") / "run"
    for shard in ("0/2", "1/2"):
        made = evalkit.generate(PLAIN, PROMPTS, out=out, per_prompt=2, shard=shard, batch_size=1000)
    evalkit.score(out, **QUICK)
    return made


@pytest.fixture(scope="module")
def grown(large: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The images of `large` as a model, first one per prompt, then both."""
    out = tmp_path_factory.mktemp("grown") / "run"
    settings = {"out": out, "batch_size": 1000}
    model = f"plain={large.image_folder('plain')}"
    flat = evalkit.generate(model, PROMPTS, per_prompt=1, **settings)
    assert per_folder(flat) == {"plain": 501}
    rows = flat.records("plain")
    made = evalkit.generate(model, PROMPTS, per_prompt=2, **settings)
    assert [row for row in made.records("plain") if row.sample == 0] == rows
    evalkit.score(out, **QUICK)
    return made


def test_no_folder_has_more_than_1000_images(large: Run) -> None:
    assert per_folder(large) == {"plain/000-0": 501, "plain/000-1": 501}
    for record in large.records("plain"):
        assert record.file == f"000-{record.sample}/{record.index:05d}-{record.sample}.png"
        assert large.image_path("plain", record).is_file()
    assert image_file(1_000_000, 12, requested=1001) == "1000-12/1000000-12.png"
    assert image_file(999, 0, requested=1000) == "00999-0.png"


def test_a_run_that_grows_keeps_its_files_and_its_values_are_the_same(
    large: Run, grown: Run
) -> None:
    assert per_folder(grown) == {"plain": 501, "plain/000-1": 501}
    [vendi, *_] = [row for row in large.metrics() if row.metric == "vendi"]
    assert (vendi.count, vendi.requested) == (1002, 1002)
    assert vendi in grown.metrics()
    assert [row.sha256 for row in grown.records("plain")] == [
        row.sha256 for row in large.records("plain")
    ]


def test_an_image_that_is_made_again_is_there_once(large: Run, grown: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(grown.path, tmp_path / "run"))
    (run.image_folder("plain") / "00007-0.png").write_bytes(b"damaged")
    model = f"plain={large.image_folder('plain')}"
    evalkit.generate(model, PROMPTS, per_prompt=2, out=run.path)
    assert per_folder(run) == {"plain": 500, "plain/000-0": 1, "plain/000-1": 501}
    [again] = [row for row in run.records("plain") if (row.index, row.sample) == (7, 0)]
    assert again.file == "000-0/00007-0.png"


def test_the_report_links_to_the_images_and_its_zip_has_them(large: Run) -> None:
    page = evalkit.report(large.path, zip=True)
    text = Path(page).read_text(encoding="utf-8")
    assert set(re.findall(r"\.\./images/([\w/-]+\.png)", text)) == {
        f"plain/{record.file}" for record in large.records("plain")
    }
    with zipfile.ZipFile(large.report_path / "run.zip") as archive:
        names = {name for name in archive.namelist() if name.endswith(".png")}
    assert len({name for name in names if "/images/plain/000-" in name}) == 1002


def test_a_changed_image_is_named_with_its_folder(large: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(large.path, tmp_path / "run"))
    (run.image_folder("plain") / "000-1" / "00003-1.png").unlink()
    facts = read_facts(run.path)
    assert "the first one is 000-1/00003-1.png" in facts.changes.said[0]
    urls = [tile.url for row in gallery(facts)[:5] for tile in row.tiles]
    assert urls.index("") == 7
    assert urls.count("") == 1


def test_gate_and_comparison(
    large: Run, grown: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    allowed = {"allow_mismatch": "generation"}  # a function, and its images in a folder
    made = evalkit.gate(grown.path, baseline=large.path, **allowed, report=False)
    assert made.outcome == "pass"
    both = evalkit.compare(
        [f"a={large.path}:plain", f"b={grown.path}:plain"], out="both", **allowed
    )
    assert per_folder(both) == {
        f"{name}/000-{sample}": 501 for name in ("a", "b") for sample in (0, 1)
    }
    values = {row.model: row.value for row in both.metrics() if row.metric == "vendi"}
    assert values["a"] == values["b"]


def test_export_as_a_folder_of_images(large: Run, tmp_path: Path) -> None:
    out = evalkit.export_imagefolder(large.path, out=tmp_path / "out")
    lines = (out / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    names = [json.loads(line)["file_name"] for line in lines]
    assert names[:2] == ["plain/000-0/00000-0.png", "plain/000-1/00000-1.png"]
    assert len(names) == 1002
    assert all((out / name).is_file() for name in names)


@pytest.mark.parametrize("name", ["00017-0.png", "000-0/00017-0.png", "x/plain/00017-0.png"])
def test_ratings_name_images_with_and_without_the_folder(
    large: Run, tmp_path: Path, name: str
) -> None:
    run = Run(tmp_path / "run")
    run.write_prompts(large.prompts())
    run.register_model("plain", "plain", 0)
    run.append_records("plain", large.records("plain"))
    votes = tmp_path / "votes.csv"
    votes.write_text(f"WorkerId,AssignmentId,Input.image,Answer.q\nw,a,{name},yes\n")
    evalkit.rate_import(votes, run=run.path)
    [row] = (run.ratings_path).glob("import-*.csv")
    assert "00017" in row.read_text(encoding="utf-8")


def test_images_without_a_row_are_noticed_in_subfolders(
    large: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    run = Run(shutil.copytree(large.path, tmp_path / "run"))
    manifest = run.image_folder("plain") / "manifest.1.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[:-3]))
    evalkit.generate(PLAIN, PROMPTS, out=run.path, per_prompt=2)
    assert "3 images are in" in caplog.text
    assert "without a row in the manifest" in caplog.text
    assert per_folder(run) == per_folder(large)


def test_a_large_run_without_manifests_is_matched_by_file_names(tmp_path: Path) -> None:
    prompts = [Prompt(f"{at:05d}", f"a thing {at}") for at in range(1002)]
    requests = [Request(prompts[at], at, sample, 0) for at in (0, 1, 1001) for sample in (0, 1)]
    requests = [dataclasses.replace(one, seed=number) for number, one in enumerate(requests)]
    names = ["00000-0.png", "001-0/01001-0.png", "000-1/00000-1.png", "001-1/01001-1.png"]
    for at, name in enumerate(names):  # the first one is from before the run grew
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_png(make_image(at, "x")))
    folder = load(folder=str(tmp_path), requests=requests)
    wanted = {0: 0, 4: 1, 1: 2, 5: 3}
    for number, one in enumerate(requests):
        [image] = folder([one.prompt.text], [one.seed])
        if number in wanted:
            assert image.tobytes() == make_image(wanted[number], "x").tobytes()
        else:
            assert not hasattr(image, "tobytes")


@pytest.mark.parametrize(
    "file",
    ["../x.png", "/etc/x.png", "a/b/x.png", "000-0/../x.png", "000-0/000-0/x.png", "000-0\\x.png",
     "C:x.png", "x/x.png", "000-0/", ".x.png", "x.png\n"],
)  # fmt: skip
def test_a_file_elsewhere_is_refused(tmp_path: Path, file: str) -> None:
    run = evalkit.generate("noise", ["a cat"], out=tmp_path / "run", options={"noise": {"size": 8}})
    [record] = run.records("noise")
    run.append_records("noise", [dataclasses.replace(record, file=file)])
    with pytest.raises(EvalkitError, match=r"manifest.0.jsonl is damaged"):
        run.records("noise")
    result = CliRunner().invoke(app, ["score", str(run.path)])
    assert result.exit_code == 2
    assert "manifest.0.jsonl is damaged" in result.stderr
