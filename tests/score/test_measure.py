"""One metric on one model: value, interval, range, and faults of user metrics."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from installed_metrics import METRICS
from torch import Tensor

from evalkit.core import EvalkitError, Metric
from evalkit.metrics import frechet
from evalkit.reference.files import Reference
from evalkit.score.evidence import Evidence
from evalkit.score.measure import measure


def evidence(fake: Tensor, reference: Reference | None = None) -> Evidence:
    return Evidence("toy", {"pool": fake}, np.arange(len(fake)), {}, reference)


def metric(compute: Any, **more: Any) -> Metric:
    return Metric("mine", compute, "pool", "inception", "higher", **more)


def reference_of(features: Tensor) -> Reference:
    return Reference("r", "toy", {"pool": frechet.moments(features)}, {"pool": features}, "")


def spread(*, fake: Tensor) -> Tensor:
    return fake.var(dim=0).mean()


def brightness(*, fake: Tensor, gain: float = 2.0) -> Tensor:
    return gain * fake[:, 0]


FAKE = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))


def test_a_user_metric_gets_an_interval():
    found = measure(metric(spread), evidence(FAKE))
    assert found.value == pytest.approx(float(FAKE.var(dim=0).mean()))
    assert found.interval.method.startswith("jackknife over 20 groups")
    found = measure(metric(brightness), evidence(FAKE))
    assert found.per_image is not None
    assert found.interval.method.startswith("bootstrap over 60 prompts")
    assert metric(brightness).options == {"gain": 2.0}


def test_a_user_metric_has_the_features_of_a_bundled_one():
    """Its quick interval, its approximation note, its description and its caution are used."""
    groups_seen = []

    def without(*, fake: Tensor, groups: Tensor) -> Tensor:
        groups_seen.append(int(groups.max()) + 1)
        return torch.stack([spread(fake=fake[groups != group]) for group in range(20)])

    slow = measure(metric(spread), evidence(FAKE))
    quick = measure(
        metric(
            spread,
            leave_out=without,
            approximation=lambda *, fake, dimension: f"{fake} x {dimension}",
            describe=lambda *, fake, real: f"{fake} against {real}",
            caution=lambda *, fake, dimension: f"{fake} are few for {dimension}",
        ),
        evidence(FAKE),
    )
    assert groups_seen == [20]
    assert quick.interval[:2] == pytest.approx(slow.interval[:2])
    assert quick.interval.method.endswith(", 60 x 5")
    assert quick.note == "60 against 0"
    assert quick.caution == "60 are few for 5"


def test_a_metric_with_an_unknown_request_is_refused():
    def wrong(*, fake: Tensor, captions: list[str]) -> Tensor:
        return fake[0, 0] * len(captions)

    with pytest.raises(
        EvalkitError, match=r"'mine' requests fake, captions; expected some of fake"
    ):
        measure(metric(wrong), evidence(FAKE))


@given(st.floats(-2, 3))
def test_values_far_outside_the_stated_range_are_an_error(value: float):
    stated = metric(lambda *, fake: torch.tensor(value, dtype=torch.float64), range=(0.0, 1.0))
    if -1e-6 <= value <= 1 + 1e-6:
        found = measure(stated, evidence(FAKE))
        assert found.value == min(max(value, 0.0), 1.0)
    else:
        with pytest.raises(EvalkitError, match=r"'mine' has the value .* stated range 0 to 1"):
            measure(stated, evidence(FAKE))


@pytest.mark.parametrize("name", sorted(METRICS))
def test_interval_ends_stay_in_the_range(name: str):
    low, high = METRICS[name].range
    assert low < high
    random = torch.Generator().manual_seed(1)
    known = reference_of(torch.randn(40, 8, generator=random))
    for fake in (torch.randn(40, 8, generator=random), known.features["pool"]):
        feature = METRICS[name].feature
        if name == "lpips_diversity":
            fake = fake[:, :1].abs()
        held = Reference(
            "r", "toy", {feature: frechet.moments(known.features["pool"])},
            {feature: known.features["pool"]}, "",
        )  # fmt: skip
        given = Evidence(
            "toy", {feature: fake}, np.arange(40), {"": fake, "A photo depicts ": fake}, held
        )
        found = measure(METRICS[name], given)
        assert found.value is not None, found.note
        assert low <= found.value <= high
        if found.interval.low is not None:
            assert low <= found.interval.low <= found.interval.high <= high


def test_fid_of_a_set_with_itself_is_zero():
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(2))
    found = measure(METRICS["fid"], evidence(features, reference_of(features)))
    assert found.value is not None
    assert 0 <= found.value < 1e-9
    assert found.interval.low == 0.0


def test_a_name_gives_a_user_metric_no_special_treatment():
    """Called "recall", with values near 500: no Wilson interval, nothing clamped to 0 and 1."""
    named = Metric("recall", lambda *, fake: 500 + fake.mean(), "pool", "inception", "higher")
    found = measure(named, evidence(FAKE))
    assert found.interval.low is not None
    assert found.interval.high is not None
    assert 499 < found.interval.low < (found.value or 0) < found.interval.high < 501


def test_a_share_without_spread_gets_wilsons_interval():
    share = metric(lambda *, fake: torch.tensor(0.0), range=(0.0, 1.0))
    found = measure(share, evidence(FAKE))
    assert found.interval.low == 0.0
    assert 0.01 < (found.interval.high or 0) < 0.2
    assert found.interval.method.startswith("Wilson, 60 prompts")


@pytest.mark.parametrize(
    ("result", "value"),
    [
        (0.1, 0.1),
        (np.float64(0.1), 0.1),
        (3, 3.0),
        (torch.tensor(0.25, dtype=torch.bfloat16, requires_grad=True), 0.25),
        (torch.ones(60).to_sparse(), 1.0),
        ([0.1] * 60, 0.1),
        (torch.arange(60) < 15, 0.25),
    ],
)
def test_numbers_of_any_type_are_accepted_with_all_their_digits(result: Any, value: float):
    found = measure(metric(lambda *, fake: result), evidence(FAKE))
    assert found.value == pytest.approx(value, rel=1e-15)


def test_a_masked_value_is_not_measured():
    found = measure(metric(lambda *, fake: np.ma.masked), evidence(FAKE))
    assert found.note == "not measured: the value is not finite"


class Exits:
    def __array__(self, *_: object, **__: object) -> None:
        raise SystemExit(0)


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda *, fake: fake, r"'mine' returned a tensor of shape \(60, 5\); expected \[\] or"),
        (lambda *, fake: fake[:7, 0], r"'mine' returned a tensor of shape \(7,\)"),
        (lambda *, fake: "0.5", "'mine' returned a str; expected a tensor"),
        (lambda *, fake: 1 / 0, "'mine' failed: ZeroDivisionError: division by zero"),
        (lambda *, fake: fake[:0, 0], r"'mine' returned a tensor of shape \(0,\)"),
        (lambda *, fake: True, "'mine' returned a bool; expected a tensor of real numbers"),
        (lambda *, fake: torch.tensor(True), "'mine' returned a Tensor; expected"),
        (lambda *, fake: 10**400, "'mine' returned an int; expected"),
        (lambda *, fake: None, "'mine' returned None; expected"),
        (lambda *, fake: torch.tensor(0.0, device="meta"), "'mine' failed: NotImplementedError"),
        (lambda *, fake: Exits(), "'mine' failed: SystemExit: 0"),
        (lambda *, fake: torch.nested.nested_tensor([fake[0]]), "'mine' returned a Tensor; exp"),
    ],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_the_error_of_a_faulty_metric_names_it(compute: Any, message: str):
    with pytest.raises(EvalkitError, match=message) as caught:
        measure(metric(compute), evidence(FAKE))
    assert caught.value.exit_code == 2


def test_a_value_that_is_not_finite_is_not_measured():
    found = measure(metric(lambda *, fake: torch.tensor(math.nan)), evidence(FAKE))
    assert found == type(found)(None, note="not measured: the value is not finite")


@pytest.mark.parametrize("name", ["fid", "kid", "precision", "recall"])
def test_features_that_are_not_finite_are_not_measured(name: str):
    fake = torch.randn(30, 8)
    fake[3, 1] = float("nan")
    found = measure(METRICS[name], evidence(fake, reference_of(torch.randn(40, 8))))
    assert found.value is None
    assert "1 of 30 images hold NaN" in found.note


@pytest.mark.parametrize("name", ["fid", "kid", "precision", "recall"])
def test_a_reference_of_another_dimension_is_not_measured(name: str):
    found = measure(METRICS[name], evidence(torch.randn(30, 8), reference_of(torch.randn(40, 9))))
    assert "8 dimensions and the reference has 9" in found.note


def halved(*, fake: Tensor) -> Tensor:
    fake /= 2
    return fake.mean()


@functools.wraps(frechet.moments)
def disguised(*, fake: Tensor) -> Tensor:
    """`wraps` gives it the module of evalkit's own function."""
    return halved(fake=fake)


