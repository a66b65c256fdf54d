"""Takes secrets out of what is logged: those that can be told by their shape, and those that this process was given."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

_SHAPES = (
    r"xk-[0-9a-f]{8}-[A-Za-z0-9_-]{43}",  # API keys
    r"xhost-\d+-[0-9a-f]{64}",  # proofs of the cluster token
    r"hf_[A-Za-z0-9]{16,}",
    r"(?i:(?<=bearer )[^\s'\",]{8,})",
    r"(?<=://)[^\s/:@]+:[^\s/@]+(?=@)",  # user and password of an index, a mirror or a proxy
)
_NAMES = re.compile(r"(?:TOKEN|KEY|SECRET|PASSWORD)$")
_SHORTEST = 8
"""Shorter values are words that lines hold for other reasons."""
HIDDEN = "***"


def redactor(env: Mapping[str, str]) -> Callable[[str], str]:
    """A function that hides every secret in a text.

    Args:
        env: variables whose name ends in TOKEN, KEY, SECRET or PASSWORD are secret.
    """
    own = sorted({v for k, v in env.items() if _NAMES.search(k) and len(v) >= _SHORTEST}, key=len, reverse=True)
    secrets = re.compile("|".join([*map(re.escape, own), *_SHAPES]))
    return lambda text: secrets.sub(HIDDEN, text)


def redacted(text: str) -> str:
    """What libraries and child processes wrote, without the secrets that this process has too."""
    return redactor(os.environ)(text)
