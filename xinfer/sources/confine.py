"""Keeps callers who are no admins within the folders that an admin has named."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from xinfer.access.roots import within
from xinfer.errors import Forbidden


def confine(folder: Path, roots: Sequence[Path]) -> None:
    """Refuse a folder that is not within ``roots``, or has a file that is not; links and ``..`` are resolved first.

    Raises:
        Forbidden: the sentence is the same whether there is such a folder or not.
    """
    real = [Path(os.path.realpath(root)) for root in roots]
    if not within(Path(os.path.realpath(folder)), real) or not all(within(Path(os.path.realpath(file)), real) for file in _below(folder)):
        named = ", ".join(map(str, roots))
        where = f"must be within {named}" if roots else "must be left out: the server names no --model-root"
        raise Forbidden(f"model_path {where}, unless an admin launches it.", param="model_path")


def _below(folder: Path) -> Iterable[str]:
    for place, folders, files in os.walk(folder):  # does not follow links to folders, but names them
        yield from (os.path.join(place, name) for name in (*folders, *files))
