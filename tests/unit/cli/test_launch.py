"""`launch` and `plan`: the body that is sent, following the replicas, and what is printed at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import ADDRESS, FakeServer, error, replica, run, started
from xinfer.cli import launch
from xinfer.schemas.launch import LaunchRequest, PlannedReplica, PlanReply, RefusedSlot


@pytest.fixture
def cluster(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    monkeypatch.setattr(launch, "POLL", 0.0)
    server.on("POST", "/v1/models", {"model_uid": "rr"})
    server.on("GET", "/v1/models/rr/progress", started("ready", "ready"))
    server.on("GET", "/v1/models/rr/ready", {"model_uid": "rr", "ready": True})
    server.on("GET", "/v1/models/rr/replicas", [replica(0).model_dump(), replica(1).model_dump()])
    return server


def steps(*replies: Any) -> Any:
    """One reply after another."""
    left: Iterator[Any] = iter(replies)
    return lambda _: next(left)


@pytest.mark.parametrize(
    ("flags", "body"),
    [
        (["-n", "m"], {"model_name": "m"}),
        (
            ["-n", "m", "-t", "rerank", "-en", "onnxruntime", "-u", "rr", "-f", "onnx", "-q", "int8", "-r", "2"],
            {
                "model_name": "m",
                "model_type": "rerank",
                "model_engine": "onnxruntime",
                "model_uid": "rr",
                "model_format": "onnx",
                "quantization": "int8",
                "replica": 2,
            },
        ),
        (["-mp", "/m", "--n-gpu", "2", "--gpu-idx", "0, 2", "--worker-ip", ADDRESS], {"n_gpu": 2, "gpu_idx": [0, 2], "worker_ip": ADDRESS}),
        (
            ["-n", "m", "--n-gpu", "auto", "--dtype", "bfloat16", "--memory", "2GiB"],
            {"n_gpu": "auto", "dtype": "bfloat16", "memory": "2GiB"},
        ),
        (["-n", "m", "--pin", "a:1@3", "--pin", "b:2@0,1"], {"slots": ["a:1@3", "b:2@0,1"]}),
        (["-n", "m", "--gpu-idx", "0"], {"gpu_idx": [0]}),
        (["-n", "m", "-r", "0"], {"replica": 0}),
        (["-n", "m", "--download-hub", "pypi", "--trust-remote-code"], {"download_hub": "pypi", "trust_remote_code": True}),
        (["-n", "m", "--option", "threads=4", "--option", "path=a=b"], {"options": {"threads": 4, "path": "a=b"}}),
    ],
)
def test_flags_become_the_body(cluster: FakeServer, flags: list[str], body: dict[str, Any]) -> None:
    assert run("launch", *flags).exit_code == 0
    sent = cluster.sent("POST", "/v1/models")
    assert {key: sent[key] for key in body} == body
    assert set(sent) - set(body) <= {"model_name", "model_path"}
    LaunchRequest.model_validate(sent)


def test_a_file_and_flags_over_it(cluster: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "launch.yaml"
    file.write_text(f"model_name: m\nreplica: 2\nslots: ['{ADDRESS}@0', '{ADDRESS}@1']\noptions: {{threads: 1, x: a}}\n")
    assert run("launch", "--file", str(file), "-r", "3", "--option", "threads=2").exit_code == 0
    assert cluster.sent("POST", "/v1/models") == {
        "model_name": "m",
        "replica": 3,
        "slots": [f"{ADDRESS}@0", f"{ADDRESS}@1"],
        "options": {"threads": 2, "x": "a"},
    }


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [", "just words"])
def test_a_file_that_is_no_mapping(server: FakeServer, tmp_path: Path, content: str) -> None:
    file = tmp_path / "launch.yaml"
    file.write_text(content)
    result = run("launch", "--file", str(file))
    assert result.exit_code == 2
    assert "--file" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["-n", "m", "--gpu-idx", "0,x"],
        ["-n", "m", "--gpu-idx", "-1"],
        ["-n", "m", "--n-gpu", "some"],
        ["-n", "m", "--option", "=1"],
        ["-n", "m", "-r", "two"],
    ],
)
def test_usage_errors_reach_no_server(server: FakeServer, flags: list[str]) -> None:
    assert run("launch", *flags).exit_code == 2
    assert server.requests == []


def test_json_is_the_uid_and_the_replicas_as_they_report(cluster: FakeServer) -> None:
    found = json.loads(run("launch", "-n", "m", "--json").stdout)
    assert found["model_uid"] == "rr"
    first = found["replicas"][0]
    assert (first["slot"], first["gpu_idx"], first["pid"]) == (f"{ADDRESS}@0", [0], 4000)
    assert first["device"] == {"kind": "gpu", "index": 0, "uuid": "GPU-0", "name": "NVIDIA H100 0"}


def test_each_stage_is_a_line_where_nobody_watches(cluster: FakeServer) -> None:
    cluster.on(
        "GET",
        "/v1/models/rr/progress",
        steps(started("spawning", "queued"), started("warming_up", "queued"), started("ready", "queued"), started("ready", "ready")),
    )
    result = run("launch", "-n", "m")
    assert result.stderr.splitlines() == [
        f"rr-0 {ADDRESS}@0: spawning",
        f"rr-1 {ADDRESS}@1: queued",
        f"rr-0 {ADDRESS}@0: warming up",
        f"rr-0 {ADDRESS}@0: ready",
        f"rr-1 {ADDRESS}@1: ready",
    ]
    assert [line.split("\t")[:2] for line in result.stdout.splitlines()[1:]] == [["rr-0", f"{ADDRESS}@0"], ["rr-1", f"{ADDRESS}@1"]]


def test_quiet_prints_the_uid(cluster: FakeServer) -> None:
    assert run("launch", "-n", "m", "--quiet").stdout == "rr\n"


def test_a_replica_that_gives_up_fails_the_command_with_its_reason(cluster: FakeServer) -> None:
    cluster.on("GET", "/v1/models/rr/progress", steps(started("loading"), started("failed", error_message="the device is\nanother one.")))
    result = run("launch", "-n", "m")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"Error: Replica rr-0 on {ADDRESS}@0 failed: the device is another one." in result.stderr
    assert "xinfer show rr" in result.stderr


def test_back_off_is_shown_and_waited_for(cluster: FakeServer) -> None:
    cluster.on("GET", "/v1/models/rr/progress", steps(started("backoff", error_message="no memory"), started("ready")))
    result = run("launch", "-n", "m")
    assert result.exit_code == 0
    assert "backoff: no memory" in result.stderr


def test_no_wait_asks_for_no_progress(cluster: FakeServer) -> None:
    result = run("launch", "-n", "m", "--no-wait", "--json")
    assert json.loads(result.stdout)["model_uid"] == "rr"
    assert not any(r.url.path.endswith("progress") for r in cluster.requests)
    assert cluster.requests[0].url.params["wait_ready"] == "false"


def test_an_interrupt_leaves_the_launch_alone_and_says_so(cluster: FakeServer) -> None:
    cluster.on("GET", "/v1/models/rr/progress", KeyboardInterrupt())
    result = run("launch", "-n", "m")
    assert result.exit_code == 130
    assert "goes on loading" in result.stderr
    assert not any(r.method == "DELETE" for r in cluster.requests)


@pytest.mark.parametrize(
    ("param", "hint"), [("model_name", "xinfer registrations"), ("model_path", "on the worker"), (None, "xinfer list")]
)
def test_the_hint_fits_the_field(server: FakeServer, param: str | None, hint: str) -> None:
    body = error("model_not_found", "There is no such model.")
    body["error"]["param"] = param
    server.on("POST", "/v1/models", (404, body))
    result = run("launch", "-n", "m")
    assert result.exit_code == 4
    assert hint in result.stderr.splitlines()[1]


def test_a_taken_uid(server: FakeServer) -> None:
    server.on("POST", "/v1/models", (400, error("already_exists", "model_uid 'rr' is taken.")))
    result = run("launch", "-n", "m", "-u", "rr")
    assert result.exit_code == 1
    assert "xinfer stop" in result.stderr


def test_bars_end_at_ready(cluster: FakeServer, terminal: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from xinfer.cli import progress

    monkeypatch.setattr(progress, "stderr_is_terminal", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    cluster.on("GET", "/v1/models/rr/progress", steps(started("loading", "queued"), started("ready", "ready")))
    result = run("launch", "-n", "m")
    last = result.stderr.rstrip().splitlines()
    assert "rr is ready." in last[-1]
    assert "100 %" in result.stderr
    assert f"rr-1 {ADDRESS}@1" in result.stderr
    assert "NVIDIA H100 1" in result.stdout


def planned(number: int) -> PlannedReplica:
    return PlannedReplica(
        ordinal=number,
        slot=f"{ADDRESS}@{number}",
        worker_id="w",
        worker_address=ADDRESS,
        gpu_idx=[number],
        device_uuids=[f"GPU-{number}"],
        device_names=["NVIDIA H100 80GB HBM3"],
        reserved_bytes=2 << 30,
        free_after_bytes=70 << 30,
        why="no replica of this model on the device, and the most free memory",
    )


def plan(fits: bool) -> PlanReply:
    return PlanReply(
        fits=fits,
        model_uid="rr",
        model_name="m",
        model_engine="onnxruntime",
        dtype="float32",
        memory_per_device_bytes=2 << 30,
        replicas=[planned(0), planned(1)] if fits else [],
        refused=[RefusedSlot(slot=f"{ADDRESS}@2", reason="needs 2 GiB, 1 GiB is free", hint="stop a model there")],
        reason="" if fits else "No slot has 2 GiB free.",
    )


@pytest.mark.parametrize("command", [["plan", "-n", "m"], ["launch", "-n", "m", "--dry-run"]])
def test_plan_shows_slots_and_reasons_and_launches_nothing(server: FakeServer, terminal: None, command: list[str]) -> None:
    server.on("POST", "/v1/plan", plan(True))
    result = run(*command)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "m on onnxruntime, float32, 2.0 GiB per device" in result.stdout
    assert f"{ADDRESS}@1" in result.stdout
    assert "stop a model" in result.stdout
    assert [r.url.path for r in server.requests] == ["/v1/plan"]


def test_plan_when_piped(server: FakeServer) -> None:
    server.on("POST", "/v1/plan", plan(True))
    rows = [line.split("\t") for line in run("plan", "-n", "m").stdout.splitlines()]
    assert rows[0][:2] == ["replica", "slot"]
    assert [row[:2] for row in rows[1:]] == [["0", f"{ADDRESS}@0"], ["1", f"{ADDRESS}@1"]]
    assert run("plan", "-n", "m", "--quiet").stdout == f"{ADDRESS}@0\n{ADDRESS}@1\n"
    assert json.loads(run("plan", "-n", "m", "--json").stdout)["fits"] is True


@pytest.mark.parametrize("flags", [[], ["--json"], ["--quiet"]])
def test_a_plan_that_does_not_fit_is_exit_1(server: FakeServer, flags: list[str]) -> None:
    server.on("POST", "/v1/plan", plan(False))
    result = run("plan", "-n", "m", *flags)
    assert result.exit_code == 1
    assert "Error: No slot has 2 GiB free." in result.stderr
    assert "Hint: Stop a model there" in result.stderr
    assert ("needs 2 GiB" in result.stderr) is (flags != ["--json"])


def test_a_launch_that_is_over_has_routes(cluster: FakeServer) -> None:
    """The progress knows of a ready replica before the requests do."""
    assert run("launch", "-n", "m", "--json").exit_code == 0
    asked = [request.url.path for request in cluster.requests]
    assert asked.index("/v1/models/rr/ready") == asked.index("/v1/models/rr/progress") + 1


def test_packages_are_repeated_and_become_a_list(server: FakeServer) -> None:
    server.on("POST", "/v1/models", {"model_uid": "rr"})
    server.on("GET", "/v1/models/rr/replicas", [])
    done = run("launch", "-n", "rr", "--packages", "einops", "--packages", "transformers==4.57.*", "--no-wait")
    assert done.exit_code == 0, done.output
    assert server.sent("POST", "/v1/models") == {"model_name": "rr", "packages": ["einops", "transformers==4.57.*"]}
