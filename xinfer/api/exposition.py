"""Prometheus text: what every API process counted, the route table, and what the replicas report.

The dispatcher's ``stats()`` is read by shape: numbers at the top are of its process, numbers in ``models[uid]`` of a model there,
numbers in ``replicas[id]`` of a replica as that process knows it, distributions in ``latency[uid]`` of a model there. Only models
and replicas of the route table become labels.

Several API processes share one port, and a scrape reaches any of them. It asks the others, so that each scrape has the series of
all, told apart by the label ``process``. What a replica reports is its own count, the same from wherever it is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from xinfer.actors.messages import GenerationStats, ReplicaStats
from xinfer.api.meter import Meter
from xinfer.cluster.ids import ReplicaId
from xinfer.cluster.routes import RouteTable
from xinfer.serving.histogram import Distribution

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTED = frozenset({"items", "tokens", "padded_tokens", "busy_seconds", "batches", "oom_splits"})
"""Fields of ReplicaStats that only grow."""
_HELP = {
    "xinfer_replica_items": "Documents or texts answered since the replica became ready.",
    "xinfer_replica_tokens": "True tokens of those.",
    "xinfer_replica_padded_tokens": "Tokens that the model computed for those, padding included.",
    "xinfer_replica_busy_seconds": "Seconds inside the model since the replica became ready.",
    "xinfer_replica_batches": "Forward passes that went through since the replica became ready.",
    "xinfer_replica_oom_splits": "Batches that had to be split for lack of memory.",
    "xinfer_replica_queued_items": "Items waiting or running at the replica, from all API processes.",
    "xinfer_replica_queued_tokens": "Tokens waiting or running at the replica, from all API processes.",
    "xinfer_replica_budget_tokens": "Padded tokens that one batch may hold now.",
    "xinfer_replica_slowdown": "Measured over predicted seconds of a batch, smoothed; 1 is as calibrated.",
    "xinfer_replica_wait_seconds": "Seconds that a shard was at the replica and neither tokenised nor computed.",
    "xinfer_replica_stay_seconds": "Seconds from a shard's arrival at the replica until its last batch ended.",
    "xinfer_replica_tokenize_seconds": "Seconds to tokenise a shard.",
    "xinfer_replica_compute_seconds": "Seconds of a batch inside the model.",
    "xinfer_replica_batch_tokens": "Padded tokens of a batch.",
    "xinfer_replica_batch_items": "Items of a batch.",
    "xinfer_replica_padding_ratio": "Padded over true tokens of a batch; 1 is no padding.",
    "xinfer_replica_cancelled_answers": "Answers that nobody waited for to their end.",
    "xinfer_replica_prompt_tokens": "Tokens of the prompts answered.",
    "xinfer_replica_cached_tokens": "Of those, tokens that were in the KV cache already.",
    "xinfer_replica_generated_tokens": "Tokens generated since the replica became ready.",
    "xinfer_replica_streams": "Answers being generated, of all API processes.",
    "xinfer_replica_kv_held_tokens": "Tokens of KV room that those may come to.",
    "xinfer_replica_kv_tokens": "Tokens of KV room in all.",
    "xinfer_replica_first_token_seconds": "Seconds from the beginning of an answer at the replica to its first token.",
    "xinfer_replica_token_seconds": "Seconds between two tokens of an answer.",
    "xinfer_replica_answer_tokens": "Tokens of an answer.",
    "xinfer_queue_seconds": "Seconds from a request's arrival to the sending of its items, for its part of each shard; by API process.",
    "xinfer_request_seconds": "Seconds from a request's arrival at the queue to its end, whatever that was; by API process.",
    "xinfer_model_queued_requests": "Requests of the model that wait; by API process.",
    "xinfer_model_in_flight_tokens": "Tokens sent and not answered yet; by API process.",
}
Labels = tuple[str, ...]
Row = tuple[Labels, Labels, Mapping[str, Any]]


class _Families(Collector):
    """A collector over one reading."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def own(meter: Meter, stats: Mapping[str, Any], table: RouteTable) -> list[Metric]:
    """What this API process has counted, labelled with its name."""
    models = table.models
    model_of = _models_by_replica(table)
    found = [
        *meter.registry.collect(),
        *_families("xinfer_api", [((), (), stats)]),
        *_families("xinfer_model", [(("model",), (uid,), figures) for uid, figures in _figures(stats, "models") if uid in models]),
        *_families("xinfer", [(("model",), (uid,), figures) for uid, figures in _figures(stats, "latency") if uid in models]),
        *_families(
            "xinfer_dispatch_replica",
            [(("model", "replica"), (model_of[r], r), figures) for r, figures in _figures(stats, "replicas") if r in model_of],
        ),
    ]
    if meter.process:
        for family in found:
            family.samples = [sample._replace(labels={**sample.labels, "process": meter.process}) for sample in family.samples]
    return found


