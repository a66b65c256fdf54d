"""Keeps torch out of a process until it is wanted: importing xoscar would import it, 600 MB and seconds of it."""

from __future__ import annotations

import sys

_needed = True


def block_torch(needed: bool) -> None:
    """Make ``import torch`` fail from now on; ``needed`` says whether :func:`allow_torch` may lift this."""
    global _needed
    _needed = needed
    # The loader's way of saying "there is no such module"; importers take it for a missing package.
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]


def allow_torch() -> None:
    """Let torch be imported again; call it after xoscar is imported and before any library that looks for torch.

    Raises:
        RuntimeError: this process was spawned as one that never needs torch.
    """
    if not _needed:
        raise RuntimeError("This process was spawned without needs_torch.")
    if sys.modules.get("torch", True) is None:
        del sys.modules["torch"]