del disguised.__wrapped__  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "compute",
    [
        pytest.param(halved, id="in place"),
        pytest.param(functools.partial(halved), id="partial"),
        pytest.param(disguised, id="disguised"),
        pytest.param(lambda *, fake: fake.numpy().fill(0) or 0.0, id="numpy"),
    ],
)
def test_a_metric_that_works_in_place_changes_no_other(compute: Any):
    given = evidence(FAKE.clone())
    measure(metric(compute), given)
    assert torch.equal(given.fake["pool"], FAKE)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"better": "up"}, "better = 'up'; expected lower or higher"),
        ({"encoder": "foo"}, "encoder = 'foo'; expected inception"),
        ({"range": 5}, "range = 5; expected two numbers"),
        ({"range": (1, 0)}, "expected two numbers, the lower one first"),
        ({"name": "a/../b"}, "expected letters, digits"),
        ({"title": 3}, "title = 3; expected a text"),
        ({"describe": "text"}, "describe = 'text'; expected a function"),
        ({"compute": None}, "compute = None; expected a function"),
    ],
)
def test_wrong_fields_are_found_when_the_metric_is_made(fields: dict[str, Any], message: str):
    with pytest.raises(EvalkitError, match=re.escape(message)):
        dataclasses.replace(metric(spread), **fields)


