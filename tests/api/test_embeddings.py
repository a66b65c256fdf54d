"""Embeddings over their fakes."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from tests.api.conftest import Api
from tests.api.fakes import DIM, vector
from xinfer.batching.work import WorkItem


def expected(text: str | tuple[int, ...]) -> Any:
    return vector(WorkItem(text))


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("one", ["one"]),
        (["one", "two"], ["one", "two"]),
        ([1, 2, 3], [(1, 2, 3)]),
        ([[1, 2], [3]], [(1, 2), (3,)]),
        ([{"text": "one"}, "two"], ["one", "two"]),
        ("", [""]),
    ],
)
async def test_inputs(api: Api, given: Any, texts: list[Any]) -> None:
    reply = await api.http.post("/v1/embeddings", json={"model": "emb", "input": given, "user": "me"})
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert [d["index"] for d in body["data"]] == list(range(len(texts)))
    assert (body["object"], body["data"][0]["object"], body["model"]) == ("list", "embedding", "emb")
    np.testing.assert_allclose([d["embedding"] for d in body["data"]], [expected(t) for t in texts], atol=1e-7)
    assert body["usage"] == {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts)}


async def test_base64_is_little_endian_float32_to_the_bit(api: Api) -> None:
    reply = await api.http.post("/v1/embeddings", json={"model": "emb", "input": ["a", "b"], "encoding_format": "base64"})
    for entry, text in zip(reply.json()["data"], "ab", strict=True):
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(entry["embedding"]), "<f4"), expected(text))


async def test_dimensions_cut_and_normalise(api: Api) -> None:
    reply = await api.http.post("/v1/embeddings", json={"model": "emb", "input": "a", "dimensions": 3})
    found = np.array(reply.json()["data"][0]["embedding"])
    assert found.shape == (3,)
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(found, expected("a")[:3] / np.linalg.norm(expected("a")[:3]), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "dimensions", "words"),
    [
        ("emb", DIM + 1, f"at most {DIM}"),
        ("plain", DIM - 1, "not made to be cut"),
        ("emb", 0, "at least 1"),
        ("emb", "3", "a whole number"),
    ],
)
async def test_dimensions_that_cannot_be(api: Api, model: str, dimensions: Any, words: str) -> None:
    reply = await api.http.post("/v1/embeddings", json={"model": model, "input": "a", "dimensions": dimensions})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "dimensions"
    assert words in reply.json()["detail"]
    assert not api.inference.calls


async def test_full_dimensions_are_no_cut(api: Api) -> None:
    assert (await api.http.post("/v1/embeddings", json={"model": "plain", "input": "a", "dimensions": DIM})).status_code == 200


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (None, "input must be"),
        ([], "input must be"),
        ([None], "input[0] must be"),
        (["a", 3], "input[1] must be"),
        ([[]], "or a list with at least one entry"),
        ([[1], ["a"]], "input[1][0] must be a whole number"),
        ([-1], "input[0]"),
        ([True], "input[0] must be"),
        (7, "input must be"),
        ({"image": "x"}, "input"),
    ],
)
async def test_bad_inputs_are_named(api: Api, given: Any, named: str) -> None:
    reply = await api.http.post("/v1/embeddings", json={"model": "emb", "input": given})
    assert reply.status_code == 400, reply.text
    assert named in reply.json()["detail"]


async def test_encoding_format_and_model_type(api: Api) -> None:
    reply = await api.http.post("/v1/embeddings", json={"model": "emb", "input": "a", "encoding_format": "int8"})
    assert "encoding_format must be one of 'float', 'base64', not 'int8'." in reply.json()["detail"]
    reply = await api.http.post("/v1/embeddings", json={"model": "ce", "input": "a"})
    assert reply.status_code == 400
    assert "POST /v1/rerank serves" in reply.json()["detail"]


async def test_tei_embed(api: Api) -> None:
    several = await api.http.post("/embed", json={"inputs": "a"})
    assert several.status_code == 400
    assert several.json() == {"error": "Several models could answer; add ?model= with one of emb, plain.", "error_type": "Validation"}
    reply = await api.http.post("/embed?model=plain", json={"inputs": ["a", "b"]})
    np.testing.assert_allclose(reply.json(), [expected("a"), expected("b")], atol=1e-6)
    raw = await api.http.post("/embed?model=plain", json={"inputs": "a", "normalize": False})
    np.testing.assert_allclose(raw.json()[0], vector(WorkItem("a", raw=True)), atol=1e-6)
    assert api.inference.calls[-1]["items"][0].raw
    bad = await api.http.post("/embed?model=plain", json={"inputs": [1.5]})
    assert (bad.status_code, bad.json()["error_type"]) == (400, "Validation")


async def test_a_vector_with_nan_is_an_engine_error(api: Api) -> None:
    api.inference.poison = 0
    reply = await api.http.post("/v1/embeddings", json={"model": "emb", "input": "a"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "engine_error")
