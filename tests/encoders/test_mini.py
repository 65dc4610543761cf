"""The small encoders: features, shipped reference statistics, and the metrics they support."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from installed_metrics import METRICS
from PIL import Image

from evalkit.encoders.mini import MiniClipEncoder, MiniInceptionEncoder
from evalkit.images import encode_png
from evalkit.models.load import BUNDLED, load_classifier
from evalkit.models.mini_inception import to_unit
from evalkit.reference.files import reference
from evalkit.scenes.compose import compose, render
from evalkit.score.score import score


def test_features_equal_those_of_the_network():
    network = load_classifier(BUNDLED / "mini-inception.safetensors").eval()
    images = torch.from_numpy(render(compose(5), 32)).permute(2, 0, 1)[None].repeat(3, 1, 1, 1)
    images[1] = images[1].flip(2)
    found = MiniInceptionEncoder("cpu")(images)
    with torch.no_grad():
        whole, fine = network(to_unit(images)), network.trunk(to_unit(images))[0]
    assert torch.equal(found["pool"], whole.pool)
    assert torch.equal(found["logits"], whole.logits)
    assert found["spatial"].shape == (3, 448)
    row, column, channel = 3, 5, 2
    assert torch.equal(
        found["spatial"][:, (row * 8 + column) * 7 + channel], fine[:, channel, row, column]
    )


def test_clip_features_have_unit_length_and_do_not_depend_on_the_batch():
    encoder = MiniClipEncoder("cpu")
    images = torch.stack(
        [encoder.prepare(Image.fromarray(render(compose(seed), 64))) for seed in range(5)]
    )
    pool, texts = encoder(images)["pool"], encoder.text(["a red ball", "two dogs", ""])
    assert pool.shape == (5, 128)
    assert torch.allclose(pool.norm(dim=1), torch.ones(5), atol=1e-5)
    assert torch.allclose(texts.norm(dim=1), torch.ones(3), atol=1e-5)
    alone = torch.cat([encoder(image[None])["pool"] for image in images])
    assert torch.allclose(pool, alone, atol=1e-5)


def test_prompts_of_more_than_24_words_are_cut_off():
    encoder = MiniClipEncoder("cpu")
    prompts = ["dog " * 24, "dog " * 25, "dog " * 24 + "and a red ball"]
    assert encoder.truncated(prompts) == 2
    first, second, third = encoder.text(prompts)
    assert torch.equal(first, second)
    assert torch.equal(first, third)


@pytest.mark.parametrize(
    ("encoder", "features"),
    [(MiniInceptionEncoder, {"pool", "spatial"}), (MiniClipEncoder, {"pool"})],
)
def test_the_shipped_reference_covers_every_feature_of_a_mini_encoder(
    encoder: type, features: set[str]
):
    scenes = reference("scenes", encoder("cpu"))
    assert set(scenes.moments) == features
    assert scenes.count == 10_000


def test_every_metric_of_a_mini_encoder_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "scenes"
    folder.mkdir()
    for seed in range(2_500_000_000, 2_500_000_030):
        (folder / f"{seed}.png").write_bytes(encode_png(Image.fromarray(render(compose(seed), 32))))
    rows = {row.metric: row for row in score(folder, encoders="mini", metrics=("all",))}
    missing = {name for name in METRICS if rows[name].value is None}
    assert missing == {
        "fd_dinov2",
        "lpips_diversity",
        "clip_score",
        "clip_score_paper",
        "retrieval_precision",
    }  # no encoder, no prompts
    for name in METRICS.keys() - missing:
        assert rows[name].encoder in ("mini-inception", "mini-clip")
        assert rows[name].low is None or rows[name].low <= rows[name].value <= rows[name].high  # pyright: ignore
