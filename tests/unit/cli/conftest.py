"""A server that answers from a table, and a runner for commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from pydantic import BaseModel

from xinfer.cli import connect, output
from xinfer.cli.main import cli
from xinfer.client import Client, Retry
from xinfer.schemas.cluster import SlotDevice, SlotReplica, SlotsReply, SlotWorker
from xinfer.schemas.models import DeviceEntry, ModelEntry, ModelList, ProgressReply, ReplicaEntry, ReplicaProgress

ADDRESS = "10.0.0.2:24002"
Answer = Any | Callable[[httpx.Request], Any]


@dataclass
class FakeServer:
    """Answers by (method, path); a callable is asked each time, a tuple is (status, body), an exception is raised."""

    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)

    def on(self, method: str, path: str, answer: Answer) -> None:
        self.answers[method, path] = answer

    def sent(self, method: str, path: str) -> Any:
        """The body of the last request of that kind."""
        found = [r for r in self.requests if (r.method, r.url.path) == (method, path)]
        assert found, f"{method} {path} was not asked; asked: {[(r.method, r.url.path) for r in self.requests]}"
        return json.loads(found[-1].content) if found[-1].content else None

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.get((request.method, request.url.path), (404, error("not_found", f"no {request.url.path}")))
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, BaseException):
            raise answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        content = body.model_dump_json() if isinstance(body, BaseModel) else json.dumps(body)
        return httpx.Response(status, content=content, headers={"content-type": "application/json"})


def error(code: str, message: str, **details: Any) -> dict[str, Any]:
    """The one error body."""
    return {
        "detail": message,
        "error": {"message": message, "type": "invalid_request_error", "code": code, "param": None, "details": details},
    }


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer()

    def client(endpoint: str, api_key: str | None) -> Client:
        return Client(endpoint, api_key, transport=httpx.MockTransport(fake.handle), retry=Retry(attempts=1))

    monkeypatch.setattr(connect, "make_client", client)
    for name in ("XINFER_ENDPOINT", "XINFER_API_KEY", "XINFER_HOME", "XINFER_CLUSTER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return fake


def run(*arguments: str, stdin: str | None = None) -> Result:
    """`xinfer ARGUMENTS`; a bug in it fails the test."""
    result = CliRunner().invoke(cli, list(arguments), input=stdin, prog_name="xinfer")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """stdout as a person sees it, 80 columns wide."""
    monkeypatch.setattr(output, "stdout_is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")


def replica(number: int, phase: str = "ready", **changes: Any) -> ReplicaEntry:
    name = f"NVIDIA H100 {number}"
    entry = ReplicaEntry(
        replica_id=number,
        replica_model_uid=f"rr-{number}",
        replica_uid=f"rr-{number}",
        worker_address=ADDRESS,
        model_address=f"10.0.0.2:{25000 + number}",
        accelerators=[str(number)],
        gpu_idx=[number],
        status="READY" if phase == "ready" else "CREATING",
        created_ts=1,
        error_message="",
        pid=4000 + number,
        slot=f"{ADDRESS}@{number}",
        device=DeviceEntry(kind="gpu", index=number, uuid=f"GPU-{number}", name=name),
        devices=[DeviceEntry(kind="gpu", index=number, uuid=f"GPU-{number}", name=name)],
        phase=phase,
        engine="onnxruntime",
        dtype="float32",
        used_bytes=3 << 29,
        queue=7,
        in_flight=0,
    )
    return entry.model_copy(update=changes)


def model(uid: str = "rr", **changes: Any) -> ModelEntry:
    entry = ModelEntry(
        id=uid,
        created=1,
        model_uid=uid,
        model_name="ms-marco-MiniLM-L-12-v2",
        model_type="rerank",
        model_ability=["rerank"],
        model_engine="onnxruntime",
        model_format="onnx",
        quantization="int8",
        dtype="float32",
        model_lang=["en", "zh"],
        replica=2,
        ready_replicas=1,
        status="UPDATING",
        context_length=512,
        max_tokens=512,
    )
    return entry.model_copy(update=changes)


def models(*entries: ModelEntry) -> ModelList:
    return ModelList(data=list(entries))


def started(*stages: str, **changes: Any) -> ProgressReply:
    """Progress with one replica per stage."""
    every = [
        ReplicaProgress(
            replica_id=number,
            replica_model_uid=f"rr-{number}",
            slot=f"{ADDRESS}@{number}",
            stage=stage,
            progress=1.0 if stage == "ready" else 0.5,
            status="READY" if stage == "ready" else "CREATING",
        ).model_copy(update=changes)
        for number, stage in enumerate(stages)
    ]
    return ProgressReply(progress=0.5, stage=stages[0], download_files=[], replicas=every)


def slots_reply(waiting: bool = False) -> SlotsReply:
    def held(number: int) -> SlotReplica:
        return SlotReplica(
            replica_id=number,
            replica_model_uid=f"rr-{number}",
            model_uid="rr",
            phase="ready" if number < 9 else "queued",
            pid=1,
            reserved_bytes=1 << 30,
            used_bytes=0,
        )

    devices = [
        SlotDevice(
            slot=f"{ADDRESS}@{number}",
            index=number,
            kind="gpu",
            uuid=f"GPU-{number}",
            name="NVIDIA H100 80GB HBM3",
            total_bytes=80 << 30,
            reserved_bytes=number << 30,
            free_bytes=(80 - number) << 30,
            replicas=[held(number)] if number else [],
        )
        for number in range(2)
    ]
    worker = SlotWorker(worker_id="w1", address=ADDRESS, host="node-a", state="alive", engines=["onnxruntime"], devices=devices)
    return SlotsReply(workers=[worker], waiting=[held(9)] if waiting else [])
