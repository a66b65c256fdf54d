"""Token states to one vector each, in numpy, for ONNX graphs that end before the pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xinfer.errors import LaunchFailed

Pooling = Literal["mean", "cls", "last_token", "max"]

_LEGACY: tuple[tuple[str, Pooling], ...] = (
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_lasttoken", "last_token"),
    ("pooling_mode_max_tokens", "max"),
)
_NAMES: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last_token", "max": "max"}


def pooling_of(config: dict[str, Any]) -> Pooling:
    """What a 1_Pooling/config.json asks for; mean when there is none.

    Raises:
        LaunchFailed: a mode, or a sum of modes, that is not offered.
    """
    if not config:
        return "mean"
    if "pooling_mode" in config:
        name = config["pooling_mode"]
        if isinstance(name, str) and name in _NAMES:
            return _NAMES[name]
        raise LaunchFailed(f"embedding.pooling: {name!r} of 1_Pooling/config.json is not offered; choose one of {', '.join(_NAMES)}.")
    asked = [key for key, on in config.items() if key.startswith("pooling_mode_") and on]
    found = [mode for key, mode in _LEGACY if key in asked]
    if len(asked) != 1 or len(found) != 1:
        raise LaunchFailed(f"embedding.pooling: {', '.join(asked) or 'nothing'} of 1_Pooling/config.json is not offered; one mode is.")
    return found[0]


def pool(states: npt.NDArray[np.float32], lengths: Sequence[int], mode: Pooling) -> npt.NDArray[np.float32]:
    """Pool right-padded states.

    Args:
        states: (n, longest, dim).
        lengths: real tokens of each row, at least 1.

    Returns:
        (n, dim).
    """
    if mode == "cls":
        return states[:, 0]
    counts = np.asarray(lengths)
    if mode == "last_token":
        picked: npt.NDArray[np.float32] = states[np.arange(len(states)), counts - 1]
        return picked
    mask = (np.arange(states.shape[1])[None, :] < counts[:, None])[:, :, None]
    if mode == "max":
        return np.asarray(np.where(mask, states, -np.inf).max(axis=1), dtype=np.float32)
    return np.asarray((states * mask).sum(axis=1) / counts[:, None], dtype=np.float32)
