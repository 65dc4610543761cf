"""Two sides of one model, as the gate compares a candidate with its baseline.

What stands for "the same model with another seed" depends on the run:

- several images per prompt: half of them at random against the other half, prompt by prompt. This
  is the pairing of the gate.
- one image per prompt: random pairs of prompts of the same group, and of each pair one prompt at
  random on each side. These are two independent sets of half as many images. The difference is
  noisier than that of a gate, as other prompts are part of it.

In both, the two images of a pair are exchangeable: under the swaps, "no difference" is exactly true
of these very images, and any regression that is found is a false alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Literal, NamedTuple

import numpy as np
import torch

from evalkit.core import DISTRIBUTION, EncoderKind, Measure, Prompt
from evalkit.gate.selftest.damage import ABSENT, BLACK, Damage, Places
from evalkit.gate.snapshot import BLACK as BLACK_RATE
from evalkit.gate.snapshot import MISSING, SHARPNESS, Key, Snapshot, State, state_of
from evalkit.score.evidence import Evidence, Setup
from evalkit.score.records import MEASURES
from evalkit.statistics.intervals import cluster_numbers

Pairing = Literal["samples", "halves"]
STANDS_FOR: Mapping[Pairing, str] = {
    "samples": "two seeds: half of the images of each prompt against the other half",
    "halves": "two independent sets: one half of the prompts against the other half, as there is"
    " one image per prompt; noisier than two seeds on the same prompts",
}
Features = Mapping[EncoderKind, Evidence]


@dataclass(frozen=True)
class Pool:
    """One model's requests, and the features of its usable images."""

    model: str
    setup: Setup
    features: Features  # of the usable images, row by row; the last row is a black image
    damages: tuple[Damage, ...]
    changed: Mapping[str, Features]  # by name of a damage with other images: the same rows
    rows: np.ndarray  # int [requests]: the row of each image, or ABSENT
    refused: np.ndarray  # bool [requests]
    black: np.ndarray  # bool [rows]
    sharpness: Mapping[str, np.ndarray]  # float64 [rows], by name of the damage, "" for none
    units: tuple[tuple[str, tuple[int, ...]], ...]  # by prompt: its group, and its requests

    @property
    def pairing(self) -> Pairing:
        several = sum(len(requests) > 1 for _, requests in self.units)
        return "samples" if 2 * several > len(self.units) else "halves"

    @property
    def most(self) -> int:
        """The prompts of each side of a split of everything."""
        if self.pairing == "samples":
            return sum(len(requests) > 1 for _, requests in self.units)
        groups = [group for group, _ in self.units]
        return sum(groups.count(group) // 2 for group in dict.fromkeys(groups))


def units_of(
    prompts: Sequence[Prompt], requests: Sequence[int]
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """By prompt: its group, and its requests. Prompts of the same text are one.

    requests: the place of the prompt of each request.
    """
    found: dict[str, tuple[str, list[int]]] = {}
    for place, index in enumerate(requests):
        prompt = prompts[index]
        found.setdefault(prompt.text, (prompt.group, []))[1].append(place)
    return tuple((group, tuple(places)) for group, places in found.values())


class Split(NamedTuple):
    """Pairs of requests; rows correspond."""

    keys: tuple[Key, ...]  # the number of the pair's prompt or prompts, and of its sample
    groups: Mapping[str, str]  # of the prompts
    first: np.ndarray  # int [N]: requests
    second: np.ndarray


def split(pool: Pool, prompts: int, random: np.random.RandomState) -> Split:
    """A random split with this many prompts on each side, at most `pool.most`."""
    pairs: list[tuple[str, list[tuple[int, int]]]] = []
    if pool.pairing == "samples":
        for group, requests in pool.units:
            if len(requests) > 1:
                order = random.permutation(requests)
                half = len(order) // 2
                pairs.append((group, list(zip(order[:half], order[half : 2 * half], strict=True))))
    else:
        by_group: dict[str, list[int]] = {}
        for group, requests in pool.units:
            by_group.setdefault(group, []).append(requests[0])
        for group, requests in by_group.items():
            order = random.permutation(requests)
            half = len(order) // 2
            pairs += [(group, [pair]) for pair in zip(order[:half], order[half:], strict=False)]
    chosen = np.sort(random.choice(len(pairs), min(prompts, len(pairs)), replace=False))
    keys = [(str(at), sample) for at in chosen for sample in range(len(pairs[at][1]))]
    requests = np.array([pair for at in chosen for pair in pairs[at][1]], dtype=np.int64)
    groups = {str(at): pairs[at][0] for at in chosen}
    return Split(tuple(keys), groups, requests[:, 0], requests[:, 1])


def sides(
    pool: Pool, cut: Split, damage: Damage | None = None, seed: int = 0
) -> tuple[Snapshot, Snapshot]:
    """Candidate and baseline: the first requests of a split, with damage, and the second ones.

    As in the gate, properties of images are measured on the images that both sides have.
    """
    table, sharpness = pool.features, pool.sharpness[""]
    places = pool.rows[cut.first]
    if damage is not None and damage.places is not None:
        places = damage.places(places, np.random.RandomState(seed))
    elif damage is not None:
        table, sharpness = pool.changed[damage.name], pool.sharpness[damage.name]
    other = pool.rows[cut.second]
    both = (places != ABSENT) & (other != ABSENT)
    return (
        _snapshot(pool, cut, cut.first, places, both, table, sharpness),
        _snapshot(pool, cut, cut.second, other, both, pool.features, pool.sharpness[""]),
    )


def _snapshot(
    pool: Pool,
    cut: Split,
    requests: np.ndarray,
    places: Places,
    both: np.ndarray,
    table: Features,
    sharpness: np.ndarray,
) -> Snapshot:
    keys = tuple(key for key, taken in zip(cut.keys, both, strict=True) if taken)
    prompts = pool.rows[requests][both]  # the rows whose prompts belong to these places
    evidence = {
        kind: _placed(one, places[both], prompts, [prompt for prompt, _ in keys])
        for kind, one in table.items()
        if keys
    }
    states = {one.name: state_of(one, evidence, keys, pool.setup) for one in pool.setup.metrics}
    refused = pool.refused[requests]
    present = places != ABSENT
    dark = pool.black[places[present]]
    dark[places[present] == BLACK] = True
    sharp = np.where(places[present] == BLACK, 0.0, sharpness[places[present]])
    shown = tuple(key for key, there in zip(cut.keys, present, strict=True) if there)
    states |= _measured(
        (MEASURES["refusal_rate"], cut.keys, refused),
        (MISSING, cut.keys, ~present & ~refused),
        (BLACK_RATE, shown, dark),
        (SHARPNESS, shown, sharp),
    )
    texts = {prompt: prompt for prompt in cut.groups}
    return Snapshot(pool.model, pool.model, texts, cut.groups, {}, states, version(DISTRIBUTION))


def _placed(
    evidence: Evidence, images: Places, prompts: np.ndarray, clusters: Sequence[str]
) -> Evidence:
    rows, own = torch.from_numpy(images), torch.from_numpy(prompts)
    return replace(
        evidence,
        fake={name: values[rows] for name, values in evidence.fake.items()},
        texts={name: values[own] for name, values in evidence.texts.items()},
        clusters=cluster_numbers(clusters),
        draws=None,
    )


def _measured(*given: tuple[Measure, tuple[Key, ...], np.ndarray]) -> dict[str, State]:
    """What the gate measures itself, with one value per request or image."""
    return {
        measure.name: State(
            measure, "", "", float(np.mean(values)), values=tuple(map(float, values)), keys=keys
        )
        for measure, keys, values in given
        if len(values)
    }
