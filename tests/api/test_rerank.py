"""Rerank over its fakes: shapes, and every row of bad input."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import Api
from xinfer.errors import (
    EngineError,
    InvalidItem,
    ModelLoading,
    TooManyRequests,
    Unauthorized,
)

GOOD: dict[str, Any] = {"model": "ce", "query": "q", "documents": ["a", "ccc", "bb"]}


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
async def test_ranked_best_first(api: Api, path: str) -> None:
    reply = await api.http.post(path, json={**GOOD, "return_documents": "true", "kwargs": "{}", "user": "me"})
    assert reply.status_code == 200
    body = reply.json()
    assert [(r["index"], r["relevance_score"], r["document"]) for r in body["results"]] == [
        (1, 3.0, {"text": "ccc"}),
        (2, 2.0, {"text": "bb"}),
        (0, 1.0, {"text": "a"}),
    ]
    assert body["usage"]["total_tokens"] == 9
    assert body["meta"]["tokens"] == {"input_tokens": 9, "output_tokens": 0}
    assert body["meta"]["billed_units"]["input_tokens"] == 9
    assert body["model"] == "ce"
    assert [(i.text, i.pair) for i in api.inference.calls[0]["items"]] == [("q", "a"), ("q", "ccc"), ("q", "bb")]


@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (2, 2), (3, 3), (50, 3), (None, 3)])
async def test_top_n(api: Api, top_n: int | None, count: int) -> None:
    reply = await api.http.post("/v1/rerank", json={**GOOD, "top_n": top_n})
    assert [r["index"] for r in reply.json()["results"]] == [1, 2, 0][:count]


async def test_ties_keep_the_order_and_documents_are_null_unless_asked_for(api: Api) -> None:
    reply = await api.http.post("/v1/rerank", json={**GOOD, "documents": ["a", {"text": "b", "id": 7}, "", "c"]})
    assert [(r["index"], r["document"]) for r in reply.json()["results"]] == [(0, None), (1, None), (3, None), (2, None)]
    many = await api.http.post("/v1/rerank", json={**GOOD, "documents": ["aa", "b"] * 200})
    assert [r["index"] for r in many.json()["results"]] == [*range(0, 400, 2), *range(1, 400, 2)]


BAD: list[tuple[str, Any, str, str]] = [
    ("empty list", {**GOOD, "documents": []}, "documents", "at least one entry"),
    ("null list", {**GOOD, "documents": None}, "documents", "a list"),
    ("number list", {**GOOD, "documents": 7}, "documents", "a list"),
    ("string list", {**GOOD, "documents": "abc"}, "documents", "a list"),
    ("null entry", {**GOOD, "documents": ["a", None]}, "documents[1]", "a string or an object"),
    ("number entry", {**GOOD, "documents": ["a", "b", 7]}, "documents[2]", "a string or an object"),
    ("object without text", {**GOOD, "documents": [{"txt": "a"}]}, "documents[0]", "text"),
    ("object with number text", {**GOOD, "documents": [{"text": 1}]}, "documents[0]", "a string"),
    ("list entry", {**GOOD, "documents": [["a"]]}, "documents[0]", "a string or an object"),
    ("number query", {**GOOD, "query": 7}, "query", "a string"),
    ("null query", {**GOOD, "query": None}, "query", "a string"),
    ("object query", {**GOOD, "query": {"text": "a"}}, "query", "a string"),
    ("no query", {"model": "ce", "documents": ["a"]}, "query", "required"),
    ("no model", {"query": "q", "documents": ["a"]}, "model", "required"),
    ("no documents", {"model": "ce", "query": "q"}, "documents", "required"),
    ("negative top_n", {**GOOD, "top_n": -1}, "top_n", "at least 1"),
    ("zero top_n", {**GOOD, "top_n": 0}, "top_n", "at least 1"),
    ("string top_n", {**GOOD, "top_n": "many"}, "top_n", "a whole number"),
    ("numeric string top_n", {**GOOD, "top_n": "3"}, "top_n", "a whole number"),
    ("fraction top_n", {**GOOD, "top_n": 1.5}, "top_n", "a whole number"),
    ("boolean top_n", {**GOOD, "top_n": True}, "top_n", "a whole number"),
    ("return_documents", {**GOOD, "return_documents": "perhaps"}, "return_documents", "true or false"),
    ("array body", [1, 2], "", "JSON object"),
    ("string body", "x", "", "JSON object"),
    ("null body", None, "", "JSON object"),
    ("embedding model", {**GOOD, "model": "emb"}, "model", "emb is an embedding model"),
]


@pytest.mark.parametrize(("body", "param", "words"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
async def test_bad_input_is_one_sentence(api: Api, path: str, body: Any, param: str, words: str) -> None:
    reply = await api.http.post(path, content=json.dumps(body))
    assert reply.status_code == 400, reply.text
    check(reply.json(), param, words)
    assert not api.inference.calls


def check(body: dict[str, Any], param: str, words: str) -> None:
    sentence = body["detail"]
    assert body["error"]["message"] == sentence
    assert words in sentence
    assert param in sentence
    assert sentence.count("\n") == 0
    assert sentence.endswith(".")
    assert (body["error"]["param"] or "").startswith(param.split("[")[0])
    assert body["error"]["type"] == "invalid_request_error"


RAW = [
    b"{",
    b"nonsense",
    b"\x00" * 50,
    b"[" * 10_000,
    b'{"query": "\xff\xfe"}',
    b'{"model":"ce","query":"\\ud800","documents":["a"]}',
    b'{"a": NaN}',
]


@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
@pytest.mark.parametrize("path", ["/v1/rerank", "/v1/embeddings", "/rerank", "/v1/models", "/v1/plan"])
async def test_bytes_that_are_no_json(api: Api, path: str, raw: bytes) -> None:
    reply = await api.http.post(path, content=raw)
    assert reply.status_code == 400, reply.text
    assert "valid JSON" in reply.json()["detail"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"])
async def test_the_content_type_does_not_matter(api: Api, kind: str) -> None:
    reply = await api.http.post("/v1/rerank", content=json.dumps(GOOD), headers={"content-type": kind})
    assert reply.status_code == 200


async def test_unknown_model_is_404_and_names_those_that_run(api: Api) -> None:
    reply = await api.http.post("/v1/rerank", json={**GOOD, "model": "nobody"})
    assert reply.status_code == 404
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "'nobody'" in error["message"]
    assert "running: ce." in error["message"]


async def test_too_many_documents_is_413(api: Api) -> None:
    reply = await api.http.post("/v1/rerank", json={**GOOD, "documents": ["x"] * 1001})
    assert reply.status_code == 413
    assert "at most 1000 entries, not 1001" in reply.json()["detail"]


async def test_a_body_over_the_limit_is_413_and_never_held(api: Api) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 50_000_000:
            sent += 50_000
            yield b"x" * 50_000

    reply = await api.http.post("/v1/rerank", content=endless())
    assert reply.status_code == 413
    assert "200000 bytes" in reply.json()["detail"]
    assert sent <= 4 * 200_000 + 100_000


async def test_a_nan_never_reaches_json(api: Api) -> None:
    api.inference.poison = 1
    reply = await api.http.post("/v1/rerank", json=GOOD)
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "engine_error"
    assert "item 1" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (ModelLoading("loading", retry_after=2.4), 503, {"retry-after": "3"}),
        (TooManyRequests("full", retry_after=7), 429, {"retry-after": "7"}),
        (Unauthorized("key needed"), 401, {"www-authenticate": "Bearer"}),
        (InvalidItem("item 3 is not text", param="documents", index=3), 400, {}),
        (EngineError("broke"), 500, {}),
    ],
)
async def test_the_dispatchers_errors_reach_the_client(api: Api, error: Any, status: int, headers: dict[str, str]) -> None:
    api.inference.error = error
    reply = await api.http.post("/v1/rerank", json=GOOD)
    assert reply.status_code == status
    assert reply.json()["error"]["code"] == error.code
    assert {k: reply.headers[k] for k in headers} == headers
    assert reply.json()["error"].get("details", {}) == error.details


async def test_an_unexpected_exception_is_logged_with_the_request_id(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.inference.error = RuntimeError("secret of the inside")
    with caplog.at_level(logging.ERROR):
        reply = await api.http.post("/v1/rerank", json=GOOD, headers={"x-request-id": "mine-1"})
    assert reply.status_code == 500
    assert reply.headers["x-request-id"] == "mine-1"
    assert set(reply.json()["error"]) == {"message", "type", "code", "param"}
    assert "secret" not in reply.text
    assert any("mine-1" in r.getMessage() and r.exc_info for r in caplog.records)


async def test_lane_key_and_request_id_go_to_the_dispatcher(api: Api) -> None:
    headers = {"x-priority": "Bulk", "authorization": "Bearer k", "x-request-id": "r-1"}
    assert (await api.http.post("/v1/rerank", json=GOOD, headers=headers)).headers["x-request-id"] == "r-1"
    await api.http.post("/v1/rerank", json=GOOD)
    first, second = api.inference.calls
    assert (first["lane"], first["request_id"]) == ("bulk", "r-1")
    assert first["key"] not in ("", "Bearer k")
    assert (second["lane"], second["key"]) == (None, "")
    assert len(second["request_id"]) == 32
    bad = await api.http.post("/v1/rerank", json=GOOD, headers={"x-priority": "urgent"})
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "X-Priority")


async def test_before_the_first_routes_it_is_503(api: Api) -> None:
    from xinfer.cluster.routes import RouteTable

    api.inference.table = RouteTable()
    reply = await api.http.post("/v1/rerank", json=GOOD)
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "1"


async def test_truncated_documents_are_named(api: Api) -> None:
    api.inference.truncated = (1,)
    meta = (await api.http.post("/v1/rerank", json=GOOD)).json()["meta"]
    assert meta["truncated"] == [1]
    assert "1 document was longer than the model's 64 tokens" in meta["warnings"][0]


# --- text-embeddings-inference ---

TEI = {"query": "q", "texts": ["a", "ccc"]}


async def test_tei_rerank(api: Api) -> None:
    reply = await api.http.post("/rerank", json={**TEI, "return_text": True, "raw_scores": True})
    assert reply.json() == [{"index": 1, "score": 103.0, "text": "ccc"}, {"index": 0, "score": 101.0, "text": "a"}]
    assert (await api.http.post("/rerank", json=TEI)).json() == [{"index": 1, "score": 3.0}, {"index": 0, "score": 1.0}]


async def test_tei_errors_have_their_own_shape(api: Api) -> None:
    bad = await api.http.post("/rerank", json={**TEI, "texts": []})
    assert (bad.status_code, set(bad.json()), bad.json()["error_type"]) == (400, {"error", "error_type"}, "Validation")
    assert "texts" in bad.json()["error"]
    api.inference.error = TooManyRequests("full")
    busy = await api.http.post("/rerank", json=TEI)
    assert (busy.status_code, busy.json()) == (429, {"error": "full", "error_type": "Overloaded"})
    api.inference.error = RuntimeError("x")
    broken = await api.http.post("/rerank", json=TEI)
    assert (broken.status_code, broken.json()["error_type"]) == (500, "Backend")


async def test_tei_truncate_false_refuses(api: Api) -> None:
    api.inference.truncated = (1,)
    assert (await api.http.post("/rerank", json=TEI)).status_code == 200
    reply = await api.http.post("/rerank", json={**TEI, "truncate": False})
    assert reply.status_code == 413
    assert "texts[1] must have at most 64 tokens" in reply.json()["error"]


async def test_tei_model_of_the_query(api: Api) -> None:
    assert (await api.http.post("/rerank?model=ce", json=TEI)).status_code == 200
    assert (await api.http.post("/rerank?model=nobody", json=TEI)).status_code == 404


# --- whatever comes ---

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("model", "query", "documents", "top_n", "return_documents", "texts", "raw_scores", "truncate", "instruction", "kwargs")
MAYBE_RIGHT = {
    "model": st.sampled_from(["ce", "emb", "nobody"]),
    "query": st.text(max_size=20),
    "documents": st.lists(st.text(max_size=9) | st.fixed_dictionaries({"text": st.text(max_size=9)}), max_size=5),
    "texts": st.lists(st.text(max_size=9), max_size=5),
    "top_n": st.integers(-2, 9),
}
BODIES = st.fixed_dictionaries({}, optional={name: MAYBE_RIGHT.get(name, JSON) | JSON for name in FIELDS}) | JSON


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, path=st.sampled_from(["/v1/rerank", "/rerank", "/v1/embeddings", "/embed"]))
async def test_fuzz_never_500(api: Api, body: Any, path: str) -> None:
    if path in ("/v1/embeddings", "/embed") and isinstance(body, dict):
        body = {**body, "input": body.get("documents"), "inputs": body.get("texts")}
    reply = await api.http.post(path, content=json.dumps(body))
    assert reply.status_code in (200, 400, 404), (body, reply.text)
    if reply.status_code != 200:
        parsed = reply.json()
        sentence = parsed.get("detail") or parsed["error"]
        assert isinstance(sentence, str)
        assert "\n" not in sentence


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=60))
async def test_fuzz_bytes_never_500(api: Api, raw: bytes) -> None:
    reply = await api.http.post("/v1/rerank", content=raw)
    assert reply.status_code == 400
