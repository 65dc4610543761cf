"""Scoring a run and a bare folder: rows, files, reasons for what is missing, and that nothing
depends on batches.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from evalkit.core import EvalkitError, Metric, MetricRow, Prompt, Record
from evalkit.encoders.pixels import Pixels
from evalkit.features.image_sets import results_folder
from evalkit.images import encode_png
from evalkit.metrics import DEFAULT, METRICS, alignment, frechet, kernel, manifold
from evalkit.reference import build as reference
from evalkit.reference import files as reference_files
from evalkit.run_folder import Run
from evalkit.score import measure
from evalkit.score.score import score

ENCODERS = "pixels,toy_clip:load"


def picture(seed: int, shift: int = 0) -> Image.Image:
    coarse = np.random.RandomState(seed).randint(0, 200, (4, 4, 3)) + shift
    return Image.fromarray(coarse.astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)


@pytest.fixture
def toy_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(reference_files, "_roots", lambda: [tmp_path / "references"])
    pictures = [picture(seed) for seed in range(1000, 1120)]
    reference.build_from_images(
        pictures, name="toy", encoders=[Pixels()], out=tmp_path / "references" / "toy"
    )
    return "toy"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two models of 24 prompts, two of them equal; the second refused three, failed one and has no
    timings.
    """
    made = Run(tmp_path / "run")
    texts = [
        f"a picture of {'eagles' if number % 2 else 'owls'} number {number}" for number in range(23)
    ]
    texts.append(texts[0])
    made.write_prompts([Prompt(str(number), text) for number, text in enumerate(texts)])
    for order, model in enumerate(("plain", "shifted")):
        made.register_model(model, model, order)
        records = []
        for number in range(24):
            record = Record(
                str(number), number, 0, 7, "ok", seconds=0.0 if order else 0.5 + number / 100
            )
            if order and number in (3, 4, 5):
                records.append(Record(str(number), number, 0, 7, "refused_input"))
            elif order and number == 6:
                records.append(Record(str(number), number, 0, 7, "transient"))
            else:
                records.append(
                    made.save_image(model, record, encode_png(picture(number, 40 * order)))
                )
        made.append_records(model, records)
    return made


def by_name(rows: list[MetricRow], model: str) -> dict[str, MetricRow]:
    return {row.metric: row for row in rows if row.model == model and row.on == "answered"}


def test_all_rows_of_a_run(run: Run, toy_reference: str):
    rows = score(
        run.path,
        encoders=ENCODERS,
        reference=toy_reference,
        metrics=("fid", "kid", "clip_score", "precision", "recall"),
    )
    assert run.metrics() == rows
    plain, shifted = by_name(rows, "plain"), by_name(rows, "shifted")
    names = [
        "fid",
        "kid",
        "clip_score",
        "precision",
        "recall",
        "refusal_rate",
        "images_per_second",
        "latency_p50",
        "latency_p95",
    ]
    assert list(plain) == list(shifted) == names
    for name in names[:5]:
        for row in (plain[name], shifted[name]):
            assert row.value is not None
            assert row.low is not None
            assert row.high is not None
            assert row.low <= row.value <= row.high
            assert row.interval
            assert row.encoder == ("toy-clip" if name == "clip_score" else "pixels")
            assert row.reference == ("" if name == "clip_score" else "toy")
    assert (shifted["fid"].count, shifted["fid"].requested) == (20, 24)
    assert shifted["refusal_rate"].value == pytest.approx(3 / 24)
    assert (shifted["refusal_rate"].low or 0) > 0.02
    assert shifted["latency_p50"].value is None
    assert "not made by this run" in shifted["latency_p50"].note
    assert plain["latency_p50"].value == pytest.approx(0.5 + 0.115)
    assert plain["images_per_second"].value == pytest.approx(
        24 / sum(0.5 + n / 100 for n in range(24))
    )
    assert "24 real images score" in plain["fid"].note
    assert "unbiased estimate from all images at once (24 against 120)" in plain["kid"].note


def test_models_that_refused_are_compared_on_what_all_of_them_made(run: Run, toy_reference: str):
    rows = score(run.path, encoders=ENCODERS, reference=toy_reference)
    common = {(row.model, row.metric): row for row in rows if row.on == "common"}
    assert {row.metric for row in common.values()} == set(DEFAULT)
    for (model, metric), row in common.items():
        assert (row.count, row.requested) == (20, 24)
        answered = by_name(rows, model)[metric]
        if model == "shifted":  # the other model made all that this one made
            assert row == dataclasses.replace(answered, on="common")
        else:
            assert answered.count == 24
            assert (row.value is None) == (answered.value is None)
    assert common["plain", "clip_score"].value != by_name(rows, "plain")["clip_score"].value
    kept = [number for number in range(24) if number not in (3, 4, 5, 6)]
    pixels = Pixels()
    fake = torch.cat([pixels(pixels.prepare(picture(number))[None])["pool"] for number in kept])
    real = torch.cat(
        [pixels(pixels.prepare(picture(seed))[None])["pool"] for seed in range(1000, 1120)]
    )
    assert common["plain", "fid"].value == pytest.approx(
        frechet.frechet_distance_of_features(fake=fake, real=real).item(), rel=1e-7
    )


