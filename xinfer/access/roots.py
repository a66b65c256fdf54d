"""Whether a path lies under a folder that callers who are no admins may name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath


def within(path: PurePath, roots: Iterable[PurePath]) -> bool:
    """Whether ``path`` is one of ``roots`` or below one; all of them absolute, with links and ``..`` resolved."""
    return any(path == root or root in path.parents for root in roots)
