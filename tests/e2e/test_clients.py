"""The published clients, as they are, against a real cluster; scores equal to the in-process model's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cohere
import numpy as np
import openai
import pytest
from xinference_client import RESTfulClient

import xinfer
from tests.support.cluster import Cluster
from tests.support.load import documents
from xinfer.client import Retry
from xinfer.errors import ModelNotFound

QUERY = "how high is the mountain"
DOCS = [*documents(12, seed=5), "The mountain is 8849 metres high.", "Bananas are yellow."]


@pytest.fixture(scope="module")
def served(shared_cluster: Cluster, reranker_torch: Path, minilm_embedding: Path) -> Iterator[Cluster]:
    shared_cluster.serve("--cpu-slots", "2")
    shared_cluster.launch(
        "-t", "rerank", "-mp", str(reranker_torch), "-u", "ce", "-r", "1", "-en", "sentence_transformers", "--dtype", "float32"
    )
    shared_cluster.launch(
        "-t", "embedding", "-mp", str(minilm_embedding), "-u", "emb", "-en", "sentence_transformers", "--dtype", "float32"
    )
    return shared_cluster


@pytest.fixture(scope="module")
def expected_scores(reranker_torch: Path) -> Any:
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(reranker_torch), device="cpu").predict([(QUERY, d) for d in DOCS])


@pytest.fixture(scope="module")
def expected_vectors(minilm_embedding: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(minilm_embedding), device="cpu").encode(DOCS)


def scores_of(pairs: list[tuple[int, float]]) -> Any:
    return np.array([s for _, s in sorted(pairs)])


def test_cohere(served: Cluster, expected_scores: Any) -> None:
    for client in (cohere.Client("any", base_url=served.url), cohere.ClientV2("any", base_url=served.url)):
        reply = client.rerank(model="ce", query=QUERY, documents=DOCS, top_n=len(DOCS))
        assert type(reply).__name__.endswith("RerankResponse")
        np.testing.assert_allclose(scores_of([(r.index, r.relevance_score) for r in reply.results]), expected_scores, atol=1e-4)
        assert [r.relevance_score for r in reply.results] == sorted((r.relevance_score for r in reply.results), reverse=True)


def test_openai(served: Cluster, expected_vectors: Any) -> None:
    client = openai.OpenAI(api_key="any", base_url=served.url + "/v1")
    for reply in (
        client.embeddings.create(model="emb", input=DOCS),
        client.embeddings.create(model="emb", input=DOCS, encoding_format="float"),
    ):
        np.testing.assert_allclose(np.array([d.embedding for d in reply.data]), expected_vectors, atol=1e-4)
        assert [d.index for d in reply.data] == list(range(len(DOCS)))
        assert reply.usage.total_tokens > len(DOCS)
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nobody", input="x")


def test_xinference_client(served: Cluster, expected_scores: Any, expected_vectors: Any) -> None:
    client = RESTfulClient(served.url)
    assert set(client.list_models()) == {"ce", "emb"}
    rerank: Any = client.get_model("ce")
    reply = rerank.rerank(DOCS, QUERY, return_documents=True)
    np.testing.assert_allclose(scores_of([(r["index"], r["relevance_score"]) for r in reply["results"]]), expected_scores, atol=1e-4)
    assert {r["document"]["text"] for r in reply["results"]} == set(DOCS)
    embedding: Any = client.get_model("emb")
    vectors = np.array([d["embedding"] for d in embedding.create_embedding(DOCS)["data"]])
    np.testing.assert_allclose(vectors, expected_vectors, atol=1e-4)


def test_xinference_client_launches_and_terminates(served: Cluster, reranker_onnx: Path) -> None:
    client = RESTfulClient(served.url)
    uid = client.launch_model(
        model_name="own", model_type="rerank", model_path=str(reranker_onnx), model_uid="own", model_engine="onnxruntime"
    )
    assert uid == "own"
    assert client.describe_model("own")["replica"] == 1
    client.terminate_model("own")
    assert "own" not in client.list_models()


def test_own_sdk(served: Cluster, expected_scores: Any, expected_vectors: Any) -> None:
    with xinfer.Client(served.url) as client:
        reply = client.rerank("ce", QUERY, DOCS)
        np.testing.assert_allclose(scores_of([(r.index, r.relevance_score) for r in reply.results]), expected_scores, atol=1e-4)
        vectors = np.array(client.embed("emb", DOCS).vectors)
        np.testing.assert_allclose(vectors, expected_vectors, atol=1e-4)


def test_own_sdk_asks_six_hundred_times_at_once(served: Cluster, expected_vectors: Any) -> None:
    async def gather() -> list[Any]:
        async with xinfer.AsyncClient(served.url) as client:
            return await asyncio.gather(*(client.embed("emb", DOCS[n % len(DOCS)]) for n in range(600)))

    found = np.array([reply.vectors[0] for reply in asyncio.run(gather())])
    np.testing.assert_allclose(found, expected_vectors[np.arange(600) % len(DOCS)], atol=1e-4)


def test_a_launch_that_has_answered_is_served_at_once(served: Cluster, reranker_onnx: Path) -> None:
    """And one that was stopped is not found any more; without a second try in either case."""
    with xinfer.Client(served.url, retry=Retry(attempts=1)) as client:
        for _ in range(4):
            uid = client.launch(model_path=str(reranker_onnx), model_type="rerank", model_uid="now", replica=2)
            assert len(client.rerank(uid, QUERY, DOCS).results) == len(DOCS)
            client.stop(uid)
            with pytest.raises(ModelNotFound):
                client.rerank(uid, QUERY, DOCS)
