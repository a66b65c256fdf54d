"""The JSON files beside a model's weights, as engines that load them by hand need them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xinfer.errors import LaunchFailed

_ENDLESS = 1_000_000
"""Tokenisers that know no limit say 10**30."""
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet"})
"""Their positions begin behind the padding id: 514 positions hold 512 tokens."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file; {} when there is no such file.

    Raises:
        LaunchFailed: the file is there and holds something else.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LaunchFailed(f"{path.name} in {path.parent} is not valid JSON: {error}.") from error
    return found if isinstance(found, dict) else {"": found}


def longest_input(config: dict[str, Any], *limits: int | None) -> int:
    """The smallest of the limits and of the positions that the model's configuration has."""
    positions = config.get("max_position_embeddings")
    known = [limit for limit in limits if limit and 0 < limit < _ENDLESS]
    if isinstance(positions, int) and positions > 0:
        offset = int(config.get("pad_token_id") or 0) + 1 if config.get("model_type") in _OFFSET_POSITIONS else 0
        known.append(positions - offset)
    return min(known, default=512)


def activation_of(config: dict[str, Any]) -> str | None:
    """Dotted name of the activation that a cross-encoder's configuration asks for, if it does."""
    nested = config.get("sentence_transformers")
    name = nested.get("activation_fn") if isinstance(nested, dict) else None
    name = name or config.get("sbert_ce_default_activation_function")
    return name if isinstance(name, str) else None
