"""The torchmetrics objects give the values of `evalkit score`, for any batches and processes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from installed_metrics import METRICS
from torch import Tensor

import evalkit
from evalkit.core import Encoder, EvalkitError, Metric
from evalkit.encoders.pixels import Pixels
from evalkit.images import encode_png, to_images
from evalkit.metrics import frechet
from evalkit.reference.files import Reference
from evalkit.torchmetrics import FID, KID, ClipScore, InceptionScore, Precision, Recall, SetMetric

OBJECTS = {
    "fid": FID,
    "kid": KID,
    "inception_score": InceptionScore,
    "precision": Precision,
    "recall": Recall,
}


def random_images(count: int, seed: int) -> Tensor:
    """uint8 [N, 3, 32, 32]."""
    coarse = np.random.RandomState(seed).randint(0, 256, (count, 3, 4, 4), dtype=np.uint8)
    return torch.from_numpy(coarse.repeat(8, axis=2).repeat(8, axis=3))


def pool(encoder: Encoder, images: Tensor) -> Tensor:
    """The "pool" features of uint8 [N, 3, H, W] images."""
    return encoder(torch.stack([encoder.prepare(image) for image in to_images(images)]))["pool"]


@pytest.fixture(scope="module")
def inception():
    return evalkit.encoder("mini-inception", "cpu")


@pytest.mark.parametrize("sizes", [[40], [1, 2, 30, 7], [20, 20]])
def test_any_batch_sizes_give_the_values_of_score(
    sizes: list[int], inception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # the run folder is made under reports/ of the working folder
    images, reference = random_images(40, 1), evalkit.reference("scenes", inception)
    folder = tmp_path / "images"
    folder.mkdir()
    for place, image in enumerate(to_images(images)):
        (folder / f"{place:05d}.png").write_bytes(encode_png(image))
    rows = evalkit.score(
        folder, metrics=list(OBJECTS), encoders="mini-inception", reference="scenes"
    )
    expected = {row.metric: row.value for row in rows if row.metric in OBJECTS}
    for name, kind in OBJECTS.items():
        found = kind(inception) if name == "inception_score" else kind(inception, reference)
        for batch in images.split(sizes):
            found.update(batch)
        assert found.compute().dtype == torch.float64
        assert found.compute().item() == pytest.approx(expected[name], rel=1e-7), name
        assert found.higher_is_better == (METRICS[name].better == "higher")


def test_real_images_instead_of_a_reference():
    encoder, fake, real = Pixels(), random_images(30, 1), random_images(45, 2)
    fid, recall = FID(encoder), Recall(encoder)
    for metric in (fid, recall):
        for batch in real.split(13):
            metric.update(batch, real=True)
        for batch in fake.split(7):
            metric.update(batch)
    features = {"fake": pool(encoder, fake), "real": pool(encoder, real)}
    expected = frechet.frechet_distance_of_features(**features)
    assert fid.compute().item() == pytest.approx(expected.item(), rel=1e-6)
    assert recall.compute() == METRICS["recall"].compute(**features)
    fid.reset()
    with (
        pytest.raises(EvalkitError, match=r"Too few generated images \(0\)"),
        pytest.warns(UserWarning, match="before"),
    ):
        fid.compute()
    fid.update(fake)
    with pytest.raises(EvalkitError, match="No reference images were given") as error:
        fid.compute()
    assert "real=True" in error.value.hint


def test_clip_score_reads_prompts():
    encoder, images = evalkit.encoder("mini-clip", "cpu"), random_images(9, 3)
    prompts = [f"a {colour} circle" for colour in ("red", "blue", "green")] * 3
    score = ClipScore(encoder)
    for batch in (slice(0, 4), slice(4, 9)):
        score.update(images[batch], prompts[batch])
    fake = pool(encoder, images)
    text = encoder.text(prompts)  # type: ignore[attr-defined]
    expected = METRICS["clip_score"].compute(fake=fake, text=text).mean()
    assert score.compute().item() == pytest.approx(expected.item(), rel=1e-6)
    prefixed = SetMetric(METRICS["clip_score_paper"], encoder)
    prefixed.update(images, prompts)
    text = encoder.text(["A photo depicts " + prompt for prompt in prompts])  # type: ignore[attr-defined]
    expected = METRICS["clip_score_paper"].compute(fake=fake, text=text).mean()
    assert prefixed.compute().item() == pytest.approx(expected.item(), rel=1e-6)
    with pytest.raises(EvalkitError, match="no prompts for 9 images"):
        score.update(images)
    with pytest.raises(EvalkitError, match="1 prompt for 9 images"):
        score.update(images, ["a cat"])


class Counting(Pixels):
    calls = 0

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        return super().__call__(images)


def test_objects_with_one_encoder_share_one_pass():
    from torchmetrics import MetricCollection

    encoder = Counting()
    together = MetricCollection([FID(encoder), KID(encoder), Recall(encoder)])
    encoder.calls = 0
    images, real = random_images(12, 1), random_images(12, 2)
    together.update(images)
    together.update(real, real=True)
    assert encoder.calls == 2
    first = together.compute()
    images.zero_()  # the same tensor with other values is another batch
    together.update(images)
    assert encoder.calls == 3
    assert set(first) == {"FID", "KID", "Recall"}
    assert together.compute()["FID"] != first["FID"]


def test_calling_the_object_gives_the_value_of_the_batch():
    encoder, images, real = Pixels(), random_images(40, 1), pool(Pixels(), random_images(40, 2))
    moments = frechet.moments(real)
    reference = Reference("r", "pixels", {"pool": moments}, {"pool": real}, "")
    for kind, name, given in (
        (FID, "fid", {"real_moments": moments}),
        (KID, "kid", {"real": real}),
    ):
        metric = kind(encoder, reference)
        values = [metric(batch) for batch in images.split(20)] + [metric.compute()]
        for value, batch in zip(values, [*images.split(20), images], strict=True):
            expected = METRICS[name].compute(fake=pool(encoder, batch), **given)
            assert value.item() == pytest.approx(expected.item(), rel=1e-6), name


@pytest.mark.parametrize(
    "images",
    [
        torch.rand(2, 3, 8, 8),
        torch.zeros(2, 3, 8, 8, dtype=torch.int64),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 8, 8, 3, dtype=torch.uint8),
        torch.zeros(0, 3, 8, 8, dtype=torch.uint8),
    ],
)
def test_images_other_than_uint8_are_refused(images: Tensor):
    with pytest.raises(EvalkitError, match=r"expected uint8 \[N, 3, H, W\]"):
        FID(Pixels()).update(images)


@pytest.mark.parametrize(
    ("images", "hint"),
    [
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), r"permute\(0, 3, 1, 2\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"images\[None\]"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), r"expand\(-1, 3, -1, -1\)"),
        (torch.zeros(2, 4, 8, 8, dtype=torch.uint8), r"images\[:, :3\]"),
        (torch.zeros(2, 3, 0, 8, dtype=torch.uint8), "at least one pixel"),
        (torch.full((2, 3, 8, 8), 0.5), "floats from 0 to 1"),
        (torch.full((2, 3, 8, 8), -0.5), "floats from -1 to 1"),
        (torch.full((2, 3, 8, 8), 200.0), "floats from 0 to 255"),
        (torch.full((2, 3, 8, 8), 200), "integers from 0 to 255"),
        (torch.ones(2, 3, 8, 8, dtype=torch.bool), "truth values"),
        (torch.full((2, 3, 8, 8), torch.nan), "no finite numbers"),
        (torch.ones(2, 3, 8, 8, dtype=torch.uint8), "floats from 0 to 1"),
        ([1, 2], "from_numpy"),
    ],
)
def test_the_error_says_how_to_convert(images: Tensor, hint: str):
    metric = FID("pixels")
    with pytest.raises(EvalkitError) as error:
        metric.update(images)
    assert re.search(hint, error.value.hint)


@pytest.mark.parametrize(
    "ends", [(-1.02, 1.02), (-1.0, 1.0), (0.0, 1.2), (0.4, 255.7), (-5, 70_000), (False, True)]
)
def test_the_conversion_that_the_hint_names_does_not_wrap(ends: tuple[float, float]):
    """Generators go a little beyond their range: white must not become black."""
    images = torch.tensor(ends)[:, None, None, None].expand(2, 3, 8, 8)
    with pytest.raises(EvalkitError) as error:
        FID("pixels").update(images)
    [code] = re.findall("`(.+)`", error.value.hint)
    made = eval(code, {"images": images, "torch": torch})
    assert made.dtype == torch.uint8
    assert made[:, 0, 0, 0].tolist() == [0, 255]
    if not isinstance(ends[0], bool):
        assert f"with values from {ends[0]:.4g} to {ends[1]:.4g};" in error.value.message


def test_an_image_of_0_and_1_only_is_refused_as_score_does():
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    images[1] = images[1] % 2
    with pytest.raises(EvalkitError, match="contains only 0 and 1"):
        FID("pixels").update(images)
    images[1] = 0  # a black image is one
    FID("pixels").update(images)


def test_a_wrong_encoder_or_reference_is_refused_at_once(inception):
    scenes = evalkit.reference("scenes", inception)
    with pytest.raises(EvalkitError, match="needs 'logits' features; the encoder pixels has pool"):
        InceptionScore(Pixels())
    with pytest.raises(EvalkitError, match="does not"):
        ClipScore(Pixels())
    with pytest.raises(EvalkitError, match="the reference has 8"):
        FID(Pixels(), _OfDimension(8))
    with pytest.raises(EvalkitError, match="holds no features of single images of 'pool'"):
        KID(Pixels(), _OfDimension(192))
    with pytest.raises(EvalkitError, match="a reference too"):
        FID(inception, scenes).update(random_images(2, 1), real=True)


def test_names_stand_for_encoder_reference_and_metric(inception):
    images, scenes = random_images(40, 1), evalkit.reference("scenes", inception)
    for kind in (FID, KID, Precision, Recall):
        by_name, given = kind("mini-inception", "scenes"), kind(inception, scenes)
        for metric in (by_name, given):
            metric.update(images)
        assert by_name.compute().item() == pytest.approx(given.compute().item(), rel=1e-6)
    assert FID("mini-inception").encoder is by_name.encoder  # one network, one pass per batch
    path = Path(__file__).parent.parent / "reference_stats" / "scenes"
    mind = SetMetric("mind", "mini-inception", path)
    mind.update(images)
    assert mind.compute() > 0
    score = ClipScore("mini-clip")
    score.update(images, ["a red circle"] * 40)
    assert -100 < score.compute() < 100


def test_wrong_names_give_the_usual_sentences():
    for wrong, sentence in (
        (lambda: FID("mini-incepton"), "no encoder 'mini-incepton'. Did you mean 'mini-inception'"),
        (lambda: FID("mini-inception", "scene"), "no reference 'scene'. Did you mean 'scenes'"),
        (lambda: SetMetric("minds", "pixels"), "no metric 'minds'. Did you mean 'mind'"),
        (lambda: FID("pixels", "scenes"), "'scenes' has no statistics for the encoder pixels"),
        (lambda: FID("mini-clip", "scenes"), "on encoders of the kind inception; mini-clip is of"),
    ):
        with pytest.raises(EvalkitError) as error:
            wrong()
        assert sentence in str(error.value)


def test_a_reference_of_another_encoder_is_refused(inception):
    clip = evalkit.reference("scenes", evalkit.encoder("mini-clip", "cpu"))
    with pytest.raises(EvalkitError, match="made with mini-clip; the encoder is mini-inception"):
        FID(inception, clip)


class _OfDimension:
    def __init__(self, dimension: int) -> None:
        self.moments = {"pool": frechet.moments(torch.rand(5, dimension))}
        self.features: dict[str, Tensor] = {}


def test_a_user_metric_as_an_object():
    def spread(*, fake: Tensor) -> Tensor:
        return fake.double().std(dim=0).mean()

    found = SetMetric(Metric("spread", spread, "pool", "inception", "higher", ""), Pixels())
    images = random_images(10, 1)
    for batch in images.split(3):
        found.update(batch)
    assert found.compute() == spread(fake=pool(Pixels(), images))
    assert found.state_dict() == {}
    copy = found.clone()
    copy.update(images)
    assert copy.compute() != found.compute()


RANK = """
import sys, torch
sys.path[:0] = {paths!r}
from test_torchmetrics import METRICS, Pixels, random_images, OBJECTS, FID, KID, Recall, SetMetric
rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
encoder, fake, real = Pixels(), random_images(30, 1), random_images(41, 2)
found = [FID(encoder), KID(encoder), Recall(encoder), SetMetric(METRICS["memorization"], encoder)]
values = []
for shares in ((17, 30), (30, 30)):  # the second time, one process has no generated images
    mine = fake[: shares[0]] if rank == 0 else fake[shares[0] :]
    for metric in found:
        metric.reset()
        for batch in (real[:11] if rank == 0 else real[11:]).split(8):
            metric.update(batch, real=True)
        for batch in mine.split(5) if len(mine) else ():
            metric.update(batch)
        values.append(metric.compute())
        values.append(metric.compute())  # synced again, from states that were restored
torch.save(torch.stack(values), store + str(rank))
torch.distributed.destroy_process_group()
"""


def test_two_processes_give_the_values_of_one(tmp_path: Path):
    here = Path(__file__).parent
    code = RANK.format(paths=[str(here), str(here / "helpers")])
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(rank), str(tmp_path / "store")])
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    encoder = Pixels()
    fake, real = pool(encoder, random_images(30, 1)), pool(encoder, random_images(41, 2))
    fake_moments, real_moments = frechet.moments(fake), frechet.moments(real)
    values = [frechet.frechet_distance(fake_moments=fake_moments, real_moments=real_moments)]
    for name in ("kid", "recall", "memorization"):
        values.append(METRICS[name].compute(fake=fake, real=real).mean())
    expected = torch.stack(values).repeat_interleave(2).repeat(2)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"store{rank}", weights_only=True)
        assert torch.allclose(found, expected, rtol=1e-7)


def test_the_earlier_place_still_works() -> None:
    import evalkit.torchmetrics as now
    from evalkit.metrics import torch as earlier

    assert all(getattr(earlier, name) is getattr(now, name) for name in now.__all__)
