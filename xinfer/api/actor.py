"""ApiActor: what siblings may ask of an API process."""

from __future__ import annotations

import pickle
from typing import Any

import xoscar as xo

from xinfer.api.dispatch import Dispatcher
from xinfer.api.exposition import own
from xinfer.api.figures import combined
from xinfer.api.meter import Meter
from xinfer.api.ports import Calls
from xinfer.api.streams import Streams


class ApiActor(xo.StatelessActor):
    """The story of each request and the calls in flight live in the process that took them."""

    def __init__(self, dispatcher: Dispatcher, streams: Streams, calls: Calls, meter: Meter) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self._streams = streams
        self._calls = calls
        self._meter = meter

    async def why(self, request_id: str) -> dict[str, Any] | None:
        """The story of one request, if it ran here."""
        return self._dispatcher.why(request_id)

    async def abort(self, request_id: str, owner: str | None = None) -> int:
        """Cancel that request if it runs here, of that key (None: of anyone); returns how many calls it stopped."""
        return self._calls.abort(request_id, owner)

    async def metrics(self) -> bytes:
        """What this process has counted, pickled: the transport would pickle every sample by itself."""
        return pickle.dumps(own(self._meter, combined(self._dispatcher.stats(), self._streams.stats()), self._dispatcher.routes()))