def test_pairs_of_models_are_compared(run: Run, toy_reference: str):
    score(run.path, encoders=ENCODERS, reference=toy_reference)
    rows = {row["metric"]: row for row in run.comparisons()["rows"]}
    assert set(rows) == set(DEFAULT) - {"inception_score"}  # the encoder has no logits
    assert all(
        (row["model_a"], row["model_b"], row["images"]) == ("plain", "shifted", 20)
        for row in rows.values()
    )
    common = {(row.model, row.metric): row.value for row in run.metrics() if row.on == "common"}
    for name, row in rows.items():
        assert row["value_a"] == pytest.approx(common["plain", name], rel=1e-12)
        assert row["p_holm"] is None or row["p_holm"] >= row["p"]
    assert rows["fid"]["verdict"] == "a better"
    shutil.rmtree(run.image_folder("shifted"))
    score(run.path, encoders=ENCODERS, reference=toy_reference)
    assert run.comparisons() == {}


def test_no_second_rows_where_every_model_made_the_same(run: Run, toy_reference: str):
    shutil.rmtree(run.image_folder("shifted"))
    assert all(
        row.on == "answered" for row in score(run.path, encoders=ENCODERS, reference=toy_reference)
    )


def test_all_metrics_at_once_and_why_some_are_missing(run: Run, toy_reference: str):
    rows = by_name(
        score(run.path, encoders=ENCODERS, reference=toy_reference, metrics=("all",)), "plain"
    )
    assert set(METRICS) <= set(rows)
    assert "no encoder of the kind dinov2 was named" in rows["fd_dinov2"].note
    assert "no 'spatial' features" in rows["sfid"].note
    for name in (
        "kid",
        "density",
        "coverage",
        "vendi",
        "memorization",
        "duplicates",
        "clip_score_paper",
        "retrieval_precision",
        "mind",
    ):
        assert rows[name].value is not None, rows[name].note


def test_the_firewall_is_in_files_of_its_own(run: Run, toy_reference: str):
    score(run.path, encoders=ENCODERS, reference=toy_reference)
    found = json.loads(run.validation_path.read_text())
    assert found["plain"]["taken"] == 24
    assert found["plain"]["skipped"] == 0
    assert found["plain"]["duplicates"]["count"] == 0


def test_bad_pictures_stop_a_bare_folder_or_are_skipped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.png").write_bytes(encode_png(picture(number)))
    (folder / "half.png").write_bytes(encode_png(picture(9))[:80])
    with pytest.raises(EvalkitError, match=r"half\.png") as caught:
        score(folder, encoders="pixels", metrics=("vendi",))
    assert "--on-bad skip" in caught.value.hint
    rows = by_name(score(folder, encoders="pixels", metrics=("vendi",), on_bad="skip"), "pictures")
    assert (rows["vendi"].count, rows["vendi"].requested) == (8, 9)
    protocol = json.loads((results_folder(folder) / "protocol.json").read_text())
    assert "1 image skipped" in protocol["image_notes"]["pictures"][0]


def test_values_are_those_of_the_metrics_themselves(run: Run, toy_reference: str):
    rows = by_name(score(run.path, encoders=ENCODERS, reference=toy_reference), "plain")
    pixels = Pixels()
    fake = torch.cat(
        [pixels(pixels.prepare(picture(number))[None])["pool"] for number in range(24)]
    )
    real = torch.cat(
        [pixels(pixels.prepare(picture(seed))[None])["pool"] for seed in range(1000, 1120)]
    )
    assert rows["fid"].value == pytest.approx(
        frechet.frechet_distance_of_features(fake=fake, real=real).item(), rel=1e-7
    )
    assert rows["kid"].value == pytest.approx(
        kernel.kid_of_all(fake=fake, real=real).item(), rel=1e-9
    )
    assert rows["precision"].value == pytest.approx(
        manifold.precision(fake=fake, real=real).mean().item()
    )
    assert rows["recall"].value == pytest.approx(manifold.recall(fake=fake, real=real).item())
    per_image = [
        float(row["value"])
        for row in run.scores()
        if row["metric"] == "clip_score" and row["model"] == "plain"
    ]
    assert np.mean(per_image) == pytest.approx(rows["clip_score"].value or 0, rel=1e-12)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_nothing_depends_on_the_batch_size(run: Run, toy_reference: str, batch_size: int):
    first = score(run.path, encoders=ENCODERS, reference=toy_reference)
    for path in (run.path / "features").rglob("*.npz"):
        path.unlink()
    assert (
        score(run.path, encoders=ENCODERS, reference=toy_reference, batch_size=batch_size) == first
    )


