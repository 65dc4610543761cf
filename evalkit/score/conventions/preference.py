"""The scales on which values of reward models are published: PickScore and HPS v2."""

from __future__ import annotations

from evalkit.score.conventions.per_image import HALF_DIFFERS, Convention
from evalkit.score.conventions.scored import Scored

_PICK = Scored("pickscore")
PICKSCORE: tuple[Convention, ...] = (
    Convention(
        "pickscore-v1-logit",
        "the model card and most papers; pickscore of evalkit",
        "exp(logit_scale) times the cosine",
        _PICK,
        "logit",
        tools_differ=HALF_DIFFERS,
    ),
    Convention(
        "pickscore-v1-logit-26",
        "rewards of Flow-GRPO's code",
        "exp(logit_scale) / 26 times the cosine",
        _PICK,
        "logit/26",
        tools_differ=HALF_DIFFERS,
    ),
    Convention(
        "pickscore-v1-cosine",
        "code that leaves out the scale",
        "the cosine",
        _PICK,
        "cosine",
        tools_differ=HALF_DIFFERS,
    ),
)


def _hps(scorer: str, version: str) -> tuple[Convention, ...]:
    named = {"": Scored(scorer), "-aliased": Scored(scorer, (("antialias", False),))}
    how = {
        "": "resized as torchvision since 0.17 does",
        "-aliased": "resized as torchvision before 0.17 did",
    }
    scales = {
        "cosine-x100": ("tables of HPS", "100 times the cosine"),
        "cosine": ("`hpsv2.score`", "the cosine"),
    }
    return tuple(
        Convention(
            f"{version}{suffix}-{scale}",
            tools,
            f"weights {version[3:]}, the whole image between black bars, {how[suffix]}; {said}",
            source,
            scale,
            tools_differ=HALF_DIFFERS,
        )
        for suffix, source in named.items()
        for scale, (tools, said) in scales.items()
    )


HPS: tuple[Convention, ...] = (*_hps("hpsv2", "hpsv2.0"), *_hps("hpsv2.1", "hpsv2.1"))
