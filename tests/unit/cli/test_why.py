"""`why`: the picture adds up, fits the terminal, and the numbers are all in the other forms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.conftest import ADDRESS, FakeServer, run
from xinfer.cli.why import STAGES, bar, duration


def shard(replica: int, queue: float, wait: float, compute: float, **changes: Any) -> dict[str, Any]:
    batches = [{"items": n, "longest": 160, "padded_tokens": 160 * n, "real_tokens": 150 * n, "seconds": compute / 2} for n in (10, 11)]
    candidates = [{"replica_id": f"rr-{n}", "score": 0.1 + n / 100, "won": n == replica} for n in range(6)]
    return {
        "replica_id": f"rr-{replica}",
        "slot": f"{ADDRESS}@{replica}",
        "items": 20,
        "shard_items": 24,
        "tokens": 2600,
        "shard_tokens": 3000,
        "estimated_tokens": 2800,
        "padded_tokens": 3200,
        "queue_seconds": queue,
        "wait_seconds": wait,
        "tokenize_seconds": 0.004,
        "compute_seconds": compute,
        "network_seconds": 0.001,
        "total_seconds": 0.005 + wait + compute,
        "oom_splits": 1,
        "batch_count": 2,
        "batches": batches,
        "candidates": candidates,
        **changes,
    }


def story(**changes: Any) -> dict[str, Any]:
    return {
        "request_id": "asked-1",
        "model": "rr",
        "lane": "bulk",
        "keyed": True,
        "items": 40,
        "truncated": 3,
        "estimated_tokens": 5600,
        "tokens": 5200,
        "outcome": "ok",
        "message": "",
        "seconds": 0.412,
        "replica_count": 9,
        "replicas": [{"replica_id": "rr-0", "epoch": 1, "slot": f"{ADDRESS}@0", "speed": 1.0, "budget_tokens": 2048}],
        "shard_count": 2,
        "shards": [shard(1, 0.12, 0.05, 0.22), shard(0, 0.0004, 0.0, 0.09)],
        "attempt_count": 1,
        "attempts": [
            {
                "replica_id": "rr-2",
                "slot": f"{ADDRESS}@2",
                "items": 20,
                "queue_seconds": 0.0004,
                "seconds": 0.11,
                "error": "replica_lost",
                "message": "killed by signal 9 " * 5,
            }
        ],
        **changes,
    }


@pytest.fixture
def asked(server: FakeServer) -> FakeServer:
    server.on("GET", "/v1/requests/asked-1/why", story())
    return server


@pytest.mark.parametrize("columns", [80, 140])
def test_all_of_it_on_a_terminal(asked: FakeServer, terminal: None, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    printed = run("why", "asked-1").stdout
    assert max(map(len, printed.splitlines())) <= columns
    for shown in ("40, 3 truncated", "ok after 412 ms", "bulk lane, with an API key", "and 8 more", "rr-0 0.1", "1.067", "replica_lost"):
        assert shown in printed
    lines = [line.removeprefix("   1  rr-0 ") for line in printed.splitlines() if line.startswith("   1  rr-0 ")]
    assert set(lines[0].strip()) <= {mark for _, mark, _ in STAGES}
    assert ("TOKENIZE" in printed) is (columns == 140)


def test_a_batch_that_ran_for_two_shards_is_listed_once(server: FakeServer, terminal: None) -> None:
    merged = [shard(0, 0.01, 0.0, 0.09), shard(0, 0.02, 0.0, 0.09), shard(1, 0.0, 0.0, 0.09)]
    server.on("GET", "/v1/requests/x/why", story(shards=merged))
    printed = run("why", "x").stdout
    listed = [line.split() for line in printed[printed.index("Batches") :].splitlines()]
    assert [line[:3] for line in listed if line[:1] in (["rr-0"], ["rr-1"])] == [
        ["rr-1", "1", "10"],
        ["rr-1", "1", "11"],
        ["rr-0", "2,3", "10"],
        ["rr-0", "2,3", "11"],
    ]


def test_a_request_without_shards_is_told_too(server: FakeServer, terminal: None) -> None:
    empty = story(
        shards=[], shard_count=0, attempts=[], attempt_count=0, replicas=[], replica_count=0, outcome="model_loading", message="wait"
    )
    server.on("GET", "/v1/requests/x/why", empty)
    printed = run("why", "x").stdout
    assert "model_loading" in printed
    assert "Shards" not in printed


def test_json_is_the_story_and_a_pipe_gets_a_row_per_shard(asked: FakeServer) -> None:
    assert json.loads(run("why", "asked-1", "--json").stdout) == story()
    head, first, second = (line.split("\t") for line in run("why", "asked-1").stdout.splitlines())
    assert dict(zip(head, second, strict=True))["compute"] == "0.22"
    assert dict(zip(head, first, strict=True))["padded"] == "3200"
    assert run("why", "asked-1", "-q").stdout == "rr-0\nrr-1\n"


def test_an_unknown_request(server: FakeServer) -> None:
    assert run("why", "nobody").exit_code == 4


@given(st.lists(st.floats(0, 100), min_size=5, max_size=5), st.floats(0.001, 600), st.integers(10, 100))
def test_a_bar_never_leaves_its_line_and_stages_keep_their_order(parts: list[float], more: float, width: int) -> None:
    times = {f"{stage}_seconds": part for (stage, _, _), part in zip(STAGES, parts, strict=True)}
    whole = sum(parts) + more
    drawn = bar(times, whole, width)
    assert [stage for stage, _ in drawn] == [stage for stage, _, _ in STAGES]
    assert all(cells >= 0 for _, cells in drawn)
    assert sum(cells for _, cells in drawn) == round(width * sum(parts) / whole)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.00042, "0.42 ms"), (0.0183, "18.3 ms"), (0.412, "412 ms"), (1.239, "1.24 s"), (0, "0.00 ms")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