def test_protocol_says_what_the_numbers_depend_on(run: Run, toy_reference: str):
    score(run.path, encoders=ENCODERS, reference=toy_reference)
    protocol = json.loads(run.protocol_path.read_text())
    assert protocol["encoders"]["inception"] == {
        "name": "pixels",
        "fingerprint": Pixels.fingerprint,
    }
    assert protocol["encoder_reasons"] == ["pixels: named", "toy-clip: named"]
    assert protocol["references"]["inception"]["count"] == 120
    assert set(protocol["fid_floor"]["pixels"]) == {"24", "20"}
    assert protocol["counts"]["shifted"] == {
        "requested": 24,
        "ok": 20,
        "refused": 3,
        "failed": 1,
        "missing": 0,
        "skipped": 0,
        "duplicate_images": 0,
    }
    assert protocol["prompts"] == {"count": 24, "duplicates": 1}
    assert protocol["vocabulary"]["total_words"] >= 24 * 5
    assert protocol["metrics"]["kid"]["options"] == {
        "subsets": 100,
        "subset_size": 1000,
        "seed": 2020,
    }
    assert (
        protocol["versions"]["torch"] == torch.__version__.split("+")[0]
        or protocol["versions"]["torch"] == torch.__version__
    )


def test_what_cannot_be_measured_is_a_row_with_the_reason(run: Run):
    rows = by_name(score(run.path, encoders="pixels"), "plain")
    assert {rows[name].value for name in DEFAULT} == {None}
    assert "no 'logits' features" in rows["inception_score"].note
    assert "no encoder of the kind clip" in rows["clip_score"].note
    for name in ("fid", "kid", "precision", "recall"):
        assert "no reference for pixels was given" in rows[name].note
        assert (rows[name].low, rows[name].high, rows[name].count) == (None, None, 24)


