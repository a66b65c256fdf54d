"""ApiActor: what siblings may ask of an API process."""

from __future__ import annotations

from typing import Any

import xoscar as xo

from xinfer.api.dispatch import Dispatcher


class ApiActor(xo.StatelessActor):
    """Waiting items, in-flight work and the story of each request live here; the dispatcher owns them."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__()
        self._dispatcher = dispatcher

    async def local_stats(self) -> dict[str, Any]:
        """Queue and in-flight figures of this process."""
        return self._dispatcher.stats()

    async def why(self, request_id: str) -> dict[str, Any] | None:
        """The story of one request, if it ran here."""
        return self._dispatcher.why(request_id)
