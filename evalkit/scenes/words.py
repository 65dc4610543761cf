"""Splits a text into words, in the same way for captions, vocabulary and the bundled models."""

from __future__ import annotations

import re


def split_words(text: str) -> list[str]:
    """Lower-case words and numbers, without punctuation."""
    return re.findall(r"[a-z0-9]+", text.lower().replace("'", ""))
