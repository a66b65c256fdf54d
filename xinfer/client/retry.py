"""When to try again: a few times, with growing pauses, never where a second try could do harm."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from xinfer.errors import TooManyRequests, Unavailable, XinferError


@dataclass(frozen=True, slots=True)
class Retry:
    """A bounded policy.

    Attributes:
        attempts: in all, the first included.
        base, most: seconds; pauses double from ``base`` up to ``most``, with jitter. ``Retry-After`` goes before them, up to ``most``.
    """

    attempts: int = 4
    base: float = 0.2
    most: float = 10.0

    def pause(self, attempt: int, error: XinferError, cause: Exception | None, repeatable: bool, dice: float) -> float | None:
        """Seconds until the next try, or None to give up.

        Args:
            attempt: 1 for the first.
            cause: what the transport raised, None if the server answered.
            dice: 0..1.
        """
        if attempt >= self.attempts or not self._may(error, cause, repeatable):
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.most else None
        return float(min(self.most, self.base * 2 ** (attempt - 1)) * (0.5 + dice / 2))

    @staticmethod
    def _may(error: XinferError, cause: Exception | None, repeatable: bool) -> bool:
        if cause is not None:
            never_sent = isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
            return never_sent or (repeatable and isinstance(cause, httpx.NetworkError | httpx.RemoteProtocolError))
        return isinstance(error, TooManyRequests) or (repeatable and isinstance(error, Unavailable))
