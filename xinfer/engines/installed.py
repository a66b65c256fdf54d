"""Whether a package is installed, found without importing it."""

from __future__ import annotations

from importlib.machinery import PathFinder


def installed(*packages: str) -> bool:
    """True when every package is on the path.

    ``sys.modules`` is not asked: a process may bar torch there while it imports other things.
    """
    return all(PathFinder.find_spec(package) is not None for package in packages)
