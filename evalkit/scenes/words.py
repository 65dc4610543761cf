"""How a text is split into words: the same for the caption grammar, the vocabulary and the small
models.
"""

from __future__ import annotations

import re


def split_words(text: str) -> list[str]:
    """Lower-case words and numbers; punctuation falls away."""
    return re.findall(r"[a-z0-9]+", text.lower().replace("'", ""))
