"""Entry of the worker process; with ``simulate_workers`` it holds that many WorkerActors, each with a pool of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import structlog
import xoscar as xo

import xinfer
from xinfer import settings as config
from xinfer.actors.enrolment import Identity, claim
from xinfer.actors.handover import HELD, HeldWorker
from xinfer.actors.messages import WORKER_UID
from xinfer.actors.pool import open_pool
from xinfer.actors.upgrading import Upgrade
from xinfer.actors.worker import WorkerActor
from xinfer.cluster.ids import Address, Epoch
from xinfer.cluster.worker import Worker
from xinfer.devices.inventory import open_inventory
from xinfer.engines import registry
from xinfer.errors import ConfigError
from xinfer.processes import runtime
from xinfer.settings import WorkerSettings

log = structlog.get_logger(__name__)


def main(payload: dict[str, Any], announce: Callable[[dict[str, Any]], None]) -> int:
    """Serve until told to stop; with ``payload["held"]``, go on with the replicas of the image before this one."""
    settings = config.load(WorkerSettings, payload["settings"])
    held = HELD.validate_python(payload.get("held", ()))
    token = os.environ["XOSCAR_AUTH_KEY"]
    upgrade = Upgrade(payload, settings)

    async def serve(stop: asyncio.Event) -> None:
        opened = [await _open(settings, token, n, held[n] if held else None, upgrade) for n in range(settings.simulate_workers)]
        upgrade.actors = [actor for _, actor, _ in opened]
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, upgrade.request)
        for _, actor, _ in opened:
            await actor.begin()
        announce(
            {
                "address": str(opened[0][2].address),
                "worker_id": str(opened[0][2].id),
                "devices": [f"{d.index}: {d.name}" for d in opened[0][2].devices],
                "workers": len(opened),
            }
        )
        await stop.wait()
        await upgrade.end()
        await asyncio.gather(*(actor.close() for _, actor, _ in opened))
        for pool, _, _ in opened:
            await pool.stop()

    return runtime.run(serve, settings.log_level)


def rehearse(payload: dict[str, Any], announce: Callable[[dict[str, Any]], None]) -> int:
    """What the image before this one tries in a process of its own: this code starts, and can go on with what it would be handed.

    Raises:
        ConfigError: it does not see the devices of a replica.
    """
    settings = config.load(WorkerSettings, payload["settings"])
    for worker in HELD.validate_python(payload["held"]):
        inventory = open_inventory(settings, worker.worker_id, os.environ)
        seen = {device.uuid for device in inventory.devices}
        inventory.close()
        for held in worker.replicas:
            unseen = [device.uuid for device in held.devices if device.uuid not in seen]
            if unseen:
                raise ConfigError(f"The new code does not see device {unseen[0]}, on which {held.replica.id} runs.")
    registry.available()
    announce({"version": xinfer.__version__})
    return 0


async def _open(settings: WorkerSettings, token: str, n: int, held: HeldWorker | None, upgrade: Upgrade) -> tuple[Any, Any, Worker]:
    fixed = settings.port + n if settings.port else 0
    identity = Identity(held.worker_id, held.lock) if held else claim(settings.home, f"port-{fixed}" if fixed else "")
    inventory = open_inventory(settings, identity.worker_id, os.environ)
    pool, address = await _listen(settings, fixed, held)
    me = Worker(
        id=identity.worker_id,
        address=address,
        epoch=Epoch(0),
        devices=inventory.devices,
        engines=registry.available(),
        host=socket.gethostname(),
        version=xinfer.__version__,
        started_at=time.time(),
        pid=os.getpid(),
    )
    actor = await xo.create_actor(
        WorkerActor, me, settings, inventory, token, identity.lock, upgrade.begin, address=address, uid=WORKER_UID
    )
    if held is not None:
        await actor.take_back(held)
    return pool, actor, me


async def _listen(settings: WorkerSettings, fixed: int, held: HeldWorker | None) -> tuple[Any, Address]:
    """Where it was asked to, or where the image before this one did."""
    if held is not None:
        try:
            return await open_pool(settings.host, None, int(held.address.rpartition(":")[2]), "--worker-port")
        except ConfigError as error:
            # The replicas are worth more than an address; who pinned to it pinned to the worker's id.
            log.warning("the address before the upgrade was taken meanwhile", reason=error.message)
    return await open_pool(settings.host, settings.port_range, fixed, "--worker-port")