def test_a_bare_folder_of_pictures(
    tmp_path: Path, toy_reference: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "My Photos"
    (photos / "sub").mkdir(parents=True)
    for number in range(12):
        picture(number).save(photos / ("sub" if number % 2 else ".") / f"{number}.png")
    before = sorted(photos.rglob("*"))
    rows = by_name(score(photos, encoders=ENCODERS, reference=toy_reference), "My Photos")
    assert sorted(photos.rglob("*")) == before
    assert (rows["fid"].count, rows["fid"].requested) == (12, 12)
    assert rows["fid"].value is not None
    assert "has no prompts" in rows["clip_score"].note
    assert Run(results_folder(photos)).metrics() == list(rows.values())
    assert results_folder(photos).parent == Path("reports")


def test_a_model_without_a_picture_has_reasons_only(run: Run, toy_reference: str):
    run.register_model("mute", "mute", 9)
    run.append_records(
        "mute", [Record(str(number), number, 0, 7, "refused_output") for number in range(24)]
    )
    rows = by_name(score(run.path, encoders=ENCODERS, reference=toy_reference), "mute")
    assert all("there are no pictures" in rows[name].note for name in DEFAULT)
    assert rows["refusal_rate"].value == 1.0
    assert (rows["refusal_rate"].low or 0) > 0.8


def test_one_or_two_pictures_are_too_few(
    tmp_path: Path, toy_reference: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few").mkdir()
    picture(1).save(tmp_path / "few" / "1.png")
    rows = by_name(score("few", encoders=ENCODERS, reference=toy_reference), "few")
    assert "needs at least 2" in rows["fid"].note
    assert "needs at least 4" in rows["recall"].note
    assert rows["precision"].value is not None


def test_wrong_names_are_one_clear_error(run: Run, tmp_path: Path):
    with pytest.raises(EvalkitError, match=r"There is no metric 'fidd'.*Did you mean 'fid'"):
        score(run.path, metrics=("fidd",), encoders="pixels")
    with pytest.raises(EvalkitError, match=r"There is no encoder 'pixel'.*Did you mean 'pixels'"):
        score(run.path, encoders="pixel")
    with pytest.raises(EvalkitError, match="both encoders of the kind"):
        score(run.path, encoders="pixels,pixels")
    with pytest.raises(EvalkitError, match="There is no reference 'absent'"):
        score(run.path, encoders="pixels", reference="absent")
    with pytest.raises(EvalkitError, match="There is no file or folder"):
        score(tmp_path / "absent", encoders="pixels")
    assert not run.metrics_path.exists()


# --- single measurements
# -------------------------------------------------------------------------------------------
def evidence(fake: Tensor, clusters: list[int] | None = None) -> measure.Evidence:
    return measure.Evidence("toy", {"pool": fake}, np.array(clusters or range(len(fake))), {}, None)


def spread(*, fake: Tensor) -> Tensor:
    return fake.var(dim=0).mean()


def brightness(*, fake: Tensor, gain: float = 2.0) -> Tensor:
    return gain * fake[:, 0]


def test_a_metric_of_ones_own_gets_an_interval():
    fake = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    found = measure.measure(
        Metric("spread", spread, "pool", "inception", "higher", ""), evidence(fake)
    )
    assert found.value == pytest.approx(float(fake.var(dim=0).mean()))
    assert found.interval.method.startswith("jackknife over 20 groups")
    found = measure.measure(
        Metric("brightness", brightness, "pool", "inception", "higher", ""), evidence(fake)
    )
    assert found.per_image is not None
    assert found.interval.method.startswith("bootstrap over 60 prompts")
    assert measure.options(Metric("brightness", brightness, "pool", "inception", "higher", "")) == {
        "gain": 2.0
    }


def test_a_metric_that_asks_for_anything_else_is_refused():
    def wrong(*, fake: Tensor, captions: list[str]) -> Tensor:
        return fake[0, 0] * len(captions)

    with pytest.raises(EvalkitError, match="asks for fake, captions"):
        measure.requests(Metric("wrong", wrong, "pool", "inception", "higher", ""))


def test_features_that_are_not_finite_are_not_measured():
    fake = torch.randn(30, 8)
    fake[3, 1] = float("nan")
    reference_rows = torch.randn(40, 8)
    known = reference_files.Reference(
        "r", "toy", {"pool": frechet.moments(reference_rows)}, {"pool": reference_rows}, ""
    )
    for name in ("fid", "kid", "precision", "recall"):
        found = measure.measure(
            METRICS[name], measure.Evidence("toy", {"pool": fake}, np.arange(30), {}, known)
        )
        assert found.value is None
        assert "1 of 30 images hold NaN" in found.note


def test_a_reference_of_another_dimension_is_not_measured():
    rows = torch.randn(40, 9)
    known = reference_files.Reference(
        "r", "toy", {"pool": frechet.moments(rows)}, {"pool": rows}, ""
    )
    for name in ("fid", "kid", "precision", "recall"):
        found = measure.measure(
            METRICS[name],
            measure.Evidence("toy", {"pool": torch.randn(30, 8)}, np.arange(30), {}, known),
        )
        assert "8 dimensions and the reference has 9" in found.note


def test_clip_score_needs_a_prompt_per_image():
    with pytest.raises(ValueError, match="one prompt per image"):
        alignment.clip_score(fake=torch.ones(3, 2), text=torch.ones(2, 2))


def test_the_bundled_encoders_and_their_reference(tmp_path: Path):
    """Held-out scenes of the bundled world score as real images do; noise does not."""
    from evalkit.scenes.captions import caption
    from evalkit.scenes.compose import compose, render

    made, scenes = Run(tmp_path / "run"), [compose(900_000_000 + number) for number in range(60)]
    made.write_prompts(
        [Prompt(str(number), caption(scene, number)) for number, scene in enumerate(scenes)]
    )
    random = np.random.RandomState(0)
    pictures = {
        "real": [render(scene, 32) for scene in scenes],
        "noise": list(random.randint(0, 256, (60, 32, 32, 3)).astype(np.uint8)),
    }
    for order, (model, arrays) in enumerate(pictures.items()):
        made.register_model(model, model, order)
        records = [Record(str(number), number, 0, 7, "ok", seconds=0.1) for number in range(60)]
        pairs = zip(records, arrays, strict=True)
        made.append_records(
            model,
            [
                made.save_image(model, record, encode_png(Image.fromarray(array)))
                for record, array in pairs
            ],
        )
    rows = score(made.path, encoders="mini")
    real, noise = by_name(rows, "real"), by_name(rows, "noise")
    floor = json.loads(made.protocol_path.read_text())["fid_floor"]["mini-inception"]["60"]
    assert (real["fid"].encoder, real["fid"].reference) == ("mini-inception", "scenes")
    assert (real["fid"].low or 0) < floor * 1.2
    assert (real["fid"].high or 0) > floor * 0.8
    assert (noise["fid"].low or 0) > 2 * floor
    for name in ("clip_score", "inception_score", "precision", "recall"):
        assert (real[name].low or 0) > (noise[name].high or 0)


def test_score_says_which_encoders_were_taken_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for place in range(3):
        Image.new("RGB", (32, 32), (40 * place, 90, 30)).save(
            tmp_path / "pictures" / f"{place}.png"
        )
    with caplog.at_level("INFO", logger="evalkit"):
        score(tmp_path / "pictures", metrics=["fid"])
    assert any(
        line.startswith("encoder mini-inception: no reference was given")
        for line in caplog.messages
    )
