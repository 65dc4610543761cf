"""Properties of FID-infinity, CMMD, MIND, density, coverage, diversity, memorization and of the
scores that read prompts.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from installed_metrics import METRICS
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.metrics import (
    alignment,
    cmmd,
    coverage,
    diversity,
    frechet,
    infinity,
    manifold,
    memorization,
    mind,
    numeric,
)


def rows(count: int, dimension: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(count, dimension) + shift)


def groups_of(count: int, groups: int, seed: int) -> Tensor:
    random = np.random.RandomState(seed)
    return torch.from_numpy(
        random.permutation(
            np.concatenate([np.arange(groups), random.randint(0, groups, count - groups)])
        )
    )


# --- quick forms ---
def test_mind_without_a_group_matches_sorted_values_by_their_share():
    """Against copies: 3 values against 5 are 15 against 15 once each is repeated."""
    fake, real = rows(5, 4, 1, 0.3), rows(5, 4, 2)
    groups = torch.tensor([0, 0, 1, 2, 2])
    quick = mind.mind_without(fake=fake, real=real, groups=groups, projections=50)
    slow = []
    for group in range(3):
        left = fake[groups != group]
        slow.append(
            mind.mind(
                fake=left.repeat_interleave(5, dim=0),
                real=real.repeat_interleave(len(left), dim=0),
                projections=50,
            )
        )
    assert torch.allclose(quick, torch.stack(slow), rtol=1e-10)


def test_mind_without_a_group_keeps_the_images_that_were_drawn():
    """With more images than the reference has, a new draw for each group would swamp the effect of
    the group.
    """
    fake, real, groups = rows(400, 6, 1, 0.1), rows(100, 6, 2), groups_of(400, 20, 3)
    left_out = mind.mind_without(fake=fake, real=real, groups=groups)
    again = torch.stack([mind.mind(fake=fake[groups != group], real=real) for group in range(20)])
    assert left_out.std() < 0.5 * again.std()
    assert (left_out - mind.mind(fake=fake, real=real)).abs().max() < 0.2 * mind.mind(
        fake=fake, real=real
    )


def test_fid_infinity_moves_a_little_more_than_fid_when_groups_go():
    fake, groups, reference = (
        rows(400, 12, 1, 0.2),
        groups_of(400, 20, 2),
        frechet.moments(rows(900, 12, 3)),
    )
    plain = frechet.fid_without(fake=fake, real_moments=reference, groups=groups)
    found = infinity.fid_infinity_without(fake=fake, real_moments=reference, groups=groups)
    assert found.mean().item() == pytest.approx(
        infinity.fid_infinity(fake=fake, real_moments=reference).item(), rel=1e-9
    )
    ratio = (found - found.mean()) / (plain - plain.mean())
    assert torch.allclose(ratio, ratio[0].expand(20))
    assert 1.0 < float(ratio[0]) < 1.4


@pytest.mark.parametrize("elements", [1, 100, 10**6])
def test_no_result_depends_on_the_block_size(elements: int, monkeypatch: pytest.MonkeyPatch):
    def found() -> list[Tensor]:
        inputs = {"fake": rows(37, 5, 1), "real": rows(41, 5, 2)}
        groups, text = groups_of(37, 5, 3), rows(37, 5, 4)
        values = [
            METRICS[name].compute(**inputs)
            for name in ("cmmd", "mind", "density", "coverage", "memorization")
        ]
        values += [
            METRICS[name].leave_out(**inputs, groups=groups)
            for name in ("cmmd", "mind", "coverage")
        ]
        return [
            *values,
            alignment.retrieval_precision(fake=inputs["fake"], text=text),
            memorization.duplicates(fake=inputs["fake"]),
        ]

    whole = found()
    monkeypatch.setattr(numeric, "BLOCK_ELEMENTS", elements)
    for one, other in zip(whole, found(), strict=True):
        assert torch.allclose(one, other, rtol=1e-10)


# --- what does not matter, and what does ---
@pytest.mark.parametrize("name", ["cmmd", "coverage", "vendi"])
def test_the_order_of_the_images_does_not_matter(name: str):
    fake, real = rows(40, 6, 1), rows(50, 6, 2)
    inputs = {} if name == "vendi" else {"real": real}
    assert torch.allclose(
        METRICS[name].compute(fake=fake, **inputs),
        METRICS[name].compute(fake=fake.flip(0), **inputs),
        rtol=1e-12,
    )


@pytest.mark.parametrize("name", ["density", "memorization", "duplicates", "clip_score_paper"])
def test_values_of_images_follow_the_images(name: str):
    fake, other = rows(40, 6, 1), rows(40, 6, 2)
    fake[7] = fake[3] * (1 + 1e-5)
    order = torch.from_numpy(np.random.RandomState(0).permutation(40))
    inputs, moved = {
        "density": ({"real": other},) * 2,
        "memorization": ({"real": other},) * 2,
        "duplicates": ({}, {}),
    }.get(name, ({"text": other}, {"text": other[order]}))
    whole = METRICS[name].compute(fake=fake, **inputs)
    assert whole.shape == (40,)
    assert torch.allclose(
        whole[order], METRICS[name].compute(fake=fake[order], **moved), rtol=1e-12
    )


def test_equal_sets():
    x = rows(60, 8, 1)
    assert cmmd.cmmd(fake=x, real=x).item() == pytest.approx(0, abs=1e-9)
    assert mind.mind(fake=x, real=x).item() == 0.0
    assert coverage.coverage(fake=x, real=x).item() == 1.0
    assert memorization.memorization(fake=x, real=x).mean().item() == 1.0
    assert memorization.memorization(fake=x + 100, real=x).mean().item() == 0.0


def test_density_forgives_no_outlier_of_the_reference():
    """One real image far away has a wide ball: precision takes everything in it for real, density
    hardly counts it.
    """
    real = torch.cat([rows(200, 4, 1), torch.full((1, 4), 60.0).double()])
    fake = rows(50, 4, 2, shift=30.0)
    assert manifold.precision(fake=fake, real=real, k=5).mean() > 0.9
    assert coverage.density(fake=fake, real=real).mean().item() == pytest.approx(
        0.2
    )  # one ball of five


# --- retrieval ---
def test_images_that_show_their_prompt_are_found_and_equal_prompts_are_one():
    text = torch.eye(6).repeat_interleave(3, dim=0)
    assert alignment.retrieval_precision(fake=text, text=text).tolist() == [1.0] * 18
    assert (
        alignment.retrieval_precision(fake=text.roll(3, dims=0), text=text).tolist() == [0.0] * 18
    )
    assert (
        alignment.retrieval_precision(fake=torch.ones(18, 6), text=text).tolist() == [0.0] * 18
    ), "a tie is a miss"
    with pytest.raises(EvalkitError, match="all images have the same prompt"):
        alignment.retrieval_precision(fake=torch.eye(6), text=torch.ones(6, 6))


def test_fewer_candidates_are_easier():
    text = rows(300, 8, 1)
    fake = rows(300, 8, 2) + 0.5 * text
    found = [
        alignment.retrieval_precision(fake=fake, text=text, candidates=count).mean().item()
        for count in (2, 20, 300)
    ]
    assert found[0] > found[1] > found[2] > 0


# --- copies ---
def test_near_identical_images_are_counted_where_the_whole_set_collapsed_too():
    x = rows(50, 32, 1)
    assert memorization.duplicates(fake=x).sum() == 0
    assert memorization.duplicates_within(fake=x) == 0
    copies = torch.cat([x, x[:3] * 1.001, x[:1]])
    assert memorization.duplicates(fake=copies).nonzero().flatten().tolist() == [
        0,
        1,
        2,
        50,
        51,
        52,
        53,
    ]
    assert (
        memorization.duplicates_within(fake=copies) == 3 + 2
    )  # image 0, its near copy and its copy are three pairs
    collapsed = x[:1] + 1e-3 * rows(40, 32, 2)
    assert memorization.duplicates(fake=collapsed).tolist() == [1.0] * 40
    assert memorization.duplicates_within(fake=collapsed) == 40 * 39 // 2


def test_copies_of_reference_images_are_found():
    real, held_out = rows(400, 24, 1), rows(100, 24, 2)
    copies = real[:100] + 0.01 * rows(100, 24, 3)
    assert memorization.memorization(fake=copies, real=real).mean().item() == 1.0
    assert memorization.memorization(fake=held_out, real=real).mean().item() < 0.6


# --- diversity ---
def test_diversity_of_prompts_with_one_image_is_not_measured():
    known = torch.tensor([[0.4], [0.6], [0.5]])
    assert diversity.lpips_diversity(fake=known).tolist() == pytest.approx([0.4, 0.6, 0.5])
    alone = torch.full((1, 1), float("nan"))
    with pytest.raises(EvalkitError, match="no prompt has two images"):
        diversity.lpips_diversity(fake=alone.repeat(3, 1))
    with pytest.raises(EvalkitError, match="1 of 4 images are the only one of their prompt"):
        diversity.lpips_diversity(fake=torch.cat([known, alone]))
    with pytest.raises(EvalkitError, match="expected one number per image"):
        diversity.lpips_diversity(fake=torch.zeros(3, 2))


def test_vendi_counts_different_images_and_grows_with_the_count():
    x = rows(300, 40, 1)
    values = [diversity.vendi(fake=x[:count]).item() for count in (1, 20, 100, 300)]
    assert values[0] == pytest.approx(1)
    assert values == sorted(values)
    assert diversity.vendi(fake=x[:1].repeat(100, 1)).item() == pytest.approx(1)
    with pytest.raises(EvalkitError, match="ones on its diagonal"):
        diversity.vendi_of_kernel(2 * torch.eye(3))


# --- what is refused ---
@pytest.mark.parametrize("name", [name for name in METRICS if name != "lpips_diversity"])
def test_bad_features_are_refused(name: str):
    import inspect

    real = rows(60, 4, 0)
    inputs = {"real": real, "real_moments": frechet.moments(real), "text": real}
    asked = inspect.signature(METRICS[name].compute).parameters
    inputs = {key: value for key, value in inputs.items() if key in asked}
    bad = [
        (torch.full((60, 4), float("nan")), "60 of 60 images hold NaN"),
        (torch.zeros(60, 4, dtype=torch.uint8), "type"),
    ]
    if inputs:
        bad.append((rows(60, 3, 1), "3 dimensions"))
    for fake, message in bad:
        with pytest.raises(EvalkitError, match=message):
            METRICS[name].compute(fake=fake, **inputs)


def test_too_few_images_and_rows_of_zeros_are_refused():
    real = rows(20, 4, 0)
    for call, message in (
        (
            lambda: infinity.fid_infinity(fake=real, real_moments=frechet.moments(real)),
            "needs at least 30",
        ),
        (lambda: coverage.coverage(fake=real, real=real[:5]), "needs at least 6"),
        (lambda: memorization.memorization(fake=real, real=real[:1]), "needs at least 2"),
        (lambda: memorization.duplicates(fake=real[:1]), "needs at least 2"),
        (lambda: cmmd.cmmd(fake=torch.zeros(3, 4), real=real), "3 of 3 rows are all zero"),
        (lambda: diversity.vendi(fake=torch.zeros(3, 4)), "all zero"),
    ):
        with pytest.raises(EvalkitError, match=message):
            call()
