"""A folder that is already on the worker."""

from __future__ import annotations

from pathlib import Path

from xinfer.catalog.spec import LocalSource
from xinfer.errors import SourceError


def locate(source: LocalSource) -> Path:
    """The folder itself.

    Raises:
        SourceError: not absolute, or not a folder here.
    """
    path = Path(source.path)
    if not path.is_absolute():
        raise SourceError(f"model_path {source.path!r} must be absolute")
    if not path.is_dir():
        raise SourceError(f"model_path {source.path!r} is not a folder on this worker")
    return path
