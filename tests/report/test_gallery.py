"""Images beside their prompts, and the reasons for missing ones."""

from __future__ import annotations

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from report_runs import make_run

from evalkit.core import Record
from evalkit.report import gallery as module
from evalkit.report.facts import read_facts
from evalkit.report.gallery import gallery, sample, troubles


def test_missing_files_are_gaps(tmp_path):
    run = make_run(tmp_path / "run", count=10, hostile=False)
    (run.image_folder("dalle") / "00003-0.png").unlink()
    (run.image_folder("gan") / "00004-0.png").write_bytes(b"not an image")
    run.append_records("gan", [Record("p0002", 2, 0, 0, "ok", "other.png")])
    tiles = [tile for row in gallery(read_facts(run.path)) for tile in row.tiles]
    gaps = [tile.gap for tile in tiles if tile.gap]
    assert gaps.count("the file is missing or is not an image") == 3
    assert "refused: blocked by the <safety> filter" in gaps


def test_best_score_of_a_prompt_follows_the_measure(tmp_path):
    run = make_run(tmp_path / "run", count=10, hostile=False)
    text = run.metrics_path.read_text().replace('"better": "higher"', '"better": "lower"')
    for better, content in (("higher", run.metrics_path.read_text()), ("lower", text)):
        run.metrics_path.write_text(content)
        facts = read_facts(run.path)
        for row in gallery(facts)[:5]:
            values = [facts.scores[(tile.model, row.index, 0)] for tile in row.tiles]
            chosen = (max if better == "higher" else min)(values)
            shown = row.tiles[values.index(chosen)].score
            assert [tile.best for tile in row.tiles] == [tile.score == shown for tile in row.tiles]


def test_bold_follows_the_digits_that_are_shown(tmp_path):
    run = make_run(tmp_path / "run", 3, ("a", "b", "c"), hostile=False)
    values = {0: (89.4, 88.6, 10.0), 1: (89.4, 88.6, 89.0), 2: (80.0, 60.0, 10.0)}
    rows = [
        (model, index, 0, "clip_score", "mini-clip", value)
        for index, own in values.items()
        for model, value in zip("abc", own, strict=True)
    ]
    run.write_scores(rows)
    found = gallery(read_facts(run.path))
    assert [tile.score for tile in found[0].tiles] == ["89", "89", "10"]
    assert [[tile.best for tile in row.tiles] for row in found] == [
        [True, True, False], [False, False, False], [True, False, False],
    ]  # fmt: skip


def test_long_lists_are_shown_in_even_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_PROMPTS", 4)
    run = make_run(tmp_path / "run", count=10, hostile=False)
    rows = gallery(read_facts(run.path))
    assert [row.index for row in rows] == [0, 3, 6, 9]


def test_sample_does_not_depend_on_the_gallery(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", count=20, hostile=False)
    facts = read_facts(run.path)
    assert len(sample(facts)) == module.SAMPLE
    chosen = [row.index for row in sample(facts)]
    monkeypatch.setattr(module, "MOST_PROMPTS", 4)
    assert [row.index for row in sample(facts)] == chosen


def test_similar_long_model_names_have_different_labels(tmp_path):
    models = tuple(f"organisation/the-same-long-beginning-{i}-the-same-long-end" for i in range(3))
    run = make_run(tmp_path / "run", count=5, models=models, hostile=False)
    tiles = gallery(read_facts(run.path))[0].tiles
    assert len({tile.label for tile in tiles}) == 3
    assert all(len(tile.label) <= module.LABEL for tile in tiles)


def test_troubles_name_prompt_status_and_detail(run):
    facts = read_facts(run.path)
    [refused], [failed] = troubles(facts, "dalle"), troubles(facts, "gan")
    assert (refused.prompt, refused.status) == (facts.prompts[5].text, "refused input")
    assert (failed.status, failed.detail) == ("transient", "timed out after 3 attempts")


def test_an_image_that_would_fill_the_memory_is_a_gap(tmp_path):
    run = make_run(tmp_path / "run", count=10, hostile=False)
    texts = PngInfo()
    texts.add_text("note", "x" * 2_000_000, zip=True)
    place = run.image_folder("gan") / "00003-0.png"
    with Image.open(place) as image:
        image.save(place, pnginfo=texts)
    [gap] = [t.gap for row in gallery(read_facts(run.path)) for t in row.tiles if "file" in t.gap]
    assert gap == "the file is missing or is not an image"
