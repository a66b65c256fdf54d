"""A replica that sees another device than its slot's fails the launch and frees the slot."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.actors.conftest import Stage
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.ledger import usage
from xinfer.cluster.memory import with_headroom
from xinfer.cluster.replica import Phase
from xinfer.errors import LaunchFailed
from xinfer.schemas.launch import LaunchRequest


def request(model: Path, uid: str) -> LaunchRequest:
    return LaunchRequest(model_path=str(model), model_type="rerank", model_uid=uid, model_engine="onnxruntime")


async def test_a_wrong_uuid_fails_the_launch_and_frees_the_slot(stage: Stage, reranker_onnx: Path) -> None:
    stage.inventory.change = {"CUDA_VISIBLE_DEVICES": str(stage.inventory.devices[1].uuid) + "-other"}
    uid = await stage.supervisor.launch(request(reranker_onnx, "ce"))
    with pytest.raises(LaunchFailed) as failed:
        await stage.supervisor.wait_ready(uid, 60)
    assert failed.value.details["cause"] == "device_mismatch"
    assert "was bound to" in failed.value.message

    snapshot = await stage.snapshot()
    (replica,) = snapshot.replicas.values()
    assert replica.phase is Phase.FAILED
    assert replica.slot is None
    index = usage(snapshot)
    assert all(index.reserved(d.uuid) == 0 for d in stage.inventory.devices)
    assert replica.pid is None or not psutil.pid_exists(replica.pid)

    stage.inventory.change = {}
    await stage.supervisor.stop(uid)
    async with asyncio.timeout(20):
        while (await stage.snapshot()).deployments:
            await asyncio.sleep(0.05)
    again = await stage.supervisor.launch(request(reranker_onnx, "ce"))
    assert await stage.supervisor.wait_ready(again, 60)


async def test_two_replicas_report_the_two_devices(stage: Stage, reranker_onnx: Path) -> None:
    wanted = request(reranker_onnx, "two").model_copy(update={"replica": 2})
    assert await stage.supervisor.wait_ready(await stage.supervisor.launch(wanted), 60)
    snapshot = await stage.snapshot()
    replicas = [r for r in snapshot.replicas.values() if r.model_uid == ModelUid("two")]
    assert {r.reports[0].uuid for r in replicas} == {d.uuid for d in stage.inventory.devices}
    for replica in replicas:
        assert replica.pid is not None
        assert psutil.Process(replica.pid).environ()["CUDA_VISIBLE_DEVICES"] == replica.reports[0].uuid
        assert replica.reports[0].used_bytes > 50 << 20


async def test_the_drivers_figure_of_the_process_is_what_counts(stage: Stage, reranker_onnx: Path) -> None:
    device = stage.inventory.devices[0]
    stage.inventory.held = {device.uuid: 3 << 30}
    wanted = request(reranker_onnx, "ce").model_copy(update={"slots": [f"{(await stage.worker_address())}@0"]})
    assert await stage.supervisor.wait_ready(await stage.supervisor.launch(wanted), 60)
    (replica,) = (await stage.snapshot()).replicas.values()
    assert replica.reports[0].used_bytes == 3 << 30
    assert replica.reserved_bytes == with_headroom(3 << 30)
