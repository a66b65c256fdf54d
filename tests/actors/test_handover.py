"""What a worker lets go of it takes back: the same process, whatever it was at, without a new image in between."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from tests.actors.conftest import Stage
from tests.actors.test_hosting import only, request
from xinfer.actors import upgrading
from xinfer.actors.handover import HELD, HeldWorker
from xinfer.actors.refs import ReplicaRef
from xinfer.actors.worker import WorkerActor
from xinfer.cluster.replica import Assignment, Phase, Replica
from xinfer.errors import SlotTaken, Unavailable, UpgradeRefused
from xinfer.processes.spawn import Child, ProcessSpec


async def over(stage: Stage) -> None:
    """Let go, write down, read, take back, join again."""
    await taken_back(stage)
    await stage.worker.begin()


async def taken_back(stage: Stage) -> None:
    """By another worker that has not joined yet."""
    held = await stage.worker.hold()
    (read,) = HELD.validate_json(HELD.dump_json((held,)))
    assert read == held
    await stage.renew_worker()
    await stage.worker.take_back(read)


async def replaced(stage: Stage) -> Replica:
    """The one replica, once another process has taken its place."""
    while (again := await only(stage, Phase.READY)).restarts == 0:
        await asyncio.sleep(0.02)
    return again


def watched() -> list[str]:
    """Processes whose end this one is told of."""
    links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return [path.name for path in links if path.exists() and "pidfd" in os.readlink(path)]


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
    again = await replaced(stage)
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


async def test_what_is_let_go_of_is_watched_by_nobody(stage: Stage, reranker_onnx: Path) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(uid, 60)
    assert len(watched()) == 1
    held = await stage.worker.hold()
    assert watched() == []
    await asyncio.sleep(0)
    assert not {"supervisor link", "logs", "readings"} & {task.get_name() for task in asyncio.all_tasks()}
    await stage.worker.take_back(held)
    await stage.worker.begin()


async def test_one_that_breaks_while_it_is_let_go_of_is_taken_back_as_it_was_known(
    stage: Stage, reranker_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the worker would refuse every order from then on."""
    uid = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(uid, 60)
    before = await only(stage, Phase.READY)

    def broken(child: Child) -> None:
        raise OSError("no more descriptors")

    with monkeypatch.context() as patched:
        patched.setattr(Child, "release", broken)
        await over(stage)
    after = await only(stage, Phase.READY)
    assert (after.pid, after.epoch) == (before.pid, before.epoch)
    assert after.pid is not None
    psutil.Process(after.pid).kill()
    assert (await replaced(stage)).pid != before.pid


async def test_one_that_was_asked_to_stop_drains_and_stops(stage: Stage, reranker_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx))
    assert await stage.supervisor.wait_ready(uid, 60)
    replica = await only(stage, Phase.READY)
    asked: list[float] = []
    draining = asyncio.Event()
    drain = ReplicaRef.drain

    async def long(self: ReplicaRef, timeout: float) -> None:
        asked.append(timeout)
        draining.set()
        await (drain(self, timeout) if len(asked) > 1 else asyncio.Event().wait())

    monkeypatch.setattr(ReplicaRef, "drain", long)
    stopping = asyncio.create_task(stage.supervisor.stop(uid))
    async with asyncio.timeout(20):
        await draining.wait()
        await taken_back(stage)
        while (await stage.worker.sketch()).replicas:  # by itself: nobody has told it again
            await asyncio.sleep(0.02)
        await stage.worker.begin()
        await stopping
    assert asked == [asked[0]] * 2
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
    again = await replaced(stage)
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


async def test_what_is_asked_for_while_a_worker_is_away_waits_for_it(
    stage: Stage, reranker_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, away, go_on = WorkerActor.hold, asyncio.Event(), asyncio.Event()

    async def long(self: WorkerActor) -> HeldWorker:
        held = await hold(self)
        away.set()
        await go_on.wait()
        return held

    def fail(spec: ProcessSpec) -> None:
        raise OSError("no such interpreter")

    monkeypatch.setattr(WorkerActor, "hold", long)
    monkeypatch.setattr(upgrading, "become", fail)
    upgrade = asyncio.create_task(stage.supervisor.upgrade("127.0.0.1"))
    await away.wait()
    launch = asyncio.create_task(stage.supervisor.launch(request(reranker_onnx)))
    assert not (await asyncio.wait({launch}, timeout=0.5))[0]
    go_on.set()
    with pytest.raises(UpgradeRefused):
        await upgrade
    assert await stage.supervisor.wait_ready(await launch, 60)


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
    again = await replaced(stage)
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


async def test_one_that_is_to_end_before_it_let_go_keeps_its_replicas_until_then(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    holds: list[WorkerActor] = []
    hold = WorkerActor.hold

    async def noted(self: WorkerActor) -> HeldWorker:
        holds.append(self)
        return await hold(self)

    monkeypatch.setattr(WorkerActor, "hold", noted)
    monkeypatch.setattr(upgrading, "become", lambda spec: None)
    await stage.worker.upgrade()
    await stage.upgrade.end()
    assert not holds