@pytest.mark.parametrize(
    ("field", "function", "message"),
    [
        ("describe", lambda: "x", "'mine' failed in describe: TypeError"),
        ("describe", lambda *, fake, real: 5, "returned an int from describe; expected a text"),
        ("approximation", lambda *, fake, dimension: 1 / 0, "failed in approximation: ZeroDiv"),
        ("leave_out", lambda *, fake, groups: fake[:3, 0], "of shape (3,) from leave_out"),
        ("leave_out", lambda *, fake, groups: 1 / 0, "failed in leave_out: ZeroDivisionError"),
        ("leave_out_pairs", lambda *, fake, groups: fake[0], "expected [190], one value per two"),
    ],
)
def test_faulty_optional_functions_are_one_sentence(field: str, function: Any, message: str):
    with pytest.raises(EvalkitError, match=re.escape(message)):
        measure(metric(spread, **{field: function}), evidence(FAKE))


def test_leave_out_values_that_are_not_finite_give_no_interval():
    nan = metric(spread, leave_out=lambda *, fake, groups: torch.full((20,), math.nan))
    found = measure(nan, evidence(FAKE))
    assert found.value is not None
    assert found.interval.low is None
    assert "is not finite" in found.interval.method


def _too_many(*, fake: Any, groups: Any) -> Any:
    raise EvalkitError("too many")


@pytest.mark.parametrize("pairs", [_too_many, lambda *, fake, groups: torch.full((190,), math.nan)])
def test_without_values_of_pairs_all_else_is_measured(pairs: Any):
    found = measure(metric(spread, leave_out_pairs=pairs), evidence(FAKE))
    assert found.interval == measure(metric(spread), evidence(FAKE)).interval
    assert found.left_out_pairs is None


def test_why_there_is_no_value_comes_with_what_to_do():
    def single(*, fake: Any) -> Any:
        raise EvalkitError("no prompt has two images.", "Generate more: `--per-prompt 2`.")

    note = measure(metric(single), evidence(FAKE)).note
    assert note == "not measured: no prompt has two images. Generate more: `--per-prompt 2`."


def test_values_whose_mean_overflows_are_not_measured():
    huge = metric(lambda *, fake: torch.full((len(fake),), 1.7e308, dtype=torch.float64))
    assert measure(huge, evidence(FAKE)).note == "not measured: the value is not finite"


@pytest.mark.parametrize("result", [np.array(["a", "b"]), torch.tensor(1j), [1, "x"]])
def test_results_that_are_not_real_numbers_are_refused(result: Any):
    with pytest.raises(EvalkitError, match="expected a tensor of real numbers"):
        measure(metric(lambda *, fake: result), evidence(FAKE))
