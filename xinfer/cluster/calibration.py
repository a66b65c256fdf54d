"""A calibration as it is kept and handed to later replicas."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredCalibration:
    """What one replica measured; holds for the same model, dtype, options and device only.

    Attributes:
        device: name of the device as the engine's runtime reports it.
        threads: compute threads of the engine.
        budget_tokens: padded tokens per batch.
        speed: tokens/s at that budget.
        base_seconds, per_token_seconds: the time of a batch is base + per_token × padded tokens.
        samples: (padded tokens, seconds) measured.
    """

    device: str
    threads: int
    budget_tokens: int
    speed: float
    base_seconds: float
    per_token_seconds: float
    samples: tuple[tuple[int, float], ...] = ()
