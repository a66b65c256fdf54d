"""A call to each worker that stays open: it ends the moment the worker's process does, long before heartbeats are missed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from xinfer.actors.refs import WorkerRef
from xinfer.cluster.ids import Address, Epoch, WorkerId
from xinfer.cluster.worker import Worker
from xinfer.errors import DeadlineExceeded, WorkerNotFound, XinferError


class Links:
    """Owned by the supervisor. Of a host that vanishes nothing is heard; heartbeats find that out.

    Args:
        ref: a reference to the worker at an address.
        hung_up: told once, of the registration whose link broke.
    """

    def __init__(self, ref: Callable[[Address], WorkerRef], hung_up: Callable[[WorkerId, Epoch], None]) -> None:
        self._ref, self._hung_up = ref, hung_up
        self._held: dict[WorkerId, asyncio.Task[None]] = {}

    def hold(self, worker: Worker) -> None:
        """From now on, for this registration; the one before it is of no interest any more."""
        self._let_go(worker.id)
        task = asyncio.create_task(self._watch(worker), name=f"link-{worker.id}")
        self._held[worker.id] = task
        task.add_done_callback(lambda done: self._held.pop(worker.id) if self._held.get(worker.id) is done else None)

    def close(self) -> None:
        """Let go of all."""
        for worker_id in list(self._held):
            self._let_go(worker_id)

    def _let_go(self, worker_id: WorkerId) -> None:
        held = self._held.pop(worker_id, None)
        if held is not None:
            held.cancel()

    async def _watch(self, worker: Worker) -> None:
        while True:
            try:
                await self._ref(worker.address).stay()
            except WorkerNotFound:
                self._hung_up(worker.id, worker.epoch)
                return
            except DeadlineExceeded:
                continue  # a worker that is stopped answers late; heartbeats judge it
            except XinferError:
                return
