"""Properties of all installed metrics: groups left out, order, block size, bad features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from installed_metrics import METRICS
from random_features import groups_of, rows
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.metrics import frechet, numeric
from evalkit.metrics.memoized import clear_memoized

ON_FEATURES = [name for name in METRICS if name != "lpips_diversity"]
# The forms of fid_infinity and mind are not recomputations: see test_infinity.py, test_mind.py.
RECOMPUTED = [
    name
    for name, metric in METRICS.items()
    if metric.leave_out is not None and name not in ("fid_infinity", "mind")
]


def inputs(name: str, real: Tensor, text: Tensor | None = None) -> dict[str, object]:
    """What a metric requests besides the generated features."""
    known = {"real": real, "real_moments": frechet.moments(real), "text": text}
    return {request: known[request] for request in METRICS[name].needs if request != "fake"}


def test_charts_begin_at_zero_where_zero_is_a_value_to_compare_with():
    """Shares, kernel and transport distances; elsewhere small differences would not be seen."""
    found = {name for name, metric in METRICS.items() if metric.from_zero}
    assert found == {"coverage", "density", "kid", "cmmd", "mind", "precision", "recall"}


@pytest.mark.parametrize(("count", "dimension"), [(30, 12), (20, 64)])
@pytest.mark.parametrize("name", RECOMPUTED)
def test_leave_out_is_the_metric_without_each_group(name: str, count: int, dimension: int):
    fake, groups = rows(count, dimension, 1, 0.2), groups_of(count, 6, 3)
    given = inputs(name, rows(50, dimension, 2))
    quick = METRICS[name].leave_out(fake=fake, groups=groups, **given)
    kept = [fake[groups != group] for group in range(6)]
    slow = torch.stack([METRICS[name].compute(fake=x, **given) for x in kept])
    tolerance = 1e-4 if name in ("fid", "sfid", "fd_dinov2") else 1e-7
    assert torch.allclose(quick, slow, rtol=tolerance, atol=1e-9)


@pytest.mark.parametrize(("count", "dimension"), [(40, 16), (25, 64)])
@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name].leave_out_pairs])
def test_leave_out_pairs_is_the_metric_without_each_two_groups(
    name: str, count: int, dimension: int
):
    """The values of FID are approximate."""
    fake, groups = rows(count, dimension, 1, 0.2), torch.arange(count) % 20
    given = inputs(name, rows(80, dimension, 2))
    quick = METRICS[name].leave_out_pairs(fake=fake, groups=groups, **given)
    pairs = torch.triu_indices(20, 20, 1).T
    kept = [fake[(groups != one) & (groups != two)] for one, two in pairs]
    slow = torch.stack([METRICS[name].compute(fake=x, **given) for x in kept])
    tolerance = 0.15 if name in ("fid", "sfid", "fd_dinov2") else 1e-9
    assert float((quick - slow).abs().max()) < tolerance * float(slow.std())


@pytest.mark.parametrize("elements", [1, 100, 10**6])
@pytest.mark.parametrize("name", ON_FEATURES)
def test_no_value_depends_on_the_block_size(
    name: str, elements: int, monkeypatch: pytest.MonkeyPatch
):
    fake, groups = rows(37, 5, 1), groups_of(37, 5, 3)
    given = inputs(name, rows(41, 5, 2), text=rows(37, 5, 4))

    def values() -> list[Tensor]:
        found = [METRICS[name].compute(fake=fake, **given)]
        if METRICS[name].leave_out is not None:
            found.append(METRICS[name].leave_out(fake=fake, groups=groups, **given))
        return found

    whole = values()
    clear_memoized()
    monkeypatch.setattr(numeric, "BLOCK_ELEMENTS", elements)
    for one, other in zip(whole, values(), strict=True):
        assert torch.allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("name", ["fid", "kid", "cmmd", "recall", "coverage", "vendi"])
def test_values_of_sets_do_not_depend_on_the_order_of_the_images(name: str):
    fake, given = rows(40, 6, 1), inputs(name, rows(50, 6, 2))
    value = METRICS[name].compute(fake=fake, **given)
    assert torch.allclose(METRICS[name].compute(fake=fake.flip(0), **given), value, rtol=1e-12)


@pytest.mark.parametrize("name", ["density", "memorization", "duplicates", "clip_score_paper"])
def test_values_of_images_follow_the_order_of_the_images(name: str):
    fake, other = rows(40, 6, 1), rows(40, 6, 2)
    fake[7] = fake[3] * (1 + 1e-5)
    order = torch.from_numpy(np.random.RandomState(0).permutation(40))
    whole = METRICS[name].compute(fake=fake, **inputs(name, other, text=other))
    moved = METRICS[name].compute(fake=fake[order], **inputs(name, other, text=other[order]))
    assert whole.shape == (40,)
    assert torch.allclose(whole[order], moved, rtol=1e-12)


@pytest.mark.parametrize(
    ("fake", "message"),
    [
        (torch.zeros(0, 4), "shape"),
        (torch.zeros(4), "shape"),
        (torch.zeros(60, 4, dtype=torch.uint8), "type"),
        (torch.full((60, 4), float("nan")), "60 of 60 images hold NaN"),
        (torch.full((60, 4), float("inf")), "60 of 60 images hold NaN"),
    ],
)
@pytest.mark.parametrize("name", ON_FEATURES)
def test_bad_features_are_refused(name: str, fake: Tensor, message: str):
    real = rows(60, 4, 0)
    with pytest.raises(EvalkitError, match=message):
        METRICS[name].compute(fake=fake, **inputs(name, real, text=real))


@pytest.mark.parametrize("name", [name for name in ON_FEATURES if METRICS[name].needs != ("fake",)])
def test_features_of_another_dimension_are_refused(name: str):
    real = rows(60, 4, 0)
    with pytest.raises(EvalkitError, match="3 dimensions and the reference has 4"):
        METRICS[name].compute(fake=rows(60, 3, 1), **inputs(name, real, text=real))
