"""A worker process takes up new code without ending its replicas: it rehearses, lets go of them, and becomes the new image.

The pid stays, so the launcher sees no death, the replicas keep their parent with their parent-death signal, and the new image
can wait for them. Replicas serve all the while: requests do not pass through the worker.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import Any

import structlog

from xinfer.actors.handover import HELD, HeldWorker
from xinfer.errors import DeadlineExceeded, LaunchFailed, Unavailable, UpgradeRefused, XinferError
from xinfer.processes.child import Child
from xinfer.processes.spawn import ProcessSpec, become, spawn
from xinfer.settings import WorkerSettings

log = structlog.get_logger(__name__)

TARGET = "xinfer.actors.worker_main:main"
REHEARSAL = "xinfer.actors.worker_main:rehearse"
ANSWER = 0.2
"""Seconds that the answer to who asked for the upgrade has to get out."""


@dataclass
class Upgrade:
    """Of this process, with all the workers in it.

    Attributes:
        payload: what this image was started with.
        actors: references to its WorkerActors.
    """

    payload: dict[str, Any]
    settings: WorkerSettings
    actors: list[Any] = field(default_factory=list)
    _under_way: bool = False
    _ended: bool = False
    _asking: asyncio.Task[str] | None = None
    _task: asyncio.Task[None] | None = None

    async def begin(self) -> str:
        """Try the code on disk in a process of its own; if it starts, take it up a moment later. Its version.

        Raises:
            UpgradeRefused: it does not start, or cannot go on from here; nothing has changed.
            Unavailable: an upgrade is under way, or the process is to end.
        """
        if self._ended:
            raise Unavailable("This worker is stopping.")
        if self._under_way:
            raise Unavailable("This worker is being upgraded already: ask again when it is back.", retry_after=5.0)
        self._under_way = True
        try:
            version = await self._rehearse()
        except BaseException:
            self._under_way = False
            raise
        self._task = asyncio.get_running_loop().create_task(self._take_up(), name="upgrade")
        self._task.add_done_callback(_told)
        return version

    def request(self) -> None:
        """What SIGHUP does."""
        self._asking = asyncio.get_running_loop().create_task(self.begin(), name="upgrade asked for by a signal")
        self._asking.add_done_callback(_told)

    async def end(self) -> None:
        """This process is to end: no new image of it begins any more, which would know nothing of that."""
        self._ended = True
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _rehearse(self) -> str:
        held = tuple([await actor.sketch() for actor in self.actors])
        stderr = self.settings.home.logs / str(held[0].worker_id) / "upgrade.stderr"
        child: Child | None = None
        try:
            child = spawn(self._spec(REHEARSAL, held, "rehearsal of the upgrade", stderr=stderr))
            facts = await child.ready(self.settings.timings.spawn)
        except (LaunchFailed, DeadlineExceeded, OSError) as error:
            reason = error.message if isinstance(error, XinferError) else f"its process could not be started: {error}."
            raise UpgradeRefused(f"The worker was not upgraded and goes on: {reason}") from error
        finally:
            if child is not None:
                await child.stop(0.0)
        return str(facts["version"])

    async def _take_up(self) -> None:
        await asyncio.sleep(ANSWER)
        if self._ended:
            return
        held = tuple([await actor.hold() for actor in self.actors])
        log.info("upgrading", replicas=sum(len(worker.replicas) for worker in held))
        # A second SIGHUP must not end the new image before it listens to signals; being ignored is inherited, a handler is not.
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            if not self._ended:
                become(self._spec(TARGET, held, "worker", pass_fds=tuple(worker.lock for worker in held)))
        except OSError as error:
            log.error("the upgrade failed, going on with the old code", reason=str(error))
        finally:  # still here
            await self._go_on(held)

    async def _go_on(self, held: tuple[HeldWorker, ...]) -> None:
        for actor, worker in zip(self.actors, held, strict=True):
            await actor.take_back(worker)
            await actor.begin()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.request)
        self._under_way = False

    def _spec(self, target: str, held: tuple[HeldWorker, ...], name: str, **more: Any) -> ProcessSpec:
        return ProcessSpec(target, {**self.payload, "held": HELD.dump_python(held, mode="json")}, name, **more)


def _told(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if isinstance(error, XinferError):
        log.error("upgrade refused", reason=error.message)
    elif error is not None:
        log.error("upgrade broke off", exc_info=error)
