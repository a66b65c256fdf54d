"""A supervisor and a worker as real actors in real pools of the test's process; replicas are real processes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import xoscar as xo

from xinfer import settings as config
from xinfer.actors.messages import SUPERVISOR_UID, WORKER_UID
from xinfer.actors.pool import open_pool
from xinfer.actors.refs import SupervisorRef
from xinfer.actors.supervisor import SupervisorActor
from xinfer.actors.survey import Survey
from xinfer.actors.upgrading import Upgrade
from xinfer.actors.worker import WorkerActor
from xinfer.catalog.families import load_builtin
from xinfer.cluster.device import Device
from xinfer.cluster.ids import DeviceUuid, Epoch, WorkerId
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker
from xinfer.control.restore import restore
from xinfer.devices.base import Inventory, Usage
from xinfer.devices.inventory import open_inventory
from xinfer.engines import registry
from xinfer.settings import Home, SimulatedGpus, Timings, WorkerSettings
from xinfer.store.store import Store

TOKEN = "a token for tests of actors, long enough"
QUICK = Timings(heartbeat=0.2, suspect=2.0, lost=5.0, settle=0.5, health_every=0.5, health_deadline=3.0, stop=5.0)


class Misled:
    """An inventory that gives replicas other variables than it should."""

    def __init__(self, inner: Inventory, change: Mapping[str, str]) -> None:
        self.inner = inner
        self.change = dict(change)
        self.held: dict[DeviceUuid, int] = {}

    @property
    def devices(self) -> tuple[Device, ...]:
        return self.inner.devices

    def usage(self) -> Mapping[DeviceUuid, Usage]:
        return self.inner.usage()

    def environment(self, uuids: Sequence[DeviceUuid]) -> Mapping[str, str]:
        return {**self.inner.environment(uuids), **self.change}

    def process_memory(self, pid: int) -> Mapping[DeviceUuid, int]:
        return self.held or self.inner.process_memory(pid)

    def close(self) -> None:
        self.inner.close()


@dataclass
class Stage:
    """What a test of actors has in its hands."""

    supervisor: SupervisorRef
    inventory: Misled
    worker: Any
    upgrade: Upgrade
    make_worker: Callable[[], Awaitable[Any]]

    async def renew_worker(self) -> None:
        """Another WorkerActor in the place of this one, which has let go of everything."""
        self.worker = await self.make_worker()
        self.upgrade.actors = [self.worker]

    async def worker_address(self) -> str:
        (worker,) = (await self.snapshot()).workers.values()
        return worker.address

    async def snapshot(self) -> Snapshot:
        return await self.supervisor.snapshot()


Stager = Callable[[], AsyncIterator[Stage]]


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """One supervisor, one worker of two simulated GPUs, joined."""
    monkeypatch.setenv("XOSCAR_AUTH_KEY", TOKEN)
    home = Home(tmp_path / "home", tmp_path / "models")
    store = Store.open(home.store)
    snapshot = restore((), (), store.next_epoch(), time.time(), QUICK)
    control_pool, control_address = await open_pool("127.0.0.1", None)
    actor = await xo.create_actor(
        SupervisorActor, store, snapshot, load_builtin(), Survey(), QUICK, address=control_address, uid=SUPERVISOR_UID
    )
    await actor.begin()

    settings = WorkerSettings(home=home, control_address=control_address, simulate_gpus=SimulatedGpus(2, 8 << 30), timings=QUICK)
    worker_id = WorkerId("worker-under-test")
    inventory = Misled(open_inventory(settings, worker_id, {}), {})
    upgrade = Upgrade({"settings": config.dump(settings)}, settings)
    pools: list[Any] = []

    async def make_worker() -> Any:
        """In a pool of its own: within one process a reference is the very actor that it was made for."""
        pool, address = await open_pool("127.0.0.1", None)
        pools.append(pool)
        me = Worker(worker_id, address, Epoch(0), inventory.devices, registry.available())
        return await xo.create_actor(WorkerActor, me, settings, inventory, TOKEN, -1, upgrade.begin, address=address, uid=WORKER_UID)

    stage = Stage(SupervisorRef(control_address), inventory, await make_worker(), upgrade, make_worker)
    upgrade.actors = [stage.worker]
    await stage.worker.begin()
    await stage.worker.joined()
    yield stage
    await stage.worker.close()
    await actor.close()
    for pool in pools:
        await pool.stop()
    await control_pool.stop()
