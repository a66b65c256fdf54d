"""A real language model on two replicas: published clients, schemas, kill -9 in mid-stream, hang-ups, beside an embedder and a reranker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.cluster import Cluster, until

STORY = "Write a long story about a dog named {n} who travels to the sea."
TOKENS = 120


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, smollm2_gguf: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("chat") / "home")
    cluster.serve("--cpu-slots", "2")
    cluster.launch("-t", "LLM", "-mp", str(smollm2_gguf), "-u", "chat", "-r", "2", "--option", "kv_tokens=8192")
    yield cluster
    cluster.end()


@pytest.fixture
def client(served: Cluster) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0)


def story(number: int, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": STORY.format(n=number)}]
    return {"model": "chat", "messages": messages, "temperature": 0, "max_tokens": TOKENS, **more}


def metric(served: Cluster, name: str) -> float:
    text = httpx.get(f"{served.url}/metrics", timeout=30).text
    return sum(s.value for family in text_string_to_metric_families(text) for s in family.samples if s.name == name)


async def told(client: openai.AsyncOpenAI, number: int, **more: Any) -> tuple[str, int]:
    """A streamed story, and its tokens."""
    said, tokens = "", 0
    body: Any = story(number, stream=True, stream_options={"include_usage": True}, extra_body={"ignore_eos": True}, **more)
    async for chunk in await client.chat.completions.create(**body):
        said += "".join(choice.delta.content or "" for choice in chunk.choices)
        tokens = chunk.usage.completion_tokens if chunk.usage is not None else tokens
    return said, tokens


def test_it_is_listed_as_what_it_is(served: Cluster) -> None:
    (model,) = [entry for entry in served.get("/v1/models")["data"] if entry["id"] == "chat"]
    assert model["model_type"] == "LLM"
    replicas = served.replicas("chat")
    assert [replica["phase"] for replica in replicas] == ["ready", "ready"]
    assert {replica["engine"] for replica in replicas} == {"llamacpp"}
    assert len({replica["slot"] for replica in replicas}) == 2


async def test_a_whole_answer_and_a_streamed_one_say_the_same(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(**story(1))
    assert whole.choices[0].message.content
    assert whole.usage is not None
    assert whole.usage.prompt_tokens > 20
    said, tokens = await told(client, 1)
    assert tokens == TOKENS
    # Alone on a replica both times, so computed in the same batches.
    assert said.startswith(whole.choices[0].message.content[:40])


async def test_a_seed_gives_the_same_again_and_logprobs_are_told(client: openai.AsyncOpenAI) -> None:
    body: Any = story(2, temperature=1.0, seed=7, max_tokens=24, logprobs=True, top_logprobs=3)
    body["temperature"] = 1.0
    one, two = [await client.chat.completions.create(**body) for _ in range(2)]
    assert one.choices[0].message.content == two.choices[0].message.content
    assert one.choices[0].logprobs is not None
    assert one.choices[0].logprobs.content is not None
    assert len(one.choices[0].logprobs.content) == 24
    assert len(one.choices[0].logprobs.content[0].top_logprobs) == 3


async def test_letters_of_several_tokens_are_whole(client: openai.AsyncOpenAI) -> None:
    body: Any = story(3, max_tokens=30)
    body["messages"] = [{"role": "user", "content": "Repeat: 😀🎉 日本 ñ"}]
    schema = {"type": "string", "enum": ["😀🎉 日本語 ñandú"]}
    reply = await client.chat.completions.create(
        **body, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    )
    assert json.loads(reply.choices[0].message.content or "") == "😀🎉 日本語 ñandú"
    assert "\ufffd" not in (reply.choices[0].message.content or "")


async def test_answers_follow_a_schema(client: openai.AsyncOpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 20}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }

    async def ask(number: int) -> Any:
        body: Any = story(number, max_tokens=200, temperature=0.8, seed=number)
        body["temperature"] = 0.8
        form: Any = {"type": "json_schema", "json_schema": {"name": "dog", "schema": schema}}
        reply = await client.chat.completions.create(**body, response_format=form)
        return json.loads(reply.choices[0].message.content or "")

    for dog in await asyncio.gather(*(ask(number) for number in range(50))):
        assert set(dog) == {"name", "age"}
        assert len(dog["name"]) <= 12
        assert 0 <= dog["age"] <= 20


async def test_kill_9_in_mid_stream_is_not_seen_by_any_client(served: Cluster, client: openai.AsyncOpenAI) -> None:
    before = metric(served, "xinfer_model_resumes_total")
    calls = [asyncio.create_task(told(client, number)) for number in range(16)]
    begun = metric(served, "xinfer_model_tokens_total")
    async with asyncio.timeout(60):
        while metric(served, "xinfer_model_tokens_total") < begun + 200:
            await asyncio.sleep(0.05)
    victim = served.replicas("chat")[0]
    os.kill(victim["pid"], signal.SIGKILL)
    answers = await asyncio.gather(*calls)
    assert [tokens for _, tokens in answers] == [TOKENS] * 16
    assert all(len(said) > TOKENS for said, _ in answers)
    assert metric(served, "xinfer_model_resumes_total") > before
    until(lambda: [r["phase"] for r in served.replicas("chat")] == ["ready", "ready"], "both replicas ready again", 60)


async def test_who_hangs_up_frees_the_room(served: Cluster) -> None:
    async with (
        httpx.AsyncClient(base_url=served.url, timeout=60) as http,
        http.stream("POST", "/v1/chat/completions", json=story(1, stream=True, max_tokens=2000, ignore_eos=True)) as reply,
    ):
        await anext(reply.aiter_lines())
        assert metric(served, "xinfer_replica_kv_held_tokens") > 2000
    until(lambda: metric(served, "xinfer_replica_kv_held_tokens") == 0, "the room back", 10)
    generated = metric(served, "xinfer_replica_generated_tokens_total")
    await asyncio.sleep(1.0)
    # Health checks generate a token now and then; the answer would have come to a hundred.
    assert metric(served, "xinfer_replica_generated_tokens_total") <= generated + 4


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (story(1, max_tokens=100_000), 200),
        ({"model": "chat", "messages": []}, 400),
        ({"model": "chat", "messages": [{"role": "user", "content": "word " * 9000}]}, 400),
        (story(1, tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]), 400),
        (story(1, response_format={"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}), 400),
    ],
)
def test_what_cannot_be_done_is_a_400_and_nothing_breaks(served: Cluster, body: dict[str, Any], status: int) -> None:
    if status == 200:
        body = {**body, "stop": [" "]}  # or it would take up all the context
    reply = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=120)
    assert reply.status_code == status, reply.text
    assert httpx.post(f"{served.url}/v1/chat/completions", json=story(1, max_tokens=2), timeout=120).status_code == 200


async def test_chat_embeddings_and_reranking_on_the_same_slots(served: Cluster, minilm_embedding: Path, reranker_onnx: Path) -> None:
    served.launch("-t", "embedding", "-mp", str(minilm_embedding), "-u", "emb", "--option", "calibrate_seconds=1")
    served.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce", "--option", "calibrate_seconds=1")
    async with httpx.AsyncClient(base_url=served.url, timeout=120) as http:
        bodies: list[tuple[str, Any]] = []
        for number in range(6):
            bodies += [
                ("/v1/chat/completions", story(number, max_tokens=20)),
                ("/v1/embeddings", {"model": "emb", "input": ["a text", "another"] * 4}),
                ("/v1/rerank", {"model": "ce", "query": "dogs", "documents": ["a dog", "a cat"] * 4}),
            ]
        replies = await asyncio.gather(*(http.post(path, json=body) for path, body in bodies))
    assert {reply.status_code for reply in replies} == {200}
    (worker,) = served.slots()["workers"]
    for device in worker["devices"]:
        assert device["reserved_bytes"] <= device["total_bytes"]
