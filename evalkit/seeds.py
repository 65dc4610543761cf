"""The seed of every image, derived from the image's identity."""

from __future__ import annotations

import hashlib
import re

MARK = "~"
# The ids of variants of prompts, which prompts/perturb.py makes.
_VARIANT = re.compile(
    rf"(.+){MARK}(?:lowercase|uppercase|typos|spaces|contractions|expansions)", re.DOTALL
)


def image_seed(run_seed: int, prompt_id: str, sample: int) -> int:
    """The seed of one image, in [0, 2**63).

    It is a hash of the image's identity, so it does not depend on order, batch or process. A
    variant of a prompt has the seeds of its original.
    """
    identity = f"{run_seed}\0{original_id(prompt_id)}\0{sample}"
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") >> 1


def original_id(prompt_id: str) -> str:
    """The id of the prompt of which this one is a variant; of any other prompt its own."""
    found = _VARIANT.fullmatch(prompt_id)
    return found[1] if found else prompt_id


def kind_of(prompt_id: str) -> str:
    """The kind of a variant, such as `typos`; "" for any other prompt."""
    return prompt_id.rpartition(MARK)[2] if _VARIANT.fullmatch(prompt_id) else ""
