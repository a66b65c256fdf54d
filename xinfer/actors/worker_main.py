"""Entry of the worker process; with ``simulate_workers`` it holds that many WorkerActors, each with a pool of its own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import xoscar as xo

from xinfer import settings as config
from xinfer.actors.enrolment import claim
from xinfer.actors.messages import WORKER_UID
from xinfer.actors.pool import open_pool
from xinfer.actors.worker import WorkerActor
from xinfer.cluster.ids import Epoch
from xinfer.cluster.worker import Worker
from xinfer.devices.inventory import open_inventory
from xinfer.engines import registry
from xinfer.processes import runtime
from xinfer.settings import WorkerSettings


def main(payload: dict[str, Any], announce: Callable[[dict[str, Any]], None]) -> int:
    """Serve until told to stop."""
    settings = config.load(WorkerSettings, payload["settings"])
    token = os.environ["XOSCAR_AUTH_KEY"]

    async def serve(stop: asyncio.Event) -> None:
        opened = [await _open(settings, token, n) for n in range(settings.simulate_workers)]
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
        await asyncio.gather(*(actor.close() for _, actor, _ in opened))
        for pool, _, _ in opened:
            await pool.stop()

    return runtime.run(serve, settings.log_level)


async def _open(settings: WorkerSettings, token: str, n: int) -> tuple[Any, Any, Worker]:
    fixed = settings.port + n if settings.port else 0
    identity = claim(settings.home, f"port-{fixed}" if fixed else "")
    inventory = open_inventory(settings, identity.worker_id, os.environ)
    pool, address = await open_pool(settings.host, settings.port_range, fixed, "--worker-port")
    me = Worker(
        id=identity.worker_id,
        address=address,
        epoch=Epoch(0),
        devices=inventory.devices,
        engines=registry.available(),
        host=socket.gethostname(),
    )
    actor = await xo.create_actor(WorkerActor, me, settings, inventory, token, address=address, uid=WORKER_UID)
    return pool, actor, me
