"""Starts that cannot begin or are taken back: a reason every time, a free slot, no ghost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.actors.conftest import Stage
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.ledger import usage
from xinfer.cluster.replica import Assignment, Phase, Replica
from xinfer.errors import ModelNotFound, ReplicaNotFound, SlotTaken
from xinfer.processes.logfile import MOST_BYTES
from xinfer.schemas.launch import LaunchRequest


def request(model: Path, uid: str = "ce") -> LaunchRequest:
    return LaunchRequest(model_path=str(model), model_type="rerank", model_uid=uid, model_engine="onnxruntime")


async def only(stage: Stage, *phases: Phase) -> Replica:
    """The one replica, once it is in one of ``phases``."""
    async with asyncio.timeout(30):
        while True:
            (replica,) = (await stage.snapshot()).replicas.values()
            if replica.phase in phases:
                return replica
            await asyncio.sleep(0.02)


async def test_a_process_that_cannot_be_started_is_told_with_its_reason(stage: Stage, reranker_onnx: Path, tmp_path: Path) -> None:
    logs = tmp_path / "home" / "logs"
    logs.parent.mkdir(parents=True, exist_ok=True)
    logs.write_text("not a folder")
    await stage.supervisor.launch(request(reranker_onnx))
    replica = await only(stage, Phase.BACKOFF, Phase.FAILED)
    assert "could not be started" in replica.error
    assert str(logs) in replica.error
    logs.unlink()
    await stage.supervisor.stop(ModelUid("ce"))
    again = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(again, 60)


async def test_what_nobody_foresaw_is_told_with_its_text(stage: Stage, reranker_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(uuids: object) -> dict[str, str]:
        raise RuntimeError("three wheels")

    monkeypatch.setattr(stage.inventory, "environment", fail)
    await stage.supervisor.launch(request(reranker_onnx))
    replica = await only(stage, Phase.BACKOFF, Phase.FAILED)
    assert "RuntimeError: three wheels" in replica.error


async def test_a_first_start_that_is_killed_is_tried_again(stage: Stage, reranker_onnx: Path) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    replica = await only(stage, Phase.SPAWNING)
    while replica.pid is None:
        replica = await only(stage, Phase.SPAWNING)
    psutil.Process(replica.pid).kill()
    assert await stage.supervisor.wait_ready(uid, 60)
    assert (await only(stage, Phase.READY)).restarts == 1


async def test_a_life_that_is_over_is_not_begun_again_by_a_late_start(stage: Stage, reranker_onnx: Path) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(uid, 60)
    first = await only(stage, Phase.READY)
    wanted = (await stage.snapshot()).deployments[uid]
    assert first.pid is not None
    psutil.Process(first.pid).kill()
    while (await only(stage, *Phase)).epoch == first.epoch:
        await asyncio.sleep(0.02)
    await stage.supervisor.stop(uid)
    while (await stage.snapshot()).replicas:
        await asyncio.sleep(0.02)
    with pytest.raises(SlotTaken, match=f"life of epoch {first.epoch}"):
        await stage.worker.start(Assignment(first, wanted.spec, wanted.options))


async def test_only_a_first_start_is_given_up_at_once(stage: Stage, reranker_onnx: Path) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(uid, 60)
    replica = await only(stage, Phase.READY)
    stage.inventory.change = {"XINFER_DEVICE_KIND": "three wheels"}
    assert replica.pid is not None
    psutil.Process(replica.pid).kill()
    again = await only(stage, Phase.BACKOFF, Phase.FAILED)
    while len(again.crashes) < 2 and again.phase is not Phase.FAILED:
        again = await only(stage, Phase.BACKOFF, Phase.FAILED)
    assert (again.phase, len(again.crashes)) == (Phase.BACKOFF, 2)
    assert "three wheels" in again.error
    await stage.supervisor.stop(uid)
    uid = await stage.supervisor.launch(request(reranker_onnx, "other"))
    assert "three wheels" in (await only(stage, Phase.FAILED)).error


@pytest.mark.parametrize("phases", [{Phase.SPAWNING}, {Phase.FETCHING, Phase.LOADING, Phase.WARMING}], ids=["spawning", "loading"])
async def test_a_stop_during_the_start_leaves_no_process_and_tells_who_waits(stage: Stage, reranker_onnx: Path, phases: set[Phase]) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    waiting = asyncio.create_task(stage.supervisor.wait_ready(uid, 60))
    replica = await only(stage, *phases)
    await stage.supervisor.stop(uid)
    with pytest.raises(ModelNotFound, match="stopped before it was ready"):
        await waiting
    snapshot = await stage.snapshot()
    assert not snapshot.replicas
    index = usage(snapshot)
    assert all(index.reserved(d.uuid) == 0 for d in stage.inventory.devices)
    assert replica.pid is None or not psutil.pid_exists(replica.pid)


async def test_a_stuck_replica_is_killed_at_its_deadline_and_replaced(stage: Stage, reranker_onnx: Path) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(uid, 60)
    stuck = await only(stage, Phase.READY)
    assert stuck.pid is not None
    psutil.Process(stuck.pid).suspend()
    ended = await only(stage, Phase.BACKOFF, Phase.SPAWNING)
    assert ended.restarts == 1 or "No sign of life within" in ended.error
    assert not psutil.pid_exists(stuck.pid)
    again = await only(stage, Phase.READY)
    assert (again.slot, again.restarts) == (stuck.slot, 1)


async def test_what_a_replica_wrote_can_be_read_after_it_has_failed(stage: Stage, reranker_onnx: Path, tmp_path: Path) -> None:
    stage.inventory.change = {"XINFER_DEVICE_KIND": "three wheels"}
    uid = await stage.supervisor.launch(request(reranker_onnx))
    failed = await only(stage, Phase.FAILED)
    assert failed.slot is None
    tail = await stage.supervisor.written(uid, "0", 1000, None)
    assert (tail.replica_id, tail.worker_id) == (failed.id, "worker-under-test")
    assert "three wheels" in tail.text.splitlines()[-1]
    assert (await stage.supervisor.written(uid, failed.id, 1, None)).text == tail.text.splitlines(keepends=True)[-1]
    (log,) = (tmp_path / "home" / "logs").rglob("ce-0.stderr")
    with log.open("a") as file:
        file.write("and more\n")
    more = await stage.supervisor.written(uid, "0", 1, (tail.worker_id, tail.position))
    assert (more.text, more.position) == ("and more\n", tail.position + 9)
    elsewhere = await stage.supervisor.written(uid, "0", 1, ("another", tail.position))
    assert elsewhere.text == log.read_text()  # a replica that came from another worker is read from its beginning here
    log.unlink()
    assert "three wheels" in (await stage.supervisor.written(uid, "0", 1000, None)).text  # what the supervisor kept
    with pytest.raises(ReplicaNotFound, match="no replica 'ce-7'"):
        await stage.supervisor.written(uid, "ce-7", 10, None)


async def test_what_a_replica_wrote_is_kept_short_and_outlives_its_model(stage: Stage, reranker_onnx: Path, tmp_path: Path) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(uid, 60)
    (log,) = (tmp_path / "home" / "logs").rglob("ce-0.stderr")
    with log.open("a") as file:
        file.write(f"{'x' * MOST_BYTES}\nthe end\n")
    while log.stat().st_size > MOST_BYTES:
        await asyncio.sleep(0.05)
    (older,) = log.parent.glob("ce-0.stderr.*")
    assert older.stat().st_size > MOST_BYTES >= log.stat().st_size
    await stage.supervisor.stop(uid)
    assert "the end\n" in (await stage.supervisor.written(uid, "ce-0", 50, None)).text
    outside = tmp_path / "home" / "logs" / "x-0.stderr"
    outside.write_text("not of a replica")
    for strange in ("nothing", "../x"):
        with pytest.raises(ModelNotFound, match=r"nothing that a replica .* of it wrote is kept"):
            await stage.supervisor.written(ModelUid(strange), "0", 10, None)
