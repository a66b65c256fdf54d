"""How long requests of one model waited and took, as one API process saw them."""

from __future__ import annotations

from collections.abc import Mapping

from xinfer.routing.pending import PendingRequest
from xinfer.serving.histogram import SECONDS, Distribution, Histogram

LONGEST = (*SECONDS, 300.0)


class Latency:
    """Counts ended requests; it asks no clock."""

    __slots__ = ("queue", "request")

    def __init__(self) -> None:
        self.queue = Histogram(LONGEST)
        self.request = Histogram(LONGEST)

    def ended(self, request: PendingRequest, now: float) -> None:
        """A request was answered or given up: its own time, and the wait of its part of each shard that was answered."""
        self.request.observe(now - request.arrived)
        for shard in request.shards:
            self.queue.observe(shard.queue_seconds)

    def histograms(self) -> Mapping[str, Distribution]:
        """By the name that metrics give them."""
        return {"queue_seconds": self.queue.distribution(), "request_seconds": self.request.distribution()}
