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
from evalkit.reference.files import load
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


@pytest.mark.parametrize(
    ("encoder", "features"),
    [(MiniInceptionEncoder, {"pool", "spatial"}), (MiniClipEncoder, {"pool"})],
)
def test_the_shipped_reference_covers_every_feature_of_a_mini_encoder(
    encoder: type, features: set[str]
):
    reference = load("scenes", encoder("cpu"))
    assert set(reference.moments) == features
    assert reference.count == 10_000


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
