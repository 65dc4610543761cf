"""The seed of every image, derived from the image's identity."""

from __future__ import annotations

import hashlib


def image_seed(run_seed: int, prompt_id: str, sample: int) -> int:
    """The seed of one image, in [0, 2**63).

    It is a hash of the image's identity, so it does not depend on order, batch or process.
    """
    digest = hashlib.sha256(f"{run_seed}\0{prompt_id}\0{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
