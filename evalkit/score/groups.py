"""Rows and comparisons by group of prompts, on the images of each group.

A group is measured as a run of its prompts alone would be, but for properties of the set that
depend on the number of images (FID, recall): these need many images of the group. Models are
compared by group on metrics with one value per image, as a family of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from evalkit.core import EncoderKind, Metric, MetricRow, Prompt
from evalkit.encoders.select import Choice
from evalkit.features.image_sets import ImageSet
from evalkit.score import records
from evalkit.score.compare import Entrant, Pair, pairs
from evalkit.score.evidence import Evidence, Setup, part
from evalkit.score.measure import Measurement
from evalkit.score.rows import measure_images, metric_row
from evalkit.seeds import kind_of
from evalkit.terminal import track

MOST_GROUPS = 24  # those with the most prompts; more would not be readable
# Images of a group, for a property of the set that depends on their number: FID of 60 images says
# little, and 24 such values with intervals take longer than that of all images.
LEAST_IMAGES = 1000
_OTHER_COUNTS = (
    "depends on the number of images: compare models within a group, not a group with another group"
    " or with all prompts"
)
_OTHER_SUBJECTS = (
    "the reference is not of this group's subjects only, and the value includes this difference"
)


class Groups(NamedTuple):
    """The groups of a run's prompts; none where all prompts have the same group, or no group.

    Variants of prompts are a group of their own and give their originals none.
    """

    members: Mapping[str, frozenset[int]] = {}  # what is measured: the positions of the prompts
    left_out: Sequence[str] = ()
    reason: str = ""  # why groups are left out
    # Prompts without a group, which together are no group; 0 where only variants have one.
    without: int = 0
    prompts: int = 0  # all prompts of the run

    def facts(self) -> dict[str, Any]:
        """For protocol.json; {} without groups."""
        if not self.prompts:
            return {}
        return {
            "measured": {name: len(members) for name, members in self.members.items()},
            "left_out": list(self.left_out),
            "reason": self.reason,
            "prompts_without_group": self.without,
        }

    def notes(self) -> list[str]:
        """What the groups leave out, in words."""
        found = []
        if self.left_out:
            some = ", ".join(self.left_out[:5]) + ", …" * (len(self.left_out) > 5)
            found.append(f"{len(self.left_out)} groups are not measured ({self.reason}): {some}")
        if self.without:
            found.append(f"{self.without} of {self.prompts} prompts have no group, and form none")
        return found


def groups_of(prompts: Sequence[Prompt]) -> Groups:
    """The groups in the order of the prompts, and what they leave out."""
    places: dict[str, set[int]] = {}
    for index, prompt in enumerate(prompts):
        places.setdefault(prompt.group, set()).add(index)
    if len(places) < 2:
        return Groups()
    own = {prompt.group for prompt in prompts if not kind_of(prompt.id)}
    if len(own) == 1:  # one group of all originals is no group
        del places[own.pop()]
    without = len(places.pop("", ()))
    largest = sorted(places, key=lambda name: len(places[name]), reverse=True)[:MOST_GROUPS]
    reason = (
        f"only the {MOST_GROUPS} with the most prompts are" if len(places) > MOST_GROUPS else ""
    )
    if len(places[largest[0]]) == 1:
        largest, reason = [], "each has one prompt only"
    members = {name: frozenset(own) for name, own in places.items() if name in largest}
    left_out = [name for name in places if name not in members]
    return Groups(members, left_out, reason, without, len(prompts))


def measure_groups(
    groups: Groups,
    sets: Sequence[ImageSet],
    entrants: Sequence[Entrant],
    setup: Setup,
    choice: Choice,
    tested: Sequence[Metric],
) -> tuple[list[MetricRow], list[Pair]]:
    """The rows of every group and model, and the compared pairs of models.

    Args:
        sets, entrants: the models on all their images, in the same order.
        tested: the metrics on which models may be compared.
    """
    rows: list[MetricRow] = []
    found: list[Pair] = []
    names = track(groups.members, "groups of prompts", len(groups.members), "groups")
    for name in names:
        members, in_group = groups.members[name], []
        for images, whole in zip(sets, entrants, strict=True):
            places = [at for at, one in enumerate(images.records) if one.index in members]
            kept = images.of_prompts(members)
            entrant = _entrant(kept, whole, places, setup, choice)
            in_group.append(entrant)
            for metric in setup.metrics:
                row = metric_row(metric, kept, entrant.measured[metric.name], setup, name)
                rows.append(_cautioned(row, metric))
            rows.append(records.refusal_row(kept.model, kept.all_records, kept.requested, name))
        per_image = [metric for metric in tested if _is_per_image(metric, in_group)]
        found += pairs(in_group, per_image, name)
    return rows, found


def _entrant(
    images: ImageSet, whole: Entrant, places: Sequence[int], setup: Setup, choice: Choice
) -> Entrant:
    """A model on its images of a group, which are at `places` of all its images."""
    evidence: dict[EncoderKind, Evidence] = {}
    if places:
        evidence = {kind: part(one, places) for kind, one in whole.evidence.items()}
    found = {
        metric.name: _measured(metric, images, evidence, choice, whole.measured[metric.name])
        for metric in setup.metrics
    }
    made = [(record.index, record.sample) for record in images.records]
    return Entrant(images.model, evidence, made, found)


def _measured(
    metric: Metric,
    images: ImageSet,
    evidence: Mapping[EncoderKind, Evidence],
    choice: Choice,
    whole: Measurement,
) -> Measurement:
    if whole.failed:  # it is not called again
        return whole
    count, of_set = len(images.files), whole.value is not None and whole.per_image is None
    if of_set and metric.depends_on_count and 0 < count < LEAST_IMAGES:
        few = f"{count} image{'s' * (count > 1)} of this group, fewer than {LEAST_IMAGES:,}"
        return Measurement(None, note=f"not measured: {few}")
    return measure_images(metric, images, evidence, choice)


def _cautioned(row: MetricRow, metric: Metric) -> MetricRow:
    """The row, with what its value may not be compared with."""
    if row.value is None:
        return row
    said = [row.caution, _OTHER_COUNTS if metric.depends_on_count else ""]
    said += [_OTHER_SUBJECTS] if metric.compares else []
    return replace(row, caution="; ".join(filter(None, said)))


def _is_per_image(metric: Metric, entrants: Sequence[Entrant]) -> bool:
    return any(entrant.measured[metric.name].per_image is not None for entrant in entrants)
