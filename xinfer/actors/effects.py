"""Carries out what a step asked for: calls to workers, in order per worker, each with a deadline. One of the three borders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from xinfer.actors.refs import WorkerRef
from xinfer.cluster.ids import WorkerId
from xinfer.cluster.replica import Assignment
from xinfer.control.effects import Effect, StartReplica, StopReplica
from xinfer.control.events import Event, ReplicaRefused
from xinfer.errors import DeadlineExceeded, SlotTaken, WorkerNotFound, XinferError

log = structlog.get_logger(__name__)


class EffectRunner:
    """One queue and one task per worker, so that a hung worker delays only itself."""

    def __init__(
        self,
        worker: Callable[[WorkerId], WorkerRef | None],
        tell: Callable[[Event], None],
        prepared: Callable[[Assignment], Assignment] = lambda assignment: assignment,
    ) -> None:
        self._worker = worker
        self._tell = tell
        self._prepared = prepared
        self._queues: dict[WorkerId, asyncio.Queue[Effect]] = {}
        self._tasks: dict[WorkerId, asyncio.Task[None]] = {}

    def submit(self, effects: Iterable[Effect]) -> None:
        """Queue effects; returns at once."""
        for effect in effects:
            queue = self._queues.get(effect.worker_id)
            if queue is None:
                queue = self._queues[effect.worker_id] = asyncio.Queue()
                self._tasks[effect.worker_id] = asyncio.get_running_loop().create_task(self._run(queue), name=f"effects {effect.worker_id}")
            queue.put_nowait(effect)

    def close(self) -> None:
        """Drop what has not been sent."""
        for task in self._tasks.values():
            task.cancel()

    async def _run(self, queue: asyncio.Queue[Effect]) -> None:
        while True:
            effect = await queue.get()
            try:
                await self._carry_out(effect)
            except Exception:
                log.exception("effect failed", effect=type(effect).__name__, worker=effect.worker_id)

    async def _carry_out(self, effect: Effect) -> None:
        """A lost or timed-out call needs no repair here: heartbeats say what really runs, and the core asks again."""
        worker = self._worker(effect.worker_id)
        try:
            if worker is None:
                raise WorkerNotFound(f"Worker {effect.worker_id} is not registered.")
            match effect:
                case StartReplica(assignment=assignment):
                    await worker.start(self._prepared(assignment))
                case StopReplica(replica_id=replica_id, epoch=epoch, drain_seconds=drain):
                    await worker.stop(replica_id, epoch, drain)
        except (SlotTaken, WorkerNotFound) as error:
            if isinstance(effect, StartReplica):
                replica = effect.assignment.replica
                self._tell(ReplicaRefused(replica.id, replica.epoch, error.message))
        except DeadlineExceeded as error:
            log.warning("worker did not answer", worker=effect.worker_id, reason=error.message)
        except XinferError as error:
            log.error("worker refused", worker=effect.worker_id, code=error.code, reason=error.message)
