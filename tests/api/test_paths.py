"""Methods, HEAD, the page for people, and what the OpenAPI document says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.api.conftest import Api


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/models", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/models/ce", "DELETE, GET, HEAD"),
        ("PUT", "/v1/models/ce/replicas", "GET, HEAD, POST"),
        ("POST", "/v1/models/instances", "GET, HEAD"),
        ("GET", "/v1/rerank", "POST"),
        ("PATCH", "/v1/model_registrations/rerank", "GET, HEAD, POST"),
    ],
)
async def test_a_wrong_method_is_told_all_that_the_path_takes(api: Api, method: str, path: str, allow: str) -> None:
    """Not only those of the first route."""
    reply = await api.http.request(method, path)
    assert (reply.status_code, reply.headers["allow"]) == (405, allow)
    assert reply.json()["detail"] == f"{path} does not take {method}; it takes {allow}."


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/openapi.json", "/metrics", "/v1/models/nope"])
async def test_head_is_get_without_a_body(api: Api, path: str) -> None:
    """Load balancers ask this way."""
    head, get = await api.http.head(path), await api.http.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]


async def test_head_of_what_only_takes_post(api: Api) -> None:
    """The refusal names what was asked, not what it was answered as."""
    reply = await api.http.head("/v1/rerank")
    assert (reply.status_code, reply.content, reply.headers["allow"]) == (405, b"", "POST")


@pytest.mark.parametrize("body", [b"", b" \n"])
async def test_an_empty_body_is_called_empty(api: Api, body: bytes) -> None:
    """No position in a document that is not there."""
    reply = await api.http.post("/v1/rerank", content=body)
    assert (reply.status_code, reply.json()["detail"]) == (400, "The body must be a JSON object; it is empty.")


async def test_a_uid_that_no_path_could_reach(api: Api) -> None:
    """/v1/models/instances is a listing."""
    reply = await api.http.post("/v1/models", json={"model_name": "bge-m3", "model_uid": "instances"})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "model_uid"
    assert not api.control.launched


async def test_a_number_beyond_all_bounds_is_a_sentence(api: Api) -> None:
    """Pydantic's own words do not fit into it."""
    reply = await api.http.post("/v1/plan", json={"model_name": "bge-m3", "replica": 1e30})
    assert reply.json()["detail"] == "replica must be a whole number of fewer digits, not 1e+30."


async def test_the_page_for_people_is_whole_and_needs_nothing_else(api: Api) -> None:
    """Every operation, every object, every link inside the page; no script, style or font of another host."""
    page = (await api.http.get("/docs")).text
    document = (await api.http.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<b>{method.upper()}</b> <code>{path}</code>" in page
    targets = set(re.findall(r'id="(\w+)"', page))
    assert targets == set(document["components"]["schemas"])
    assert set(re.findall(r'href="#(\w+)"', page)) <= targets
    assert set(re.findall(r'(?:src|href)="([^#"][^"]*)"', page)) == {"/openapi.json"}


async def test_the_document_tells_the_truth_about_its_odd_ones(api: Api) -> None:
    """Metrics are text; the paths of text-embeddings-inference have an error body of their own."""
    paths: dict[str, Any] = (await api.http.get("/openapi.json")).json()["paths"]
    assert list(paths["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]
    for path in ("/embed", "/rerank"):
        schema = paths[path]["post"]["responses"]["4XX"]["content"]["application/json"]["schema"]
        assert {"$ref": "#/components/schemas/TeiError"} in schema["anyOf"]
    assert all(operation.get("description") for methods in paths.values() for operation in methods.values())


async def test_what_clients_of_text_embeddings_inference_ask_for(api: Api) -> None:
    """Hugging Face's client posts to the root; deployments probe /health."""
    body = {"inputs": ["a", "bb"]}
    root, embed = [await api.http.post(f"{path}?model=emb", json=body) for path in ("/", "/embed")]
    assert root.status_code == 200
    assert root.json() == embed.json()
    assert (await api.http.get("/health")).status_code == 200


async def test_a_model_of_another_type_is_told_apart_from_none(api: Api) -> None:
    """Xinference's client asks for LLMs unless told otherwise."""
    reply = await api.http.get("/v1/engines/LLM/bge-reranker-base")
    assert (reply.status_code, reply.json()["detail"]) == (404, "bge-reranker-base is a model of type rerank, not LLM.")
