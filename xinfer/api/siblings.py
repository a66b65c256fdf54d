"""The other API processes of this server, found through the supervisor when they are needed."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client.metrics_core import Metric

from xinfer.actors.refs import ApiRef, SupervisorRef
from xinfer.cluster.ids import Address
from xinfer.errors import XinferError

COUNT_EVERY = 10.0


class ApiSiblings:
    """Asks every other API process at once; one that does not answer within a second is left out."""

    def __init__(self, supervisor: SupervisorRef, own: Address) -> None:
        self._supervisor = supervisor
        self._own = own

    async def why(self, request_id: str) -> dict[str, Any] | None:
        """The story of one request, from the process that it ran in."""
        answers = await asyncio.gather(*(ref.why(request_id) for ref in await self._refs()), return_exceptions=True)
        return next((a for a in answers if isinstance(a, dict)), None)

    async def abort(self, request_id: str, owner: str | None = None) -> int:
        """Cancel one request wherever it runs, of that key (None: of anyone); returns how many calls were stopped."""
        answers = await asyncio.gather(*(ref.abort(request_id, owner) for ref in await self._refs()), return_exceptions=True)
        return sum(a for a in answers if isinstance(a, int))

    async def metrics(self) -> list[Sequence[Metric]]:
        """What each of them has counted."""
        answers = await asyncio.gather(*(ref.metrics() for ref in await self._refs()), return_exceptions=True)
        return [pickle.loads(a) for a in answers if isinstance(a, bytes)]

    async def watch(self, told: Callable[[int], None], every: float = COUNT_EVERY) -> None:
        """For ever: say how many API processes live, this one included. Without a supervisor the last number stays."""
        while True:
            with contextlib.suppress(XinferError):
                told(max(1, len(await self._supervisor.api_processes())))
            await asyncio.sleep(every)

    async def _refs(self) -> list[ApiRef]:
        try:
            return [ApiRef(address) for address in await self._supervisor.api_processes() if address != self._own]
        except XinferError:
            return []
