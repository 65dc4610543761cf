"""Sets of images: runs and every source give the same images, and invalid ones are skipped."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from counting_encoder import smooth_image
from packing import pack_folder, pack_tar, pack_zip
from PIL import Image

import evalkit
from evalkit.core import EvalkitError, Prompt, Record
from evalkit.encoders.pixels import Pixels
from evalkit.features.encode import image_features
from evalkit.features.image_sets import image_sets
from evalkit.images import encode_png
from evalkit.reference.build import build_from_images
from evalkit.run_folder import Run
from evalkit.score.score import score


def image(seed: int) -> Image.Image:
    return smooth_image(seed, (40, 40))


VALID = {f"valid-{seed}.png": encode_png(image(seed)) for seed in range(4)}


@pytest.fixture(autouse=True)
def results_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_array_gives_the_same_features_as_its_images(tmp_path: Path):
    place = pack_folder(tmp_path / "images", VALID)
    np.savez(
        tmp_path / "a.npz", np.stack([np.asarray(image(seed)) for seed in range(4)]), np.arange(4)
    )
    tables = []
    for path in (place, tmp_path / "a.npz", pack_zip(tmp_path / "a.zip", VALID)):
        [images] = image_sets(path).sets
        tables.append(
            image_features(images.files, Pixels(), tmp_path / f"{path.name}.npz")
            .values["pool"]
            .tolist()
        )
        assert images.findings()["formats"] == {"array" if path.suffix == ".npz" else "PNG": 4}
    assert tables[0] == tables[1] == tables[2]


def test_the_images_of_a_run_are_validated(tmp_path: Path):
    run = Run(tmp_path / "run")
    run.write_prompts([Prompt(str(number), f"a tree {number}") for number in range(3)])
    run.register_model("toy", "toy", 0)
    contents = [encode_png(image(0)), encode_png(Image.new("RGB", (40, 40))), VALID["valid-1.png"]]
    run.append_records(
        "toy",
        [
            run.save_image("toy", Record(str(at), at, 0, 0, "ok"), data)
            for at, data in enumerate(contents)
        ],
    )
    black = image_sets(run.path).sets[0].findings()["black"]
    assert black == {"count": 1, "names": ["images/toy/00001-0.png"]}  # no path of this machine
    records = run.records("toy")
    broken = dataclasses.replace(
        records[1], sha256=run.save_image("toy", records[1], b"not an image").sha256
    )
    run.append_records("toy", [broken])
    [images] = image_sets(run.path, on_bad="skip").sets
    assert images.texts == ["a tree 0", "a tree 2"]
    assert [record.index for record in images.records] == [0, 2]
    assert len(images.all_records) == 3
    found = images.findings()
    assert found["skipped_kinds"] == {"not an image": 1}
    assert [one["name"] for one in found["skipped_names"]] == ["images/toy/00001-0.png"]


def test_an_unknown_policy_is_refused(tmp_path: Path):
    with pytest.raises(EvalkitError, match="expected refuse or skip"):
        image_sets(pack_folder(tmp_path / "images", VALID), on_bad="ignore")  # type: ignore[arg-type]


def test_every_source_gives_the_same_score_and_skipped_images_count_as_requested(tmp_path: Path):
    files = {f"{seed:02d}.png": encode_png(image(seed)) for seed in range(12)}
    reference = build_from_images(
        [image(seed) for seed in range(20, 40)], name="r", encoders=[Pixels()], out=tmp_path / "r"
    )
    np.savez(tmp_path / "a.npz", np.stack([np.asarray(image(seed)) for seed in range(12)]))
    pairs = list(files.items())
    pack_tar(tmp_path / "s-0.tar", dict(pairs[:6]))
    pack_tar(tmp_path / "s-1.tar", dict(pairs[6:]))
    invalid = pack_zip(tmp_path / "invalid.zip", files | {"cut.png": files["00.png"][:99]})
    places = [
        pack_folder(tmp_path / "f", files),
        pack_zip(tmp_path / "a.zip", files),
        tmp_path / "a.npz",
        tmp_path / "s-{0..1}.tar",
        invalid,
    ]
    rows = [
        score(place, metrics=["fid"], encoders="pixels", reference=str(reference), on_bad="skip")[0]
        for place in places
    ]
    assert rows[0].value is not None
    assert [row.value for row in rows] == [rows[0].value] * 5
    assert [(row.count, row.requested) for row in rows] == [(12, 12)] * 4 + [(12, 13)]
    assert len(list((tmp_path / "reports").iterdir())) == 5
    with pytest.raises(EvalkitError, match="1 of 13 images"):
        score(invalid, metrics=["fid"], encoders="pixels", reference=str(reference))


def test_images_that_are_gone_or_changed_are_found_although_features_are_cached(
    tmp_path: Path,
) -> None:
    run = evalkit.generate(["noise"], ["a", "b", "c", "d"], out=tmp_path / "run")
    assert score(run.path, encoders="pixels", metrics=["duplicates"])[0].count == 4
    first, second, *_ = (run.image_path("noise", record) for record in run.records("noise"))
    first.unlink()
    second.write_bytes(second.read_bytes() + b"xx")
    later = second.stat().st_mtime + 2
    os.utime(second, (later, later))
    with pytest.raises(EvalkitError, match=r"2 of 4 images are invalid .*has changed"):
        score(run.path)
    rows = score(run.path, on_bad="skip")
    assert (rows[0].count, rows[0].requested) == (2, 4)
    evalkit.generate(["noise"], ["a", "b", "c", "d"], out=run.path)  # makes them again
    assert score(run.path)[0].count == 4


def test_images_that_were_exchanged_for_older_files_are_found(tmp_path: Path) -> None:
    run = evalkit.generate(["noise"], ["a", "b"], out=tmp_path / "run")
    evalkit.score(run.path, encoders="pixels", metrics=["duplicates"])
    place = run.image_path("noise", run.records("noise")[0])
    before = place.stat().st_mtime - 1000
    place.write_bytes(VALID["valid-0.png"])
    os.utime(place, (before, before))
    later = before + 10_000  # as in a copy of the folder
    for manifest in run.image_folder("noise").glob("manifest.*"):
        os.utime(manifest, (later, later))
    for call in (evalkit.score, evalkit.baseline_save):
        settings = {"out": tmp_path / "b.json", "reason": "x"} if call != evalkit.score else {}
        with pytest.raises(EvalkitError, match=r"1 of 2 images .*has changed"):
            call(run.path, **settings)


def test_prompts_that_are_not_those_of_the_manifest_are_refused(tmp_path: Path) -> None:
    prompts = [Prompt("x", "a"), Prompt("y", "b")]
    run = evalkit.generate(["noise"], prompts, out=tmp_path / "run")
    lines = run.prompts_path.read_text().splitlines()
    run.prompts_path.write_text("\n".join(reversed(lines)) + "\n")
    with pytest.raises(EvalkitError, match="has the prompt 'y' where the manifest of 'noise' has"):
        score(run.path, encoders="pixels")
    run.prompts_path.unlink()
    with pytest.raises(EvalkitError, match=r"missing, and the given prompts are not those of"):
        evalkit.generate(["noise"], prompts[::-1], out=run.path)


def test_a_folder_whose_name_is_not_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    for at in range(2):
        (folder / f"{at}.png").write_bytes(encode_png(image(at)))
    assert evalkit.score(folder, encoders="pixels", metrics=["duplicates"])[0].model == (
        "caf⟨U+DCE9⟩"
    )
