"""Writes the OpenAPI document that the pages' types are made of: ``python -m scripts.web.document FILE``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from xinfer.api.app import create_app
from xinfer.settings import Limits


def document() -> dict[str, Any]:
    """Of an application that serves nothing."""
    nothing = cast(Any, SimpleNamespace(routes=None))
    return create_app(nothing, nothing, streams=nothing, limits=Limits(), version="0").openapi()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(document(), indent=1, sort_keys=True) + "\n")
