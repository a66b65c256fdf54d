"""When a replica that crashed is started again, and when nobody tries any more."""

from __future__ import annotations

from xinfer.cluster.replica import Phase, Replica

FIRST_DELAY = 10.0
LONGEST_DELAY = 300.0
HEALTHY_AFTER = 600.0
"""Seconds of health after which earlier crashes are forgotten."""
CRASHES = 5
WINDOW = 600.0
"""CRASHES within WINDOW seconds are enough."""
REMEMBERED = 16


def crashes_after(replica: Replica, now: float) -> tuple[float, ...]:
    """Times of the crashes that count, this one included, oldest first."""
    healthy = replica.phase is Phase.READY and now - replica.ready_at >= HEALTHY_AFTER
    before = () if healthy else replica.crashes
    return (*before, now)[-REMEMBERED:]


def retry_at(crashes: tuple[float, ...], now: float) -> float | None:
    """Clock of the next start: at once, then 10·2^(n-1) s up to 300 s; None = give up."""
    if sum(now - crash < WINDOW for crash in crashes) >= CRASHES:
        return None
    n = len(crashes) - 1
    return now if n <= 0 else now + min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (n - 1))
