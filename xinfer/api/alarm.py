"""One timer of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls ``ring`` when the time has come; set anew only where that changes."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0

    def set(self, at: float | None, now: float) -> None:
        """Ring at that time; None = not at all."""
        if self._timer is not None and self._at == at:
            return
        self.cancel()
        if at is not None:
            self._at = at
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at - now), self._come)

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _come(self) -> None:
        self._timer = None
        self._ring()
