"""The Prometheus text, read back by Prometheus' own parser."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import LIMITS, Api
from tests.api.fakes import ports
from tests.api.few_answers import FewAnswers
from xinfer.actors.messages import ReplicaStats
from xinfer.api.app import create_app
from xinfer.api.exposition import exposition, own
from xinfer.api.meter import Meter
from xinfer.cluster.ids import Epoch, ReplicaId
from xinfer.serving.histogram import Distribution
from xinfer.serving.tally import Tally

HISTOGRAMS = {"wait_seconds", "stay_seconds", "tokenize_seconds", "compute_seconds", "batch_tokens", "batch_items", "padding_ratio"}
CE = ReplicaId("ce-0")
STATS = ReplicaStats(
    CE,
    Epoch(1),
    items=40,
    tokens=900,
    padded_tokens=1000,
    batches=3,
    busy_seconds=0.5,
    oom_splits=2,
    queued_items=4,
    queued_tokens=90,
    budget_tokens=512,
    slowdown=1.25,
    histograms={"batch_tokens": Distribution((64.0, 512.0), (1, 2, 1), 1600.0)},
)
LATENCY = {"latency": {"ce": {"queue_seconds": Distribution((0.01, 1.0), (3, 1, 0), 0.5)}}}


def read(text: bytes | str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Value by name and labels."""
    text = text if isinstance(text, str) else text.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return name, tuple(sorted(labels.items()))


def told(stats: Mapping[str, Any] = LATENCY, **replicas: ReplicaStats) -> dict[Any, float]:
    table = ports()[0].table
    named = {ReplicaId(name.replace("_", "-")): value for name, value in replicas.items()}
    return read(exposition([own(Meter(), stats, table)], table, named))


def test_a_replica_s_figures_and_histograms() -> None:
    found = told(ce_0=STATS)
    one = {"model": "ce", "replica": "ce-0"}
    for name, value in {
        "items_total": 40,
        "tokens_total": 900,
        "padded_tokens_total": 1000,
        "batches_total": 3,
        "busy_seconds_total": 0.5,
        "oom_splits_total": 2,
        "queued_items": 4,
        "queued_tokens": 90,
        "budget_tokens": 512,
        "slowdown": 1.25,
        "batch_tokens_count": 4,
        "batch_tokens_sum": 1600,
    }.items():
        assert found[key(f"xinfer_replica_{name}", **one)] == value, name
    buckets = [found[key("xinfer_replica_batch_tokens_bucket", **one, le=le)] for le in ("64.0", "512.0", "+Inf")]
    assert buckets == [1, 3, 4]
    assert not any(name.startswith("xinfer_replica_epoch") for name, _ in found)


def test_what_a_replica_counts_has_the_promised_names() -> None:
    assert set(Tally().histograms()) == HISTOGRAMS
    text = exposition([], ports()[0].table, {CE: replace(STATS, histograms=Tally().histograms())}).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name in HISTOGRAMS:
        assert families[f"xinfer_replica_{name}"].type == "histogram"
        assert len(families[f"xinfer_replica_{name}"].documentation) > 15


def test_queue_and_request_seconds_are_of_known_models_only() -> None:
    unknown = {"latency": {**LATENCY["latency"], "ghost": LATENCY["latency"]["ce"]}}
    found = told(unknown)
    assert found[key("xinfer_queue_seconds_count", model="ce")] == 4
    assert found[key("xinfer_queue_seconds_bucket", model="ce", le="1.0")] == 4
    assert not any(("model", "ghost") in labels for _, labels in found)


def test_the_processes_of_one_port_are_told_apart_and_a_replica_is_told_once() -> None:
    table = ports()[0].table
    processes = []
    for name, route in (("api-0", "/v1/rerank"), ("api-1", "/healthz")):
        meter = Meter(name)
        meter.observe("POST", route, 200, 0.1)
        processes.append(own(meter, LATENCY, table))
    found = read(exposition(pickle.loads(pickle.dumps(processes)), table, {CE: STATS}))
    for process in ("api-0", "api-1"):
        assert found[key("xinfer_queue_seconds_count", model="ce", process=process)] == 4
    requests = {labels: value for (name, labels), value in found.items() if name == "xinfer_http_requests_total"}
    assert len(requests) == 2
    assert found[key("xinfer_replica_items_total", model="ce", replica="ce-0")] == 40
    assert found[key("xinfer_model_ready_replicas", model="ce")] == 2


class Others:
    """One sibling that has counted the same."""

    async def metrics(self) -> Sequence[Sequence[Metric]]:
        return [own(Meter("api-1"), LATENCY, ports()[0].table)]

    async def why(self, request_id: str) -> Mapping[str, Any] | None:
        return {"request_id": request_id} if request_id == "elsewhere" else None

    async def abort(self, request_id: str, owner: str | None = None) -> int:
        return 0


async def test_a_scrape_of_one_process_has_the_series_of_all() -> None:
    inference, control = ports()
    inference.figures = LATENCY
    app = create_app(inference, control, streams=FewAnswers(), limits=LIMITS, version="1", siblings=Others(), process="api-0")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        found = read((await http.get("/metrics")).text)
        assert (await http.get("/v1/requests/elsewhere/why")).json() == {"request_id": "elsewhere"}
        assert (await http.get("/v1/requests/nowhere/why")).status_code == 404
    for process in ("api-0", "api-1"):
        assert found[key("xinfer_queue_seconds_sum", model="ce", process=process)] == 0.5


async def test_alone_no_series_names_its_process(api: Api) -> None:
    assert "process=" not in (await api.http.get("/metrics")).text
