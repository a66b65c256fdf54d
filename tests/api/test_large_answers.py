"""Answers of many rows: the same bytes as small ones, and others get their turn while they are written."""

from __future__ import annotations

import asyncio
import base64

import numpy as np
import orjson
import pytest
from starlette.types import Message

from tests.api.conftest import Api
from tests.api.fakes import vector
from xinfer.api.reply import list_reply
from xinfer.api.routes import embeddings, rerank
from xinfer.batching.work import WorkItem

TEXTS = [f"text number {n}" for n in range(7)]


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven rows make four slices."""
    monkeypatch.setattr(embeddings, "NUMBERS_AT_ONCE", 16)
    monkeypatch.setattr(rerank, "RESULTS_AT_ONCE", 2)


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_vectors_in_slices(api: Api, encoding: str) -> None:
    reply = await api.http.post("/v1/embeddings", json={"model": "emb", "input": TEXTS, "encoding_format": encoding})
    data = reply.json()["data"]
    assert [d["index"] for d in data] == list(range(7))
    rows = [np.frombuffer(base64.b64decode(d["embedding"]), "<f4") if encoding == "base64" else d["embedding"] for d in data]
    np.testing.assert_allclose(rows, [vector(WorkItem(text)) for text in TEXTS], atol=1e-7)


async def test_bare_vectors_in_slices(api: Api) -> None:
    reply = await api.http.post("/embed?model=emb", json={"inputs": TEXTS})
    np.testing.assert_allclose(reply.json(), [vector(WorkItem(text)) for text in TEXTS], atol=1e-6)


async def test_ranks_in_slices(api: Api) -> None:
    documents = ["x" * (n % 4) for n in range(7)]
    body = {"model": "ce", "query": "q", "documents": documents, "return_documents": True, "top_n": 5}
    results = (await api.http.post("/v1/rerank", json=body)).json()["results"]
    assert [r["index"] for r in results] == [3, 2, 6, 1, 5]
    assert all(r["document"]["text"] == documents[r["index"]] for r in results)


async def test_the_loop_turns_between_two_slices() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    seen: list[int] = []

    def entries(first: int, last: int) -> list[int]:
        seen.append(turns)
        return list(range(first, last))

    reply = await list_reply({"before": 1, "list": None, "after": 2}, "list", 10, 3, entries)
    beside.cancel()
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await reply({}, None, send)  # type: ignore[arg-type]
    body = b"".join(message["body"] for message in sent[1:])
    assert dict(sent[0]["headers"])[b"content-length"] == str(len(body)).encode()
    assert [message["more_body"] for message in sent[1:]] == [True] * 5 + [False]
    assert orjson.loads(body) == {"before": 1, "list": list(range(10)), "after": 2}
    assert len(set(seen)) == 4, "each slice in a turn of its own"


async def test_an_empty_list_is_one() -> None:
    assert (await list_reply(None, "", 0, 10, lambda first, last: [])).body == b"[]"
