"""Which replica: the one that would be done first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from xinfer.routing.load import ReplicaLoad
from xinfer.routing.speeds import speeds

FULL_SCAN = 16


class Dice(Protocol):
    """What is needed of ``random.Random``."""

    def random(self) -> float:
        """A float in [0, 1)."""


def pick(
    candidates: Sequence[ReplicaLoad], own_tokens: float, dice: Dice, now: float, *, two: bool = False, urgent: bool = False
) -> tuple[ReplicaLoad, list[tuple[ReplicaLoad, float]]]:
    """The candidate with the least (in-flight + own tokens) / speed; ties by dice.

    Scans all up to 16; above that, or with ``two`` (several API processes, whose views of the load are stale), it compares
    two drawn at random, which does not herd (Mitzenmacher, 2001).

    Args:
        candidates: at least one, all with room.
        own_tokens: of the shard to send.
        urgent: it is interactive, and does not wait for bulk shards that wait.

    Returns:
        The pick, and every compared candidate with its score: seconds, or tokens while no speed is known.
    """
    compared = list(candidates)
    if len(compared) > 2 and (two or len(compared) > FULL_SCAN):
        first = int(dice.random() * len(compared))
        second = int(dice.random() * (len(compared) - 1))
        compared = [compared[first], compared[second + (second >= first)]]
    scored = [(load, (load.remaining(now, urgent) + own_tokens) / speed) for load, speed in zip(compared, speeds(compared), strict=True)]
    best = min(score for _, score in scored)
    level = [load for load, score in scored if score <= best * (1 + 1e-9)]
    return level[int(dice.random() * len(level))], scored
