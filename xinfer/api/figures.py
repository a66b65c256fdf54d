"""The dispatcher's figures, flat numbers by model and by replica."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xinfer.api.latency import Latency
from xinfer.cluster.ids import ModelUid
from xinfer.routing.load import ReplicaLoad
from xinfer.routing.router import ModelRouter
from xinfer.routing.stream import StreamLoad
from xinfer.routing.streams import StreamRouter


def figures(routers: Mapping[ModelUid, ModelRouter], latencies: Mapping[ModelUid, Latency], now: float) -> dict[str, Any]:
    """``{numbers, "models": {uid: numbers}, "replicas": {replica_id: numbers}, "latency": {uid: distributions}}``.

    Names that end in ``_total`` are counters.
    """
    models = {str(uid): _model(router) for uid, router in routers.items()}
    replicas = {
        str(replica_id): {"model": str(uid), **_replica(load, now)}
        for uid, router in routers.items()
        for replica_id, load in router.fleet.loads.items()
    }
    return {
        "queued_items": sum(model["queued_items"] for model in models.values()),
        "queued_tokens": sum(model["queued_tokens"] for model in models.values()),
        "in_flight_items": sum(model["in_flight_items"] for model in models.values()),
        "models": models,
        "replicas": replicas,
        "latency": {str(uid): latency.histograms() for uid, latency in latencies.items()},
    }


def _model(router: ModelRouter) -> dict[str, Any]:
    return {
        "queued_requests": len(router.queue.requests),
        "queued_items": router.queue.items,
        "queued_tokens": router.queue.tokens,
        "in_flight_items": sum(len(flight.items) for flight in router.flights),
        "in_flight_tokens": sum(flight.padded for flight in router.flights),
        "in_flight_shards": len(router.flights),
        "requests_total": router.requests,
        "documents_total": router.documents,
        "errors_total": router.errors,
        "live_replicas": len(router.fleet.live()),
    }


def _replica(load: ReplicaLoad, now: float) -> dict[str, Any]:
    counters = load.counters
    return {
        "slot": load.route.slot,
        "epoch": int(load.route.epoch),
        "in_flight_items": load.in_flight_items,
        "in_flight_tokens": load.in_flight_tokens,
        "in_flight_shards": len(load.flights),
        "budget_tokens": load.budget,
        "speed": load.speed or load.measured,
        "slowdown": load.slowdown,
        "ejected": int(load.ejected),
        "breaker_open": int(load.breaker.is_open),
        "shards_total": counters.shards,
        "documents_total": counters.documents,
        "requests_total": counters.requests,
        "errors_total": counters.errors,
        "tokens_total": counters.tokens,
        "compute_seconds_total": counters.compute_seconds,
        "busy_seconds": counters.busy_seconds,
    }


def combined(stats: Mapping[str, Any], streams: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of encoders and of language models, by model and by replica."""
    return {**stats, **{name: {**stats.get(name, {}), **streams.get(name, {})} for name in ("models", "replicas")}}


def stream_figures(routers: Mapping[ModelUid, StreamRouter]) -> dict[str, Any]:
    """``{"models": {uid: numbers}, "replicas": {replica_id: numbers}}`` of language models."""
    return {
        "models": {str(uid): _streams(router) for uid, router in routers.items()},
        "replicas": {
            str(replica_id): {"model": str(uid), **_stream_replica(load)}
            for uid, router in routers.items()
            for replica_id, load in router.loads.items()
        },
    }


def _streams(router: StreamRouter) -> dict[str, Any]:
    return {
        "queued_requests": len(router.queue),
        "streams": sum(len(load.streams) for load in router.pulling()),
        "requests_total": router.requests,
        "errors_total": router.errors,
        "tokens_total": router.tokens,
        "resumes_total": router.resumes,
    }


def _stream_replica(load: StreamLoad) -> dict[str, Any]:
    return {
        "slot": load.route.slot,
        "epoch": int(load.route.epoch),
        "streams": len(load.streams),
        "ejected": int(load.ejected),
        "breaker_open": int(load.breaker.is_open),
        "answers_total": load.answers,
        "tokens_total": load.tokens,
        "errors_total": load.errors,
    }
