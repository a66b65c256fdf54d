"""What a worker lets go of it takes back: the same process, whatever it was at, without a new image in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.actors.conftest import Stage
from tests.actors.test_hosting import only, request
from xinfer.actors import upgrading
from xinfer.actors.handover import HELD, HeldWorker
from xinfer.actors.worker import WorkerActor
from xinfer.cluster.replica import Assignment, Phase
from xinfer.errors import SlotTaken, Unavailable, UpgradeRefused
from xinfer.processes.spawn import ProcessSpec


async def over(stage: Stage) -> None:
    """Let go, write down, read, take back, join again."""
    held = await stage.worker.hold()
    (read,) = HELD.validate_json(HELD.dump_json((held,)))
    assert read == held
    await stage.renew_worker()
    await stage.worker.take_back(read)
    await stage.worker.begin()


async def test_a_ready_replica_goes_on_and_its_end_is_noticed(stage: Stage, reranker_onnx: Path) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(uid, 60)
    before = await only(stage, Phase.READY)
    await over(stage)
    await asyncio.sleep(1.0)  # several heartbeats and health checks
    after = await only(stage, Phase.READY)
    assert (after.pid, after.epoch, after.restarts) == (before.pid, before.epoch, 0)
    assert after.pid is not None
    psutil.Process(after.pid).kill()
    while (again := await only(stage, Phase.READY)).restarts == 0:
        await asyncio.sleep(0.02)
    assert again.pid != before.pid
    assert not psutil.pid_exists(after.pid)


@pytest.mark.parametrize("phases", [{Phase.SPAWNING}, {Phase.FETCHING, Phase.LOADING, Phase.WARMING}], ids=["spawning", "loading"])
async def test_a_start_goes_on_or_is_begun_again(stage: Stage, reranker_onnx: Path, phases: set[Phase]) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    before = await only(stage, *phases)
    await over(stage)
    assert await stage.supervisor.wait_ready(uid, 60)
    after = await only(stage, Phase.READY)
    assert (after.epoch, after.restarts) == (before.epoch, 0)
    if Phase.LOADING in phases:
        assert after.pid == before.pid
    elif before.pid is not None:
        assert before.pid == after.pid or not psutil.pid_exists(before.pid)


async def test_one_that_was_asked_to_stop_is_stopped(stage: Stage, reranker_onnx: Path) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(uid, 60)
    replica = await only(stage, Phase.READY)
    stopping = asyncio.create_task(stage.supervisor.stop(uid))
    held = await stage.worker.hold()
    await stage.worker.take_back(held)
    await stage.worker.begin()
    await stopping
    assert not (await stage.snapshot()).replicas
    assert replica.pid is not None
    assert not psutil.pid_exists(replica.pid)


async def test_what_died_meanwhile_is_told(stage: Stage, reranker_onnx: Path) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(uid, 60)
    replica = await only(stage, Phase.READY)
    held = await stage.worker.hold()
    assert replica.pid is not None
    psutil.Process(replica.pid).kill()
    await stage.worker.take_back(held)
    await stage.worker.begin()
    while (again := await only(stage, Phase.READY)).restarts == 0:
        await asyncio.sleep(0.02)
    assert again.pid != replica.pid


@pytest.mark.parametrize("pinned", [False, True])
async def test_a_launch_meanwhile_is_begun_afterwards(stage: Stage, reranker_onnx: Path, pinned: bool) -> None:
    asked = request(reranker_onnx)
    if pinned:
        asked = asked.model_copy(update={"gpu_idx": 1, "worker_ip": await stage.worker_address()})
    held = await stage.worker.hold()
    uid = await stage.supervisor.launch(asked)
    refused = await only(stage, Phase.QUEUED)
    assert "is being upgraded" in refused.error
    assert refused.slot is None
    await stage.renew_worker()
    await stage.worker.take_back(held)
    await stage.worker.begin()
    assert await stage.supervisor.wait_ready(uid, 60)
    ready = await only(stage, Phase.READY)
    assert ready.slot is not None
    assert not pinned or [d.index for d in stage.inventory.devices if d.uuid in ready.slot.device_uuids] == [1]


async def test_a_life_that_ended_before_is_not_begun_again_after(stage: Stage, reranker_onnx: Path) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(uid, 60)
    over_soon = await only(stage, Phase.READY)
    spec = (await stage.snapshot()).deployments[uid].spec
    await stage.supervisor.stop(uid)
    await over(stage)
    with pytest.raises(SlotTaken, match="has had its life"):
        await stage.worker.start(Assignment(over_soon, spec, {}))


async def test_an_image_that_cannot_be_begun_leaves_the_old_one_at_work(
    stage: Stage, reranker_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(uid, 60)
    before = await only(stage, Phase.READY)

    given: list[int | None] = []

    def fail(spec: ProcessSpec) -> None:
        given.append(spec.payload["held"][0]["replicas"][0]["pid"])
        raise OSError("no such interpreter")

    monkeypatch.setattr(upgrading, "become", fail)
    with pytest.raises(UpgradeRefused, match="goes on with the old"):
        await stage.supervisor.upgrade("127.0.0.1")
    after = await only(stage, Phase.READY)
    assert (after.pid, after.epoch, after.restarts) == (before.pid, before.epoch, 0)
    assert after.pid is not None
    psutil.Process(after.pid).kill()
    while (again := await only(stage, Phase.READY)).restarts == 0:
        await asyncio.sleep(0.02)
    with pytest.raises(UpgradeRefused, match="goes on with the old"):  # and may be asked again
        await stage.supervisor.upgrade("127.0.0.1")
    assert (await only(stage, Phase.READY)).pid == again.pid
    assert given == [before.pid, again.pid]


async def test_code_that_does_not_see_the_devices_is_refused(stage: Stage, reranker_onnx: Path) -> None:
    pinned = request(reranker_onnx).model_copy(update={"gpu_idx": 1, "worker_ip": await stage.worker_address()})
    assert await stage.supervisor.wait_ready(await stage.supervisor.launch(pinned), 60)
    before = await only(stage, Phase.READY)
    stage.upgrade.payload["settings"]["simulate_gpus"]["count"] = 1
    with pytest.raises(UpgradeRefused, match=r"goes on: The new code does not see device .* on which ce-0 runs"):
        await stage.supervisor.upgrade("127.0.0.1")
    assert await only(stage, Phase.READY) == before


async def test_of_two_that_ask_at_once_one_is_told_so(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(spec: ProcessSpec) -> None:
        raise OSError("no such interpreter")

    monkeypatch.setattr(upgrading, "become", fail)
    asked = stage.supervisor.upgrade("127.0.0.1"), stage.worker.upgrade()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, Unavailable) for answer in answers) == 1
    await asyncio.sleep(2 * upgrading.ANSWER)
    await stage.worker.joined()


async def test_a_process_that_is_to_end_takes_up_nothing(stage: Stage, reranker_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(uid, 60)
    before = await only(stage, Phase.READY)
    became: list[ProcessSpec] = []
    monkeypatch.setattr(upgrading, "become", became.append)
    hold, begun = WorkerActor.hold, asyncio.Event()

    async def noticed(self: WorkerActor) -> HeldWorker:
        begun.set()
        return await hold(self)

    monkeypatch.setattr(WorkerActor, "hold", noticed)
    await stage.worker.upgrade()
    await begun.wait()
    await stage.upgrade.end()
    assert not became
    assert (await only(stage, Phase.READY)).pid == before.pid  # looked after again, so that it can be ended in order
    with pytest.raises(Unavailable, match="is stopping"):
        await stage.worker.upgrade()
