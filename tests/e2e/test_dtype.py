"""dtype auto on CPU slots: one replica measures, all run in what it chose, whoever dies; the next launch does not wait."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.cluster import Cluster, until
from tests.support.load import documents
from xinfer.catalog.spec import Dtype
from xinfer.devices.cpu_formats import native_dtypes

pytestmark = pytest.mark.timeout(300)

QUERY = "a river in the mountain"
NATIVE = Dtype.BFLOAT16 in native_dtypes()


def dtypes(cluster: Cluster) -> set[str]:
    """Of all replicas once all are ready; empty before."""
    found = cluster.replicas("ce")
    return {r["dtype"] for r in found} if all(r["phase"] == "ready" for r in found) else set()


def stages(cluster: Cluster, uid: str) -> list[dict[str, Any]]:
    return list(cluster.get(f"/v1/models/{uid}/progress")["replicas"])


def test_the_first_replica_chooses_for_all_and_for_good(cluster: Cluster, reranker_torch: Path) -> None:
    command = cluster.serve("--cpu-slots", "2")
    model = ["-t", "rerank", "-mp", str(reranker_torch), "-en", "sentence_transformers"]
    cluster.run("launch", *model, "-u", "ce", "-r", "2", "--no-wait")
    if NATIVE:
        assert cluster.get("/v1/models/ce")["dtype"] == "auto"
        assert [r["stage"] for r in stages(cluster, "ce")][1] == "queued"
        assert "first replica" in stages(cluster, "ce")[1]["error_message"]
    (chosen,) = until(lambda: dtypes(cluster), "both replicas ready", 120)
    entry = cluster.get("/v1/models/ce")
    assert entry["dtype"] == chosen
    assert entry["dtype_why"]
    assert chosen in (("float32", "bfloat16") if NATIVE else ("float32",))
    first = cluster.replicas("ce")[0]

    from sentence_transformers import CrossEncoder

    texts = [*documents(30, seed=4), "The river rises in the mountain."]
    expected = CrossEncoder(str(reranker_torch), device="cpu").predict([(QUERY, text) for text in texts])
    reply = httpx.post(cluster.url + "/v1/rerank", json={"model": "ce", "query": QUERY, "documents": texts}, timeout=60)
    scores = [r["relevance_score"] for r in sorted(reply.json()["results"], key=lambda r: r["index"])]
    np.testing.assert_allclose(scores, expected, atol=2e-2)

    os.kill(first["pid"], signal.SIGKILL)
    until(lambda: cluster.replicas("ce")[0]["pid"] not in (None, first["pid"]) and dtypes(cluster) == {chosen}, "the replica back", 90)
    command.child("control_main").kill()
    until(lambda: _quiet(cluster) == {chosen}, "the control process back, with the same dtype", 90)
    assert cluster.get("/v1/models/ce")["dtype_why"] == entry["dtype_why"]

    cluster.run("stop", "ce")
    cluster.run("launch", *model, "-u", "ce", "-r", "2", "--no-wait")
    assert cluster.get("/v1/models/ce")["dtype"] == chosen
    assert [r["stage"] for r in stages(cluster, "ce") if r["stage"] == "queued"] == []
    until(lambda: dtypes(cluster) == {chosen}, "both replicas ready again", 90)


def _quiet(cluster: Cluster) -> set[str]:
    """``dtypes`` while the supervisor may be away."""
    try:
        return dtypes(cluster)
    except httpx.HTTPError:
        return set()


def test_a_dtype_that_is_asked_for_is_obeyed_and_nobody_waits(cluster: Cluster, reranker_torch: Path) -> None:
    cluster.serve("--cpu-slots", "2")
    model = ["-t", "rerank", "-mp", str(reranker_torch), "-u", "ce", "-r", "2", "-en", "sentence_transformers", "--dtype", "float32"]
    cluster.run("launch", *model, "--no-wait")
    assert [r["stage"] for r in stages(cluster, "ce") if r["stage"] == "queued"] == []
    assert until(lambda: dtypes(cluster), "both ready", 90) == {"float32"}
    assert cluster.get("/v1/models/ce")["dtype_why"] == ""
