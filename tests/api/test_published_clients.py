"""openai, cohere and xinference-client as published, against the application on a loopback socket."""

from __future__ import annotations

import asyncio
from typing import Any

import cohere
import numpy as np
import openai
import pytest
from xinference_client import RESTfulClient
from xinference_client.client.restful.async_restful_client import AsyncClient as AsyncXinference
from xinference_client.client.restful.restful_client import RESTfulEmbeddingModelHandle, RESTfulRerankModelHandle

from tests.api.conftest import Server
from tests.api.fakes import vector
from xinfer.batching.work import WorkItem
from xinfer.errors import LaunchFailed

DOCS = ["a", "ccc", "bb"]
RANKED = [(1, 3.0), (2, 2.0), (0, 1.0)]


def expected(*texts: str) -> Any:
    return np.array([vector(WorkItem(t)) for t in texts])


def test_openai(server: Server) -> None:
    client = openai.OpenAI(api_key="any", base_url=server.url + "/v1", max_retries=0)
    by_default = client.embeddings.create(model="emb", input=["x", "y"])
    as_floats = client.embeddings.create(model="emb", input=["x", "y"], encoding_format="float")
    for reply in (by_default, as_floats):
        np.testing.assert_allclose([d.embedding for d in reply.data], expected("x", "y"), atol=1e-7)
        assert (reply.model, reply.usage.total_tokens) == ("emb", 6)
    assert len(client.embeddings.create(model="emb", input=[1, 2], dimensions=4).data[0].embedding) == 4
    assert [m.id for m in client.models.list()] == ["ce", "emb", "plain"]
    assert client.models.retrieve("ce").owned_by == "xinfer"


def test_openai_errors(server: Server) -> None:
    client = openai.OpenAI(api_key="any", base_url=server.url + "/v1", max_retries=0)
    with pytest.raises(openai.NotFoundError) as missing:
        client.embeddings.create(model="nobody", input="x")
    assert (missing.value.code, missing.value.param, missing.value.type) == ("model_not_found", "model", "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as bad:
        client.embeddings.create(model="plain", input="x", dimensions=3)
    assert "dimensions" in bad.value.message


@pytest.mark.parametrize("kind", [cohere.Client, cohere.ClientV2])
def test_cohere(server: Server, kind: Any) -> None:
    client = kind("any", base_url=server.url)
    reply = client.rerank(model="ce", query="q", documents=DOCS, top_n=2)
    assert [(r.index, r.relevance_score) for r in reply.results] == RANKED[:2]
    assert reply.meta.tokens.input_tokens == 9
    assert reply.meta.billed_units.search_units == 1
    with pytest.raises(cohere.NotFoundError) as missing:
        client.rerank(model="nobody", query="q", documents=DOCS)
    assert "nobody" in str(missing.value.body)


def test_cohere_v1_gives_documents_back(server: Server) -> None:
    reply = cohere.Client("any", base_url=server.url).rerank(
        model="ce", query="q", documents=[{"text": d} for d in DOCS], return_documents=True
    )
    assert [r.document and r.document.text for r in reply.results] == ["ccc", "bb", "a"]


def test_xinference_inference(server: Server) -> None:
    client = RESTfulClient(server.url, api_key="any")
    assert set(client.list_models()) == {"ce", "emb", "plain"}
    rerank = client.get_model("ce")
    assert isinstance(rerank, RESTfulRerankModelHandle)
    reply = rerank.rerank(DOCS, "q", top_n=2, return_documents=True, return_len=True, instruction="find", priority=3)
    assert [(r["index"], r["relevance_score"], r["document"]["text"]) for r in reply["results"]] == [(1, 3.0, "ccc"), (2, 2.0, "bb")]
    embed = client.get_model("emb")
    assert isinstance(embed, RESTfulEmbeddingModelHandle)
    np.testing.assert_allclose([d["embedding"] for d in embed.create_embedding(["x", "y"])["data"]], expected("x", "y"), atol=1e-7)
    with pytest.raises(RuntimeError, match="documents must be a list with at least one entry"):
        rerank.rerank([], "q")
    with pytest.raises(RuntimeError, match="No model 'nobody' is running"):
        client.get_model("nobody")


def test_xinference_management(server: Server) -> None:
    client = RESTfulClient(server.url)
    assert client.launch_model("tiny", model_type="rerank", model_uid="one", replica=2) == "one"
    assert client.launch_model("tiny", model_type="rerank", model_uid="two", wait_ready=False) == "two"
    first = server.control.launched[0]
    assert (first.replica, first.n_gpu, first.n_worker, first.options) == (2, "auto", 1, {})
    assert client.describe_model("one")["replica"] == 2
    client.terminate_model("one")
    assert "one" not in client.list_models()
    assert client.get_launch_model_progress("ce")["progress"] == 1.0
    client.cancel_launch_model("two")
    added = client.add_model_replica("ce", {"devices": [{"worker_ip": "10.0.0.1:24002", "gpu_idx": [3]}]})
    assert added["replica_id"] == 2
    assert client.add_model_replica("ce", replica=2)["replica"] == 2
    assert client.terminate_model_replica("ce", 2) == 4
    assert client.get_instance_info("tiny-reranker", "ce")[0]["status"] == "READY"
    assert client.list_model_registrations("rerank")
    assert client.get_model_registration("rerank", "bge-reranker-base")["model_name"] == "bge-reranker-base"
    assert "sentence_transformers" in client.query_engine_by_model_name("bge-reranker-base", "rerank")
    assert client.list_cached_models() == []
    assert client.get_workers_info()[0]["work-ip"] == "10.0.0.1:24002"
    assert set(client.get_supervisor_info()) == {"supervisor_ip"}
    assert client.abort_request("ce", "none") == {"aborted": 0}
    with pytest.raises(RuntimeError, match="did you mean gpu_idx"):
        client.launch_model("tiny", model_type="rerank", gpu_ids=[0])
    with pytest.raises(RuntimeError, match="replica must be at least 1, not 0"):
        client.launch_model("tiny", model_type="rerank", replica=0)
    with pytest.raises(RuntimeError, match="not offered yet"):
        client.register_model("rerank", "{}", persist=True)
    server.control.ready = [LaunchFailed("replica x-0 failed: no such file")]
    with pytest.raises(RuntimeError, match="no such file"):
        client.launch_model("tiny", model_type="rerank", model_uid="x")


def test_xinference_async(server: Server) -> None:
    async def use() -> None:
        client = AsyncXinference(server.url)
        rerank: Any = await client.get_model("ce")
        reply = await rerank.rerank(DOCS, "q")
        assert [(r["index"], r["relevance_score"]) for r in reply["results"]] == RANKED
        await rerank.close()
        await client.close()

    asyncio.run(use())
