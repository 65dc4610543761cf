"""Says whether pictures show what was asked for: the measure of everything that we train."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.models.mini_inception import Detection, MiniInception, detect, to_unit
from evalkit.scenes.compose import Scene
from evalkit.scenes.dataset import BACKGROUND_NAMES, COLOUR_NAMES, NOUNS, Examples, SceneDataset

CURVE_COLUMNS = (
    "noun",
    "colour",
    "background",
    "everything",
    "counts",
    "pairs",
)  # the columns of a generator's training curve


@torch.no_grad()
def judge_scenes(judge: MiniInception, pictures: Tensor, truth: list[Scene]) -> dict[str, float]:
    """Shares of pictures that are right, over the scenes to which the question applies. Pictures
    are uint8 [N, 3, S, S], and are averaged to 32 x 32 where they are larger.

    noun: every kind of thing asked for is there. colour: every shape asked for is there in its
    colour. count: as many things as asked for. relation: the two things of a pair stand as asked.
    background. everything: all of these together.
    """
    answers: dict[str, list[bool]] = defaultdict(list)
    device = next(judge.parameters()).device
    for start in range(0, len(truth), 250):
        found = judge(
            F.interpolate(
                to_unit(pictures[start : start + 250].to(device)), size=(32, 32), mode="area"
            )
        )
        backgrounds = found.backgrounds.argmax(1).tolist()
        for scene, things, background in zip(
            truth[start : start + 250], detect(found), backgrounds, strict=True
        ):
            verdict = verdict_of(scene, things)
            verdict["background"] = BACKGROUND_NAMES[background] == scene.background
            verdict["everything"] = all(verdict.values())
            for name, right in verdict.items():
                answers[name].append(right)
                answers[f"{scene.kind}/{name}"].append(right)
    return {name: sum(right) / len(right) for name, right in answers.items()}


def curve_metrics(
    judge: MiniInception | None, pictures: Tensor, held_out: Examples
) -> dict[str, float]:
    """What a generator's training curve shows of it, by the names of CURVE_COLUMNS; nothing where nobody
    knows what is in the pictures.
    """
    if judge is None or not isinstance(held_out, SceneDataset):
        return {}
    right = judge_scenes(judge, pictures, held_out.scenes)
    single = {
        name: right[f"single/{name}"] for name in ("noun", "colour", "background", "everything")
    }
    return single | {"counts": right["count/everything"], "pairs": right["pair/everything"]}


@torch.no_grad()
def detected_nouns(judge: MiniInception, pictures: Tensor) -> list[set[str]]:
    """The kinds of things in each picture, uint8 [N, 3, 32, 32]."""
    parts = pictures.to(next(judge.parameters()).device).split(250)
    return [
        {NOUNS[thing.noun] for thing in things}
        for part in parts
        for things in detect(judge(to_unit(part)))
    ]


def verdict_of(scene: Scene, things: list[Detection]) -> dict[str, bool]:
    best = things[: len(scene.items)]  # the surest ones, as many as were asked for
    nouns = [NOUNS[thing.noun] for thing in best]
    verdict = {
        "noun": all(item.noun in nouns for item in scene.items),
        "count": len(things) == len(scene.items),
    }
    shapes = [item for item in scene.items if item.colour]
    if shapes:
        drawn = [(NOUNS[thing.noun], COLOUR_NAMES[thing.colour]) for thing in best]
        verdict["colour"] = all((item.noun, item.colour) in drawn for item in shapes)
    if scene.kind == "pair":
        places = {NOUNS[thing.noun]: (thing.x, thing.y) for thing in reversed(best)}
        first, second = (places.get(item.noun) for item in scene.items)
        verdict["relation"] = (
            first is not None and second is not None and _stands(first, second) == scene.relation
        )
    return verdict


def _stands(first: tuple[int, int], second: tuple[int, int]) -> str:
    across, down = first[0] - second[0], first[1] - second[1]
    if abs(across) >= abs(down):
        return "left" if across < 0 else "right"
    return "above" if down < 0 else "below"
