"""Starts a command's processes in order, keeps them alive, stops them in reverse order."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xinfer.errors import DeadlineExceeded, LaunchFailed
from xinfer.processes import orphans
from xinfer.processes.child import Child
from xinfer.processes.entry import CONFIG_EXIT
from xinfer.processes.runtime import STOP_SIGNALS
from xinfer.processes.spawn import ProcessSpec, spawn

logger = logging.getLogger(__name__)

BACKOFF = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Seconds before the first, second, … restart in a row."""
HEALTHY = 60.0
"""Seconds of life after which earlier crashes are forgotten."""
ORPHANS_EVERY = 5.0
"""Seconds between two looks for processes whose parents died."""
FIRST_TRIES = 3
"""Starts that a role is given before it has ever been ready."""

Announced = Mapping[str, Mapping[str, Any]]
"""By role: what it announced last."""


@dataclass(frozen=True)
class Role:
    """One child.

    Attributes:
        name: its key in ``Announced``.
        make_spec: asked before every start. It sees what all roles announced, this one's previous life included, so that a
            restarted process can be given the same address again.
    """

    name: str
    make_spec: Callable[[Announced], ProcessSpec]


def backoff(crashes: int) -> float:
    """Seconds to wait after ``crashes`` (at least 1) in a row."""
    return BACKOFF[min(crashes, len(BACKOFF)) - 1]


class Launcher:
    """Runs in the main thread's loop.

    Args:
        roles: in starting order; each waits until the one before it is ready.
        on_ready: called with (name, announcement) each time a role becomes ready.
        grace: seconds each role is given to stop.
        ready_timeout: seconds each start is given.
        alone: this process has no children but the roles, so that whatever else comes to be its child is an orphan, and ended.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        on_ready: Callable[[str, Mapping[str, Any]], None] | None = None,
        grace: float = 10.0,
        ready_timeout: float = 60.0,
        alone: bool = False,
    ) -> None:
        self._roles = roles
        self._on_ready = on_ready
        self._grace = grace
        self._ready_timeout = ready_timeout
        self._alone = alone
        self._announced: dict[str, Mapping[str, Any]] = {}
        self._children: dict[str, Child] = {}
        self._stop = asyncio.Event()
        self._abort = asyncio.Event()

    @property
    def children(self) -> Mapping[str, Child]:
        """The latest process of each role started so far."""
        return self._children

    def request_stop(self) -> None:
        """What a signal does: the first call stops in order, the second kills."""
        (self._abort if self._stop.is_set() else self._stop).set()

    async def run(self) -> int:
        """Run until SIGTERM, SIGINT or a role that cannot start.

        Returns:
            0 after a clean stop; 2 if a role refused its configuration, 1 if it failed before it was ever ready; the reason
            is written to stderr then.
        """
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.request_stop)
        sweeping: asyncio.Task[None] | None = None
        if self._alone:
            orphans.adopt()
            loop.add_signal_handler(signal.SIGCHLD, self._end_orphans)
            sweeping = asyncio.create_task(self._sweep(), name="orphans")
        keepers: list[asyncio.Task[None]] = []
        stopping = asyncio.create_task(self._stop.wait())
        try:
            failure = await self._run(keepers, stopping)
        finally:
            stopping.cancel()
            if sweeping is not None:
                sweeping.cancel()
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            await self._stop_all()
            if sweeping is not None:
                self._end_orphans()
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
        if failure is None:
            return 0
        sys.stderr.write(f"Error: {failure.message}\n")
        return CONFIG_EXIT if failure.details.get("exit_code") == CONFIG_EXIT else 1

    async def _run(self, keepers: list[asyncio.Task[None]], stopping: asyncio.Task[bool]) -> LaunchFailed | None:
        """Start all, then wait for a reason to end."""
        for role in self._roles:
            ready = asyncio.Event()
            keepers.append(asyncio.create_task(self._keep(role, ready), name=f"keep {role.name}"))
            waiter = asyncio.create_task(ready.wait())
            await asyncio.wait({*keepers, stopping, waiter}, return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
            if stopping.done() or any(keeper.done() for keeper in keepers):
                break
        done, _ = await asyncio.wait({*keepers, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for keeper in keepers:
            if keeper in done:
                try:
                    keeper.result()
                except LaunchFailed as failure:
                    return failure
        return None

    async def _keep(self, role: Role, ready: asyncio.Event) -> None:
        """One role, life after life.

        Raises:
            LaunchFailed: it never became ready.
        """
        crashes = 0
        while True:
            child = spawn(role.make_spec(self._announced))
            self._children[role.name] = child
            began = time.monotonic()
            try:
                facts = await child.ready(self._ready_timeout)
            except (LaunchFailed, DeadlineExceeded) as error:
                failure = error if isinstance(error, LaunchFailed) else LaunchFailed(error.message, **error.details)
                if not ready.is_set() and (failure.details.get("exit_code") == CONFIG_EXIT or crashes + 1 >= FIRST_TRIES):
                    raise failure from error
                await child.stop(self._grace)
                reason = failure.message
            else:
                self._announced[role.name] = facts
                ready.set()
                if self._on_ready is not None:
                    self._on_ready(role.name, facts)
                code = await child.wait()
                reason = f"{role.name} (pid {child.pid}) ended with exit status {code}"
            crashes = 1 if time.monotonic() - began >= HEALTHY else crashes + 1
            pause = backoff(crashes)
            logger.warning("%s; starting it again in %g s", reason, pause)
            await asyncio.sleep(pause)

    async def _sweep(self) -> None:
        """The end of a role is told by a signal; that of a replica, which is a role's child, is not."""
        while True:
            await asyncio.sleep(ORPHANS_EVERY)
            self._end_orphans()

    def _end_orphans(self) -> None:
        orphans.end({child.pid for child in self._children.values()})

    async def _stop_all(self) -> None:
        aborting = asyncio.create_task(self._abort.wait())
        for role in reversed(self._roles):
            child = self._children.get(role.name)
            if child is None:
                continue
            stopping = asyncio.create_task(child.stop(self._grace))
            await asyncio.wait({stopping, aborting}, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                for other in self._children.values():
                    other.kill()
            await stopping
        aborting.cancel()
