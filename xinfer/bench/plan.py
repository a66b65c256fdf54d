"""What is to be run against a server, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from xinfer.bench.figures import ReplicaShare, Summary
from xinfer.bench.load import Load
from xinfer.bench.readings import Lane

BULK_SIZE = 600
"""Documents of a request that keeps the server busy beside the measured ones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        requests: how many; None with a ``duration`` means as many as it takes.
        duration: seconds after which no more are sent.
        concurrency: closed loop of so many clients, unless ``rate`` is given.
        rate: open loop, requests a second.
        background: bulk requests of `BULK_SIZE` documents that are kept in flight while the measured ones run.
        priority: "interactive" or "bulk" for the measured requests, "" for what the server makes of them.
        warmup: requests before the clock starts.
    """

    base_url: str
    load: Load
    requests: int | None = 600
    duration: float | None = None
    concurrency: int = 32
    rate: float | None = None
    background: int = 0
    priority: str = ""
    api_key: str | None = None
    timeout: float = 600.0
    warmup: int = 2
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Bulk:
    """The background stream, in documents a second: before the measured requests and beside them."""

    alone: float
    beside: float
    summary: Summary


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a plan.

    Attributes:
        summary: the measured requests; beside bulk, if there was any.
        alone: the same requests without bulk, None without a background.
        replicas, lanes: empty where the server does not report its replicas.
        cpu_seconds: what the driver itself used.
        interrupted: ended by Ctrl-C; the figures are of what was done until then.
    """

    summary: Summary
    alone: Summary | None = None
    bulk: Bulk | None = None
    replicas: list[ReplicaShare] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    cpu_seconds: float = 0.0
    interrupted: bool = False

    @property
    def failed(self) -> int:
        """Requests that were not answered right, in every part of the run."""
        parts = [self.summary, self.alone, self.bulk.summary if self.bulk else None]
        return sum(part.requests - part.ok for part in parts if part is not None)
