"""xinfer: serve models on many GPUs and many machines."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``Client`` and ``AsyncClient``, imported on first use: every process imports this package, few need them."""
    if name in ("AsyncClient", "Client"):
        return getattr(importlib.import_module("xinfer.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
