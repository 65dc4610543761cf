"""The judge network's verdict on images: do they show what was asked for?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.models.mini_inception import Detection, MiniInception, detect, to_unit
from evalkit.scenes.compose import Scene
from evalkit.scenes.dataset import BACKGROUND_NAMES, COLOUR_NAMES, NOUNS, Examples, SceneDataset

BATCH = 250
# the columns of a generator's training curve
CURVE_COLUMNS = ("noun", "colour", "background", "everything", "counts", "pairs")


def verdicts(
    judge: MiniInception, images: Tensor, scenes: Sequence[Scene]
) -> dict[str, list[bool]]:
    """For every question, whether the images are right, over the scenes to which it applies:
    `noun`, and `single/noun` for the scenes of that kind only.

    noun: every object asked for is there. colour: every shape asked for is there in its colour.
    count: there are as many objects as asked for. relation: the two objects of a pair stand as
    asked. background. everything: all of these.

    images: uint8 [N, 3, S, S], S >= 32, averaged to 32 x 32.
    """
    results: dict[str, list[bool]] = defaultdict(list)
    for scene, verdict in zip(scenes, image_verdicts(judge, images, scenes), strict=True):
        for question, right in (verdict | {"everything": all(verdict.values())}).items():
            results[question].append(right)
            results[f"{scene.kind}/{question}"].append(right)
    return results


@torch.no_grad()
def image_verdicts(
    judge: MiniInception, images: Tensor, scenes: Sequence[Scene]
) -> list[dict[str, bool]]:
    """The verdict on each image, in the questions of `verdicts` that apply to its scene."""
    found: list[dict[str, bool]] = []
    device = next(judge.parameters()).device
    for start in range(0, len(scenes), BATCH):
        part = to_unit(images[start : start + BATCH].to(device))
        predictions = judge(F.interpolate(part, size=(32, 32), mode="area"))
        backgrounds = predictions.backgrounds.argmax(1).tolist()
        for scene, detections, background in zip(
            scenes[start : start + BATCH], detect(predictions), backgrounds, strict=True
        ):
            seen = BACKGROUND_NAMES[background] == scene.background
            found.append(verdict_of(scene, detections) | {"background": seen})
    return found


def judge_scenes(judge: MiniInception, images: Tensor, scenes: Sequence[Scene]) -> dict[str, float]:
    """The share of right images for every question of `verdicts`."""
    return {
        question: sum(right) / len(right)
        for question, right in verdicts(judge, images, scenes).items()
    }


def verdict_of(scene: Scene, detections: Sequence[Detection]) -> dict[str, bool]:
    """The verdict on one image, except for its background. Detections: best first."""
    best = detections[: len(scene.items)]
    nouns = [NOUNS[each.noun] for each in best]
    verdict = {
        "noun": all(item.noun in nouns for item in scene.items),
        "count": len(detections) == len(scene.items),
    }
    shapes = [(item.noun, item.colour) for item in scene.items if item.colour]
    if shapes:
        seen = [(NOUNS[each.noun], COLOUR_NAMES[each.colour]) for each in best]
        verdict["colour"] = all(shape in seen for shape in shapes)
    if scene.kind == "pair":
        # reversed: of two detections of one noun, the better one counts
        places = {NOUNS[each.noun]: (each.x, each.y) for each in reversed(best)}
        first, second = (places.get(item.noun) for item in scene.items)
        verdict["relation"] = (
            first is not None and second is not None and _relation(first, second) == scene.relation
        )
    return verdict


def _relation(first: tuple[int, int], second: tuple[int, int]) -> str:
    across, down = first[0] - second[0], first[1] - second[1]
    if abs(across) >= abs(down):
        return "left" if across < 0 else "right"
    return "above" if down < 0 else "below"


def curve_metrics(
    judge: MiniInception | None, images: Tensor, held_out: Examples
) -> dict[str, float]:
    """The CURVE_COLUMNS of a generator's training curve; empty without a judge, and for a user's
    own images, whose contents are unknown.
    """
    if judge is None or not isinstance(held_out, SceneDataset):
        return {}
    shares = judge_scenes(judge, images, held_out.scenes)
    single = {name: shares[f"single/{name}"] for name in CURVE_COLUMNS[:4]}
    return single | {"counts": shares["count/everything"], "pairs": shares["pair/everything"]}


@torch.no_grad()
def detected_nouns(judge: MiniInception, images: Tensor) -> list[set[str]]:
    """The nouns in each image, uint8 [N, 3, 32, 32]."""
    return [
        {NOUNS[each.noun] for each in detections}
        for part in images.to(next(judge.parameters()).device).split(BATCH)
        for detections in detect(judge(to_unit(part)))
    ]
