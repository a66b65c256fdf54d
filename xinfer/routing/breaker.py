"""A breaker per replica, for those that answer but fail."""

from __future__ import annotations

FAILURES = 5
FIRST_OPEN = 10.0
LONGEST_OPEN = 120.0


class Breaker:
    """Five failures in a row open it for 10 s, doubling up to 120 s; then one shard at a time is let through to probe.

    The caller decides what to do when every replica's breaker is open: send all the same.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._open_for = 0.0
        self._open_until = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Not closed: either refusing or probing."""
        return self._open_for > 0

    def allows(self, now: float) -> bool:
        """Whether a shard may be sent."""
        return not self.is_open or (now >= self._open_until and not self._probing)

    def sent(self) -> None:
        """A shard was sent; while open it is the probe."""
        self._probing = self.is_open

    def released(self) -> None:
        """The shard came back without saying anything about the replica's health (busy, lost, cancelled)."""
        self._probing = False

    def succeeded(self) -> None:
        """An answer: closed again."""
        self._failures = 0
        self._open_for = 0.0
        self._probing = False

    def failed(self, now: float) -> None:
        """An engine error or a missed deadline. Failures of shards sent before it opened do not prolong it."""
        self._failures += 1
        if self.is_open:
            if not self._probing:
                return
            self._open_for = min(LONGEST_OPEN, self._open_for * 2)
        elif self._failures >= FAILURES:
            self._open_for = FIRST_OPEN
        else:
            return
        self._probing = False
        self._open_until = now + self._open_for
