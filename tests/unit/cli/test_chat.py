"""`chat`: one answer, a talk line by line, a model that is not there."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.unit.cli.conftest import run
from xinfer.cli import connect
from xinfer.client import Client, Retry


@pytest.fixture
def talks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Bodies that came; each is answered with how many messages it had."""
    came: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        came.append(body)
        if body["model"] != "chat":
            return httpx.Response(404, json={"error": {"message": "no such model", "code": "model_not_found"}})
        pieces = [
            {"choices": [{"index": 0, "delta": {"content": f"I had {len(body['messages'])}"}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {"content": "."}, "finish_reason": "length"}]},
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}},
        ]
        events = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n"
        return httpx.Response(200, text=events, headers={"content-type": "text/event-stream"})

    def make(endpoint: str, api_key: str | None) -> Client:
        return Client(endpoint, api_key, retry=Retry(attempts=1), transport=httpx.MockTransport(answer))

    monkeypatch.setattr(connect, "make_client", make)
    return came


def test_one_answer_to_stdout_and_its_speed_to_stderr(talks: list[Any]) -> None:
    result = run("chat", "-u", "chat", "hello", "--max-tokens", "7", "--temperature", "0", "--system", "be brief")
    assert result.stdout == "I had 2.\n"
    assert "7 tokens" in result.stderr
    assert "cut off" in result.stderr
    assert talks[0]["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    assert (talks[0]["max_tokens"], talks[0]["temperature"]) == (7, 0.0)


def test_a_talk_remembers_what_was_said(talks: list[Any]) -> None:
    result = run("chat", "-u", "chat", stdin="hello\n\nand now?\n")
    assert result.stdout == "I had 1.\nI had 3.\n"
    assert [message["role"] for message in talks[1]["messages"]] == ["user", "assistant", "user"]
    assert talks[1]["messages"][1]["content"] == "I had 1."


def test_the_message_from_stdin(talks: list[Any]) -> None:
    run("chat", "-u", "chat", "-", stdin="one\ntwo")
    assert talks[0]["messages"][0]["content"] == "one\ntwo"


def test_a_model_that_is_not_there(talks: list[Any]) -> None:
    result = run("chat", "-u", "other", "hello")
    assert result.exit_code == 4
    assert "no such model" in result.stderr
