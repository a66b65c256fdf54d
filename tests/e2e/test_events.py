"""The event stream of real processes: what another client does, a kill -9 and the supervisor's death are seen by who watches."""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.cluster import Cluster, until
from xinfer.client import Client, Retry
from xinfer.schemas.feed import FeedChange, FeedSnapshot

SOON = 3.0
"""Seconds in which a fault must be on the page."""


class Watching:
    """A client of the stream on a thread of its own."""

    def __init__(self, url: str, last: str = "") -> None:
        self.seen: list[tuple[float, str, str, Any]] = []
        self._fresh: queue.Queue[tuple[float, str, str, Any]] = queue.Queue()
        self._reply = httpx.stream("GET", url + "/v1/cluster/events", headers={"Last-Event-ID": last} if last else {}, timeout=60)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self._reply as reply:
            fields: dict[str, str] = {}
            for line in reply.iter_lines():
                if line.startswith(":"):
                    continue
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields:
                    self._fresh.put((time.monotonic(), fields["event"], fields.get("id", ""), json.loads(fields["data"])))
                    fields = {}

    def until(self, wanted: Callable[[str, Any], bool], what: str, seconds: float = 30.0) -> tuple[float, str, Any]:
        """The next event of that kind: when it came, its id and data."""
        end = time.monotonic() + seconds
        while True:
            try:
                event = self._fresh.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"not within {seconds:g} s: {what}; seen: {[e[1:3] for e in self.seen[-20:]]}") from None
            self.seen.append(event)
            if wanted(event[1], event[3]):
                return event[0], event[2], event[3]


def phase(key: str, *names: str) -> Callable[[str, Any], bool]:
    return lambda kind, data: kind == "change" and data["key"] == key and data["replica"] is not None and data["replica"]["phase"] in names


@pytest.fixture
def watched(cluster: Cluster) -> Watching:
    cluster.serve("--simulate-gpus", "2x24GiB")
    return Watching(cluster.url)


def test_what_others_do_and_what_breaks_is_seen_soon(cluster: Cluster, watched: Watching, reranker_onnx: Path) -> None:
    _, _, whole = watched.until(lambda kind, _: kind == "snapshot", "the whole cluster")
    (worker,) = whole["workers"]
    assert len(worker["devices"]) == 2
    cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce")
    _, last, ready = watched.until(phase("ce-0", "ready"), "the replica that another client launched")
    assert ready["replica"]["seen_uuids"] == [worker["devices"][0]["uuid"]]

    killed = time.monotonic()
    os.kill(ready["replica"]["pid"], signal.SIGKILL)
    at, _, ended = watched.until(lambda kind, data: kind == "change" and data["level"] == "error", "the end of the replica")
    assert at - killed < SOON
    assert ended["text"].startswith("Replica ce-0 ended and is being started again: ")
    _, _, again = watched.until(phase("ce-0", "ready"), "its next life")
    assert again["replica"]["restarts"] == 1

    missed = Watching(cluster.url, last)
    _, first, _ = missed.until(lambda _kind, _data: True, "what came after that event")
    assert first == f"{last.partition('-')[0]}-{int(last.partition('-')[2]) + 1}"
    numbers = [int(name.partition("-")[2]) for _, kind, name, _ in watched.seen if kind == "change"]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "each once"

    watched.until(lambda kind, data: kind == "reading" and data["replicas"], "a reading of the replica")
    shown = cluster.run("events", "-u", "ce").stdout
    assert "ended and is being started again" in shown
    assert "ce-0" in cluster.run("top").stdout


def test_a_workers_death_is_seen_soon(cluster: Cluster, watched: Watching) -> None:
    watched.until(lambda kind, _: kind == "snapshot", "the whole cluster")
    killed = time.monotonic()
    os.kill(cluster.commands[0].child("worker").pid, signal.SIGKILL)
    at, _, change = watched.until(lambda kind, data: kind == "change" and data["key"] != "", "the worker's silence")
    assert change["worker"]["state"] == "suspect"
    assert at - killed < SOON
    watched.until(lambda kind, data: kind == "change" and data["worker"] and data["worker"]["state"] == "alive", "the next one")


def test_the_supervisors_death_is_said_and_the_next_life_begins_anew(cluster: Cluster, watched: Watching, reranker_onnx: Path) -> None:
    watched.until(lambda kind, _: kind == "snapshot", "the whole cluster")
    cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce")
    _, last, _ = watched.until(phase("ce-0", "ready"), "a replica")
    os.kill(cluster.commands[0].child("control").pid, signal.SIGKILL)
    watched.until(lambda kind, _: kind == "away", "that the supervisor is away")
    _, name, whole = watched.until(lambda kind, data: kind == "snapshot" and data["epoch"] > int(last.partition("-")[0]), "its next life")
    assert name.partition("-")[0] == str(whole["epoch"])
    until(lambda: [r["phase"] for r in cluster.replicas("ce")] == ["ready"], "the replica adopted")


def test_the_clients_stream_outlives_its_api_process(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.serve("--simulate-gpus", "2x24GiB")
    with Client(cluster.url, retry=Retry(attempts=100, base=0.1, most=0.5)) as client:
        stream = client.events()
        first = next(stream)
        assert isinstance(first.data, FeedSnapshot)
        uid = client.launch(model_path=str(reranker_onnx), model_type="rerank", model_uid="ce")
        os.kill(cluster.commands[0].child("api-0").pid, signal.SIGKILL)
        client.healthz()  # tried until there is a new one
        client.stop(uid)
        numbers = []
        for event in stream:
            assert not isinstance(event.data, FeedSnapshot), "its place was lost"
            if isinstance(event.data, FeedChange):
                numbers.append(event.data.number)
                if (event.data.kind, event.data.key, event.data.model) == ("model", "ce", None):
                    break
    assert numbers == list(range(first.data.number + 1, numbers[-1] + 1))
