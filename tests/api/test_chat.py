"""Chat and completions over HTTP, from generators in this process: shapes, streams, hang-ups, refusals, a lost replica."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import openai
import pytest

from tests.api.chat_server import HI, WAIT, Chat
from tests.support.sleeper import Sleeper, answer_to
from xinfer.api import streams as api_streams


async def test_a_whole_answer(chat: Chat) -> None:
    reply = (await chat.post(max_tokens=12)).json()
    (choice,) = reply["choices"]
    assert reply["object"] == "chat.completion"
    assert choice["message"] == {"role": "assistant", "content": answer_to("hello", 12).lstrip()}
    assert choice["finish_reason"] == "length"
    assert reply["usage"] == {
        "prompt_tokens": 5, "completion_tokens": 12, "total_tokens": 17, "prompt_tokens_details": {"cached_tokens": 0}
    }  # fmt: skip


async def test_a_stream_is_the_whole_answer_in_pieces(chat: Chat) -> None:
    events = await chat.events(max_tokens=30)
    assert events[-1] == "[DONE]"
    chunks = events[:-1]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert [delta.get("role") for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert "".join(delta["content"] for delta in deltas) == answer_to("hello", 30).lstrip()
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(reasons) - 1) + ["length"]
    assert not [chunk for chunk in chunks if "usage" in chunk]


async def test_requests_of_one_id_at_once_each_get_their_own_answer(chat: Chat) -> None:
    chat.replicas.models["a@1"].step_seconds = 0.005
    texts = ["hello", "and another", "a third"]

    async def ask(text: str) -> str:
        body = {"model": "chat", "messages": [{"role": "user", "content": text}], "max_tokens": 40}
        reply = await chat.http.post("/v1/chat/completions", json=body, headers={"X-Request-ID": "the-same"})
        return str(reply.json()["choices"][0]["message"]["content"])

    assert await asyncio.gather(*map(ask, texts)) == [answer_to(text, 40).lstrip() for text in texts]


async def test_usage_comes_last_and_only_where_it_is_asked_for(chat: Chat) -> None:
    events = await chat.events(max_tokens=5, stream_options={"include_usage": True})
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["completion_tokens"] == 5


async def test_several_answers_each_have_their_index(chat: Chat) -> None:
    reply = (await chat.post(max_tokens=6, n=3)).json()
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    assert (reply["usage"]["prompt_tokens"], reply["usage"]["completion_tokens"]) == (5, 18)
    events = await chat.events(max_tokens=6, n=3)
    ends = [choice["index"] for event in events[:-1] for choice in event["choices"] if choice["finish_reason"]]
    assert sorted(ends) == [0, 1, 2]


async def test_a_stop_string_ends_the_answer_and_is_not_in_it(chat: Chat) -> None:
    whole = answer_to("hello", 40)
    stop = whole[20:23]
    reply = (await chat.post(max_tokens=40, stop=[stop])).json()
    assert reply["choices"][0]["message"]["content"] == whole[: whole.index(stop)].lstrip()
    assert reply["choices"][0]["finish_reason"] == "stop"


async def test_plain_completions_of_several_prompts(chat: Chat) -> None:
    reply = (await chat.post("/v1/completions", prompt=["one", "two"], max_tokens=7, echo=True)).json()
    assert [choice["text"] for choice in reply["choices"]] == ["one" + answer_to("one", 7), "two" + answer_to("two", 7)]
    assert reply["usage"]["prompt_tokens"] == 6
    events = await chat.events("/v1/completions", prompt="one", max_tokens=7)
    assert "".join(event["choices"][0]["text"] for event in events[:-1]) == answer_to("one", 7)
    ids = [ord(letter) for letter in "one"]
    assert (await chat.post("/v1/completions", prompt=ids, max_tokens=7)).json()["choices"][0]["text"] == answer_to("one", 7)


@pytest.mark.parametrize(
    ("body", "param", "sentence"),
    [
        ({"messages": []}, "messages", "at least one entry"),
        ({"messages": [{"role": "user", "content": "x" * 1000}]}, "messages", "1,000 tokens"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages", "role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages", "text"),
        ({"max_tokens": 0}, "max_tokens", "1"),
        ({"temperature": 3}, "temperature", "2"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools", "name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": "x"}}]}, "tools", "parameters"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "nonsense"}}}]}, "tools", "JSON schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"properties": 5}}}}, "response_format", "JSON schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": "("}}}}, "response_format", "JSON schema"),
        ({"tool_choice": "required", "tools": []}, "tool_choice", "auto"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "schema"),
        ({"n": 17}, "n", "16"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_bad_input_is_one_sentence_that_names_the_field(
    chat: Chat, body: dict[str, Any], param: str, sentence: str, stream: bool
) -> None:
    reply = await chat.post(**body, stream=stream)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["param"].split(".")[0].split("[")[0] == param
    assert sentence in error["message"]
    assert (await chat.post(max_tokens=3)).status_code == 200


async def test_no_schema_is_fetched_from_anywhere(chat: Chat) -> None:
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(1)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/draft"
        for schema, status in (({"$schema": address, "type": "object"}, 200), ({"$ref": address}, 400), ({"$ref": "#/nowhere"}, 400)):
            form = {"type": "json_schema", "json_schema": {"schema": schema}}
            assert (await chat.post(max_tokens=3, response_format=form)).status_code == status
    assert not asked


async def test_a_model_of_another_kind_and_an_unknown_one(chat: Chat) -> None:
    assert (await chat.post(model="nothing")).status_code == 404
    assert (await chat.http.post("/v1/rerank", json={"model": "chat", "query": "q", "documents": ["d"]})).status_code == 400


async def test_max_tokens_beyond_the_context_is_cut_to_it(chat: Chat) -> None:
    reply = (await chat.post(max_tokens=100_000)).json()
    assert reply["usage"]["total_tokens"] == 1000
    assert reply["choices"][0]["finish_reason"] == "length"


async def until(look: Any) -> None:
    async with asyncio.timeout(WAIT):
        while not look():
            await asyncio.sleep(0.01)


async def test_who_hangs_up_in_mid_stream_stops_the_answer_and_its_room_is_back(chat: Chat) -> None:
    model = chat.replicas.models["a@1"]
    model.step_seconds = 0.02
    async with chat.http.stream("POST", "/v1/chat/completions", json={"model": "chat", "messages": HI, "stream": True}) as reply:
        await anext(reply.aiter_lines())
    await until(lambda: model.cancelled)
    taken = model.steps
    await until(lambda: not model.sequences)
    assert chat.replicas.generators["a@1"].holds() == 0
    assert model.steps - taken <= 2
    assert chat.streams.stats()["models"]["chat"]["streams"] == 0


async def test_who_hangs_up_before_the_first_word_does_too(chat: Chat) -> None:
    model = chat.replicas.models["a@1"]
    model.gate = threading.Event()
    call = asyncio.create_task(chat.post(max_tokens=5))
    await until(lambda: model.sequences)
    call.cancel()
    await asyncio.sleep(0.1)
    model.gate.set()
    await until(lambda: model.cancelled and not model.sequences)


async def test_a_replica_that_dies_in_mid_stream_is_not_seen_by_its_clients(chat: Chat) -> None:
    chat.replicas.models["a@1"].step_seconds = 0.01
    await chat.replicas.start("b", model=Sleeper(step_seconds=0.01))
    chat.announce()
    prompts = [[{"role": "user", "content": f"tell me {number}"}] for number in range(16)]
    calls = [asyncio.create_task(chat.events(messages=prompt, max_tokens=200)) for prompt in prompts]
    await until(lambda: chat.streams.stats()["models"]["chat"]["tokens_total"] > 300)
    await chat.replicas.kill("a")
    chat.announce(starting=1)
    for prompt, call in zip(prompts, calls, strict=True):
        events = await call
        assert events[-1] == "[DONE]"
        said = "".join(event["choices"][0]["delta"]["content"] for event in events[:-1])
        assert said == answer_to(str(prompt[0]["content"]), 200).lstrip()
    assert chat.streams.stats()["models"]["chat"]["resumes_total"] > 0


async def test_a_replica_that_stands_still_is_left(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_streams, "PULL", 0.2)
    monkeypatch.setattr(api_streams, "ANSWER", 0.2)
    chat.replicas.models["a@1"].step_seconds = 0.01
    call = asyncio.create_task(chat.events(max_tokens=150))
    await until(lambda: chat.streams.stats()["models"]["chat"]["tokens_total"] > 20)
    chat.replicas.silent.add("a@1")
    await chat.replicas.start("b")
    chat.announce()
    events = await call
    said = "".join(event["choices"][0]["delta"]["content"] for event in events[:-1])
    assert said == answer_to("hello", 150).lstrip()


async def test_an_error_in_mid_stream_is_an_event(chat: Chat) -> None:
    model = chat.replicas.models["a@1"]
    model.step_seconds = 0.01
    call = asyncio.create_task(chat.events(max_tokens=400))
    await until(lambda: chat.streams.stats()["models"]["chat"]["tokens_total"] > 20)
    await chat.replicas.kill("a")
    chat.streams.update_routes(chat.replicas.table(9, failed="no weights"))
    events = await call
    assert "no weights" in events[-1]["error"]["message"]


async def test_more_streams_than_places_wait_their_turn(chat: Chat) -> None:
    model = chat.replicas.models["a@1"]
    replies = await asyncio.gather(*(chat.post(max_tokens=10) for _ in range(200)))
    assert {reply.status_code for reply in replies} == {200}
    assert model.most <= model.capacity.places


async def test_a_slow_reader_holds_nobody_up(chat: Chat) -> None:
    chat.replicas.models["a@1"].step_seconds = 0.002
    async with chat.http.stream(
        "POST", "/v1/chat/completions", json={"model": "chat", "messages": HI, "stream": True, "max_tokens": 500}
    ) as slow:
        lines = slow.aiter_lines()
        await anext(lines)
        for _ in range(5):
            assert (await chat.post(max_tokens=20)).status_code == 200
        rest = [line async for line in lines if line]
    assert rest[-1] == "data: [DONE]"


async def test_openais_own_client(chat: Chat) -> None:
    client = openai.AsyncOpenAI(base_url=f"{chat.url}/v1", api_key="any")
    whole = await client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hello"}], max_tokens=12)
    assert whole.choices[0].message.content == answer_to("hello", 12).lstrip()
    assert whole.usage is not None
    said = ""
    async for chunk in await client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "hello"}], max_tokens=12, stream=True
    ):
        said += chunk.choices[0].delta.content or ""
    assert said == answer_to("hello", 12).lstrip()
    text = await client.completions.create(model="chat", prompt="one", max_tokens=4)
    assert text.choices[0].text == answer_to("one", 4)
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "x" * 2000}])
