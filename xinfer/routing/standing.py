"""Whether a replica is worth asking: ejected until a probe passes, closed for a moment, its breaker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from xinfer.routing.breaker import Breaker

FIRST_PROBE = 1.0
LONGEST_PROBE = 15.0
BUSY_PAUSE = 0.05


@dataclass(slots=True, eq=False, kw_only=True)
class Standing:
    """Of one life of a replica.

    Attributes:
        closed_until: it refused work; ``ejected``: it takes none until a newer epoch or a passed probe.
    """

    closed_until: float = 0.0
    ejected: bool = False
    probing: bool = False
    probe_at: float = 0.0
    probe_wait: float = FIRST_PROBE
    breaker: Breaker = field(default_factory=Breaker)

    def busy(self, now: float) -> None:
        """It refused work: closed until its next reply, or for a moment if nothing is under way."""
        self.closed_until = now + BUSY_PAUSE
        self.breaker.released()

    def eject(self, now: float) -> None:
        """Take no more, until a newer epoch or a passed probe."""
        self.ejected = True
        self.probing = False
        self.probe_wait = FIRST_PROBE
        self.probe_at = now + FIRST_PROBE
        self.breaker.released()

    def probed(self, passed: bool, now: float) -> None:
        """The probe's result: back to work, or the next one later."""
        self.probing = False
        if passed:
            self.ejected = False
            return
        self.probe_wait = min(LONGEST_PROBE, self.probe_wait * 2)
        self.probe_at = now + self.probe_wait


Anyone = TypeVar("Anyone", bound=Standing)


def probes(standings: Iterable[Anyone], now: float) -> list[Anyone]:
    """Ejected ones that are due for a probe; each is returned once until its result is in."""
    due = [each for each in standings if each.ejected and not each.probing and now >= each.probe_at]
    for each in due:
        each.probing = True
    return due


def changes_at(standings: Iterable[Standing], now: float) -> list[float]:
    """Times at which one changes by itself."""
    return [
        each.probe_at if each.ejected else each.closed_until
        for each in standings
        if (each.ejected and not each.probing) or (not each.ejected and each.closed_until > now)
    ]
