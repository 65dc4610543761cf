"""References are found and read; those that do not fit the encoder are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from counting_encoder import smooth_image

from evalkit.core import EvalkitError
from evalkit.encoders.pixels import Pixels
from evalkit.metrics import frechet
from evalkit.reference.build import build_from_images
from evalkit.reference.files import Reference, fid_floor, reference


def test_references_of_another_encoder_or_damaged_ones_are_refused(tmp_path: Path):
    class Other(Pixels):
        fingerprint = "pixels-other"

    class Unknown(Pixels):
        name = "unknown"

    build_from_images([smooth_image(seed) for seed in range(9)], name="toy", encoders=[Pixels()])
    with pytest.raises(
        EvalkitError, match="was built with pixels-8x8-1; the encoder pixels is pixels-other"
    ):
        reference("toy", Other())
    with pytest.raises(EvalkitError, match=r"no statistics for the encoder unknown.*pixels"):
        reference("toy", Unknown())
    with pytest.raises(EvalkitError, match="Did you mean 'toy'"):
        reference("toi", Pixels())
    damaged = tmp_path / "damaged.npz"
    for data in (b"", b"PK\x03\x04"):
        damaged.write_bytes(data)
        with pytest.raises(EvalkitError, match="cannot be read"):
            reference(str(damaged), Pixels())
    np.savez(damaged, mu=np.zeros(3), sigma=np.zeros((2, 2)))
    with pytest.raises(EvalkitError, match="expected finite"):
        reference(str(damaged), Pixels())


def test_files_of_other_tools_have_moments_only(tmp_path: Path):
    np.savez(tmp_path / "coco.npz", mu=np.zeros(192), sigma=np.eye(192))
    found = reference(str(tmp_path / "coco.npz"), Pixels())
    assert (found.name, found.features, found.count) == ("coco", {}, 0)
    assert fid_floor(found, 10) is None


def test_fid_floor_is_the_score_of_real_images():
    random = np.random.RandomState(0)
    mixing = random.randn(24, 24) * (1 + np.arange(24)) ** -0.7
    features = torch.from_numpy(random.randn(2000, 24) @ mixing.T).float()
    found = Reference("toy", "x", {"pool": frechet.moments(features)}, {"pool": features}, "")
    for count in (50, 400):
        fresh = [torch.from_numpy(random.randn(count, 24) @ mixing.T) for _ in range(200)]
        expected = np.mean(
            [float(frechet.fid(fake=rows, real_moments=found.moments["pool"])) for rows in fresh]
        )
        assert fid_floor(found, count) == pytest.approx(expected, rel=0.25)
    assert fid_floor(found, 10_000) == pytest.approx((fid_floor(found, 1000) or 0) / 10, rel=1e-9)
    assert fid_floor(found, 1) is None
