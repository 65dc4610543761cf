"""References are found and read; those that do not fit the encoder are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from counting_encoder import smooth_image

from evalkit.core import EvalkitError
from evalkit.encoders.pixels import Pixels
from evalkit.reference.build import build_from_images
from evalkit.reference.files import reference


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
        with pytest.raises(EvalkitError, match=r"cannot be read|is empty; expected a zip archive"):
            reference(str(damaged), Pixels())
    np.savez(damaged, mu=np.zeros(3), sigma=np.zeros((2, 2)))
    with pytest.raises(EvalkitError, match="expected finite"):
        reference(str(damaged), Pixels())


def test_files_of_other_tools_have_moments_only(tmp_path: Path):
    np.savez(tmp_path / "coco.npz", mu=np.zeros(192), sigma=np.eye(192))
    found = reference(str(tmp_path / "coco.npz"), Pixels())
    assert (found.name, found.features, found.count) == ("coco", {}, 0)
