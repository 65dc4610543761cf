"""The stored values are those of the other libraries, and they are complete."""

from __future__ import annotations

import hashlib

import numpy as np
import peer_values
import pytest
from installed_metrics import METRICS

from evalkit.doctor import fixed
from evalkit.doctor.metrics import oracles
from evalkit.models.load import BUNDLED

STORED = oracles()


def test_every_metric_and_every_bundled_file_has_a_value() -> None:
    assert set(STORED["metrics"]) == set(METRICS) == set(peer_values.METRICS)
    assert set(STORED["weights"]) == {path.name for path in BUNDLED.glob("*.safetensors")}
    assert set(STORED["networks"]) >= {path.stem for path in BUNDLED.glob("*.safetensors")}


@pytest.mark.parametrize("name", peer_values.METRICS)
def test_the_values_of_metrics(name: str) -> None:
    stored, peer = STORED["metrics"][name], peer_values.METRICS[name]
    assert stored["value"] == pytest.approx(peer_values.value(name), rel=1e-7)
    assert tuple(stored.get("counts", peer_values.COUNTS)) == peer.counts
    assert stored["tolerance"] <= 1e-5


@pytest.mark.parametrize("name", peer_values.RESIZES)
def test_the_values_of_resized_images(name: str) -> None:
    found = peer_values.digest(peer_values.RESIZES[name][1]())
    assert STORED["resizes"][name]["digest"] == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("name", peer_values.NETWORKS)
def test_the_values_of_networks(name: str) -> None:
    found = peer_values.digest(peer_values.NETWORKS[name][1]())
    assert STORED["networks"][name]["digest"] == pytest.approx(found, rel=1e-5, abs=1e-5)


def test_the_fixed_inputs_are_the_same_bits_everywhere() -> None:
    given = fixed.inputs(30, 20, 7)
    rows = [given[name].astype("<f4").tobytes() for name in ("fake", "real", "text")]
    rows += [np.asarray(image).tobytes() for image in fixed.images()]
    digest = hashlib.sha256(b"".join(rows)).hexdigest()
    assert digest[:16] == "2398ae3ba1af34ad"
