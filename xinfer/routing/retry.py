"""How many second tries the traffic can pay for, so that retries never become the load."""

from __future__ import annotations

TRIES = 2
"""Further tries of an item after an engine error or a deadline."""


class RetryBudget:
    """A tenth of a retry is earned by each shard sent; a small reserve lets quiet models retry at all.

    Losing a replica is not charged here: its items never ran.
    """

    def __init__(self, ratio: float = 0.1, reserve: float = 10.0) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._left = reserve

    def earn(self) -> None:
        """One shard was sent for the first time."""
        self._left = min(self._reserve, self._left + self._ratio)

    def spend(self) -> bool:
        """Take one retry; False = the budget is used up."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
