"""Prometheus text: HTTP figures of this process, the dispatcher's figures, and what the replicas report.

The dispatcher's ``stats()`` is read by shape: numbers at the top are of this process, numbers in ``models[uid]`` of a model and
numbers in ``replicas[id]`` of a replica. Only models and replicas of the route table become labels.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xinfer.actors.messages import ReplicaStats
from xinfer.cluster.ids import ReplicaId
from xinfer.cluster.routes import RouteTable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
COUNTED = frozenset({"items", "tokens", "busy_seconds", "batches", "oom_splits"})
"""Fields of ReplicaStats that only grow."""
_HELP = {
    "items": "Documents or texts answered since the replica became ready.",
    "tokens": "True tokens of those.",
    "busy_seconds": "Seconds inside the model since the replica became ready.",
    "batches": "Forward passes since the replica became ready.",
    "oom_splits": "Batches that had to be split for lack of memory.",
    "queued_items": "Items waiting or running at the replica.",
    "queued_tokens": "Tokens waiting or running at the replica.",
    "budget_tokens": "Padded tokens that one batch may hold.",
    "queued_requests": "Requests that wait in this API process.",
    "in_flight_tokens": "Tokens sent and not answered yet.",
}


class Meter:
    """Counts every HTTP request by route template, never by raw path."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("xinfer_http_requests", "HTTP requests answered.", ["method", "route", "status"], registry=self.registry)
        self._seconds = Histogram(
            "xinfer_http_request_seconds",
            "Seconds from the request line to the last byte out.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note one answered request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class Metered:
    """The layer that feeds the Meter."""

    def __init__(self, app: ASGIApp, meter: Meter) -> None:
        self.app = app
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.monotonic(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            method = scope["method"] if scope["method"] in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"} else "other"
            self._meter.observe(method, route, status, time.monotonic() - begun)


def exposition(meter: Meter, stats: Mapping[str, Any], table: RouteTable, replicas: Mapping[ReplicaId, ReplicaStats]) -> bytes:
    """The whole text, with HELP and TYPE of each metric."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(stats, table, replicas))
    return generate_latest(meter.registry) + generate_latest(registry)


class _Collected:
    """A collector over one reading."""

    def __init__(self, stats: Mapping[str, Any], table: RouteTable, replicas: Mapping[ReplicaId, ReplicaStats]) -> None:
        self._stats = stats
        self._table = table
        self._replicas = replicas

    def collect(self) -> Iterator[Metric]:
        model_of = {str(r.replica_id): str(uid) for uid, m in self._table.models.items() for r in m.replicas}
        models = self._table.models
        yield from _table_metrics(self._table)
        yield from _families("xinfer_api", [((), (), self._stats)])
        yield from _families("xinfer_model", [(("model",), (u,), f) for u, f in _figures(self._stats, "models") if u in models])
        yield from _families(
            "xinfer_dispatch_replica",
            [(("model", "replica"), (model_of[r], r), f) for r, f in _figures(self._stats, "replicas") if r in model_of],
        )
        reported = [
            (("model", "replica"), (model_of[r], r), {f"{k}_total" if k in COUNTED else k: v for k, v in asdict(s).items() if k != "epoch"})
            for r, s in self._replicas.items()
            if r in model_of
        ]
        yield from _families("xinfer_replica", reported)


def _table_metrics(table: RouteTable) -> Iterator[Metric]:
    ready = GaugeMetricFamily("xinfer_model_ready_replicas", "Replicas of the model that take work.", labels=["model"])
    starting = GaugeMetricFamily("xinfer_model_starting_replicas", "Replicas of the model on their way to ready.", labels=["model"])
    for uid, routes in table.models.items():
        ready.add_metric([uid], len(routes.replicas))
        starting.add_metric([uid], routes.starting)
    yield ready
    yield starting


def _figures(stats: Mapping[str, Any], key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    found = stats.get(key)
    if isinstance(found, Mapping):
        yield from ((str(name), figures) for name, figures in found.items() if isinstance(figures, Mapping))


def _families(prefix: str, rows: Iterable[tuple[tuple[str, ...], tuple[str, ...], Mapping[str, Any]]]) -> Iterator[Metric]:
    """One metric per number, over all rows that have it; a name that ends in ``_total`` is a counter."""
    found: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for names, values, figures in rows:
        for key, value in figures.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            metric = found.get(key)
            if metric is None:
                base = key.removesuffix("_total")
                text = _HELP.get(base, f"{base.replace('_', ' ').capitalize()}.")
                kind = CounterMetricFamily if key != base else GaugeMetricFamily
                metric = found[key] = kind(f"{prefix}_{base}", text, labels=list(names))
            metric.add_metric(list(values), value)
    yield from found.values()
