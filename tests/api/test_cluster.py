"""Cluster listings, catalogue, health, metrics and the error body of unknown paths, over fakes."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Api
from xinfer.cluster.routes import RouteTable
from xinfer.errors import SupervisorUnreachable


async def test_slots_show_memory_and_who_sits_where(api: Api) -> None:
    found = (await api.http.get("/v1/cluster/slots")).json()
    only = found["workers"][0]
    first, third, last = only["devices"][0], only["devices"][2], only["devices"][3]
    assert (only["address"], only["state"]) == ("10.0.0.1:24002", "alive")
    assert (first["slot"], first["uuid"], first["observed_free_bytes"], first["utilization"]) == ("10.0.0.1:24002@0", "a-0", 12, 0.5)
    assert first["reserved_bytes"] == 1 << 30
    assert [(r["model_uid"], r["replica_id"], r["pid"], r["used_bytes"]) for r in first["replicas"]] == [("ce", 0, 100, 1000)]
    assert [r["model_uid"] for r in third["replicas"]] == ["emb", "plain"]
    assert third["reserved_bytes"] == 2 << 30
    assert last["replicas"] == []
    assert last["free_bytes"] == (24 << 30) * 92 // 100


async def test_xinference_listings(api: Api) -> None:
    assert (await api.http.get("/v1/workers")).json()[0]["work-ip"] == "10.0.0.1:24002"
    assert (await api.http.get("/v1/workers")).json()[0]["models"] == ["ce", "emb", "plain"]
    info = (await api.http.get("/v1/cluster/info")).json()
    assert [(n["node_type"], n["ip_address"], n["gpu_count"]) for n in info] == [("Supervisor", "10.0.0.9", 0), ("Worker", "10.0.0.1", 4)]
    assert info[1]["gpu_vram_total"] == 4 * (24 << 30)
    assert (await api.http.get("/v1/cluster/devices")).json() == 4
    assert (await api.http.get("/v1/cluster/auth")).json() == {"auth": False}
    assert (await api.http.get("/v1/cluster/version")).json() == {"version": "1.2.3"}
    assert (await api.http.get("/v1/supervisor")).json() == {"supervisor_ip": "10.0.0.9:5000"}
    assert (await api.http.get("/v1/address")).json() == "10.0.0.9:5000"
    status = (await api.http.get("/status")).json()
    assert status["uptime"] >= 0
    assert status["workers"]["10.0.0.1:24002"]["devices"] == 4
    assert (await api.http.post("/token", json={"username": "a", "password": "b"})).json()["token_type"] == "bearer"
    assert (await api.http.get("/v1/cache/models")).json() == {"list": []}


async def test_the_catalogue(api: Api) -> None:
    names = [m["model_name"] for m in (await api.http.get("/v1/model_registrations/rerank")).json()]
    assert "bge-reranker-v2-m3" in names
    detailed = (await api.http.get("/v1/model_registrations/embedding?detailed=true")).json()
    assert all(m["is_builtin"] and m["model_specs"] for m in detailed)
    assert (await api.http.get("/v1/model_registrations/rerank/bge-reranker-v2-m3")).json()["max_tokens"] > 0
    assert (await api.http.get("/v1/model_registrations/rerank/nothing")).status_code == 404
    assert (await api.http.get("/v1/model_registrations/image")).json() == []
    assert (await api.http.get("/v1/model_registrations/nonsense")).status_code == 400
    engines = (await api.http.get("/v1/engines/rerank/bge-reranker-v2-m3")).json()
    assert engines["sentence_transformers"][0]["model_format"] == "pytorch"
    assert (await api.http.get("/v1/engines/bge-reranker-v2-m3")).json() == engines
    offered = await api.http.post("/v1/model_registrations/rerank", json={"model": "{}", "worker_ip": None, "persist": True})
    assert (offered.status_code, offered.json()["detail"]) == (
        400,
        "Custom registrations are not offered yet; launch a folder directly with model_path.",
    )
    assert (await api.http.delete("/v1/model_registrations/rerank/bge-reranker-v2-m3")).status_code == 400


async def test_health(api: Api) -> None:
    assert (await api.http.get("/healthz")).json() == {"status": "ok"}
    assert (await api.http.get("/readyz")).json() == {"status": "ready"}
    api.inference.table = RouteTable()
    unready = await api.http.get("/readyz")
    assert (unready.status_code, unready.headers["retry-after"]) == (503, "1")
    assert (await api.http.get("/healthz")).status_code == 200


async def test_why(api: Api) -> None:
    api.inference.stories["r-1"] = {"queue_seconds": 0.1}
    assert (await api.http.get("/v1/requests/r-1/why")).json() == {"queue_seconds": 0.1}
    assert (await api.http.get("/v1/requests/r-2/why")).status_code == 404


async def test_metrics_parse_and_have_no_label_of_an_unknown_model(api: Api) -> None:
    api.inference.figures = {
        "queued_items": 4,
        "models": {"ce": {"requests_total": 5, "queued_items": 4}, "ghost-model": {"requests_total": 1}},
        "replicas": {"ce-0": {"model": "ce", "in_flight_tokens": 9}, "ghost-0": {"in_flight_tokens": 1}},
    }
    await api.http.post("/v1/rerank", json={"model": "made-up-name", "query": "q", "documents": ["a"]})
    await api.http.get("/made/up/path")
    reply = await api.http.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    text = reply.text
    assert "ghost" not in text
    assert "made-up-name" not in text
    assert "/made/up" not in text
    found = {s.name: (s.labels, s.value) for f in text_string_to_metric_families(text) for s in f.samples if "bucket" not in s.name}
    assert found["xinfer_model_requests_total"] == ({"model": "ce"}, 5)
    assert found["xinfer_dispatch_replica_in_flight_tokens"] == ({"model": "ce", "replica": "ce-0"}, 9)
    assert found["xinfer_replica_busy_seconds_total"] == ({"model": "ce", "replica": "ce-0"}, 1.5)
    assert found["xinfer_api_queued_items"] == ({}, 4)
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP")}
    assert names == {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert 'xinfer_http_requests_total{method="POST",route="/v1/rerank",status="404"} 1.0' in text
    assert 'route="unknown",status="404"' in text


async def test_metrics_go_on_without_the_replicas(api: Api) -> None:
    api.control.down = SupervisorUnreachable("away")
    assert (await api.http.get("/metrics")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/nothing", 404), ("GET", "/v1/rerank", 405), ("PUT", "/v1/models", 405)]
)
async def test_unknown_paths_and_methods_have_the_one_body(api: Api, method: str, path: str, status: int) -> None:
    reply = await api.http.request(method, path)
    assert reply.status_code == status
    assert set(reply.json()["error"]) >= {"message", "type", "code", "param"}
    assert isinstance(reply.json()["detail"], str)
    if status == 405:
        assert "POST" in reply.headers["allow"]


@pytest.mark.parametrize("given", ["x" * 129, "a\tb", "", "é"])
async def test_a_request_id_that_is_no_name_is_replaced(api: Api, given: str) -> None:
    reply = await api.http.get("/healthz", headers={"x-request-id": given.encode()})
    assert len(reply.headers["x-request-id"]) == 32


async def test_the_openapi_document_has_every_endpoint_body_and_reply(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    paths = document["paths"]
    routes = {(path, method) for path, item in paths.items() for method in item}
    for path, method in [
        ("/v1/rerank", "post"),
        ("/embed", "post"),
        ("/v1/models", "post"),
        ("/v1/models/{model_uid}", "delete"),
        ("/metrics", "get"),
    ]:
        assert (path, method) in routes, path
    assert len(routes) >= 35
    schemas = document["components"]["schemas"]
    body = paths["/v1/rerank"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/RerankRequest"}
    assert set(schemas["RerankRequest"]["required"]) == {"model", "query", "documents"}
    assert schemas["LaunchRequest"]["additionalProperties"] is False
    assert all("summary" in op and op["responses"] for item in paths.values() for op in item.values())
    assert "422" not in str([op["responses"].keys() for item in paths.values() for op in item.values()])
    for name in _refs(document):
        assert name in schemas, name


def _refs(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {str(node["$ref"]).rpartition("/")[2]} if "$ref" in node else set()
        return own.union(*(_refs(v) for v in node.values()))
    return set().union(*(_refs(v) for v in node)) if isinstance(node, list) else set()


async def test_draining_a_worker_and_ending_that(api: Api) -> None:
    assert (await api.http.get("/v1/workers/10.0.0.1:24002/drain")).json()["draining"] is False
    begun = (await api.http.post("/v1/workers/10.0.0.1:24002/drain", json={})).json()
    assert (begun["draining"], begun["leaving"], begun["staying"], begun["reasons"]) == (True, ["ce-0"], ["ce-1"], {"ce-0": "no room"})
    assert (await api.http.get("/v1/cluster/slots")).json()["workers"][0]["state"] == "draining"
    assert (await api.http.get("/v1/workers")).json()[0]["state"] == "draining"
    ended = (await api.http.post("/v1/workers/10.0.0.1:24002/drain", json={"undo": True})).json()
    assert ended["draining"] is False
    assert [undo for _, undo in api.control.drained] == [None, False, True]
    assert (await api.http.get("/v1/workers")).json()[0]["state"] == "alive"
    misspelt = await api.http.post("/v1/workers/10.0.0.1/drain", json={"undoo": True})
    assert (misspelt.status_code, misspelt.json()["error"]["param"]) == (400, "undoo")


async def test_rebalancing_and_only_looking(api: Api) -> None:
    looked = (await api.http.post("/v1/cluster/rebalance", json={"dry_run": True, "max_moves": 2})).json()
    assert (looked["dry_run"], looked["moves"][0]["to_slot"], looked["moves"][0]["successor"]) == (True, "A@3", None)
    begun = (await api.http.post("/v1/cluster/rebalance", json={"memory": "20GiB"})).json()
    assert begun["moves"][0]["successor"] == "ce-9"
    assert [(r.dry_run, r.max_moves, r.memory) for r in api.control.rebalanced] == [(True, 2, None), (False, 1000, "20GiB")]
    misspelt = await api.http.post("/v1/cluster/rebalance", json={"dryrun": True})
    assert (misspelt.status_code, misspelt.json()["error"]["param"]) == (400, "dryrun")
    assert len(api.control.rebalanced) == 2


async def test_an_upgrade_says_what_ran_and_what_runs(api: Api) -> None:
    reply = await api.http.post("/v1/workers/10.0.0.1/upgrade")
    assert (reply.status_code, reply.json()["version_before"], reply.json()["version"], reply.json()["kept"]) == (
        200,
        "1.2.3",
        "1.2.4",
        ["ce-0"],
    )