def exposition(processes: Iterable[Sequence[Metric]], table: RouteTable, replicas: Mapping[ReplicaId, ReplicaStats]) -> bytes:
    """The whole text, with HELP and TYPE of each metric.

    Args:
        processes: ``own`` of each API process.
    """
    model_of = _models_by_replica(table)
    reported: list[Row] = [
        (("model", "replica"), (model_of[replica_id], replica_id), _reported(stats))
        for replica_id, stats in replicas.items()
        if replica_id in model_of
    ]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families([*_merged(processes), *_table_metrics(table), *_families("xinfer_replica", reported)]))
    return generate_latest(registry)


def _models_by_replica(table: RouteTable) -> dict[str, str]:
    return {str(r.replica_id): str(uid) for uid, routes in table.models.items() for r in routes.replicas}


def _reported(stats: ReplicaStats) -> dict[str, Any]:
    figures = {field.name: getattr(stats, field.name) for field in fields(stats) if field.name not in {"epoch", "histograms", "generation"}}
    told = {f"{name}_total" if name in COUNTED else name: value for name, value in figures.items()} | dict(stats.histograms)
    return told if stats.generation is None else told | _generated(stats.generation)


def _generated(stats: GenerationStats) -> dict[str, Any]:
    return {
        "cancelled_answers_total": stats.cancelled,
        "prompt_tokens_total": stats.prompt_tokens,
        "cached_tokens_total": stats.cached_tokens,
        "generated_tokens_total": stats.tokens,
        "streams": stats.active,
        "kv_held_tokens": stats.held_tokens,
        "kv_tokens": stats.kv_tokens,
    }


def _merged(processes: Iterable[Sequence[Metric]]) -> Iterator[Metric]:
    """One family of each name, with the samples of all processes."""
    found: dict[str, Metric] = {}
    for families in processes:
        for family in families:
            if family.name in found:
                found[family.name].samples += family.samples
            else:
                found[family.name] = family
    yield from found.values()


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


def _families(prefix: str, rows: Iterable[Row]) -> Iterator[Metric]:
    """One metric per number or distribution, over all rows that have it; a name that ends in ``_total`` is a counter."""
    found: dict[str, CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily] = {}
    for names, values, figures in rows:
        for key, value in figures.items():
            if isinstance(value, bool) or not isinstance(value, int | float | Distribution):
                continue
            metric = found.get(key)
            if metric is None:
                base = key.removesuffix("_total")
                text = _HELP.get(f"{prefix}_{base}", f"{base.replace('_', ' ').capitalize()}.")
                metric = found[key] = _kind(key, value)(f"{prefix}_{base}", text, labels=list(names))
            if isinstance(metric, HistogramMetricFamily) and isinstance(value, Distribution):
                metric.add_metric(list(values), value.cumulative(), value.total)
            elif not isinstance(metric, HistogramMetricFamily) and not isinstance(value, Distribution):
                metric.add_metric(list(values), value)
    yield from found.values()


def _kind(key: str, value: float | Distribution) -> type[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
    if isinstance(value, Distribution):
        return HistogramMetricFamily
    return CounterMetricFamily if key.endswith("_total") else GaugeMetricFamily
