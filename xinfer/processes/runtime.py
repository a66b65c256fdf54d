"""The event loop that every process of ours runs in, and the signals that end it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import uvloop

from xinfer.processes.logs import configure_logging

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(main: Callable[[asyncio.Event], Awaitable[int | None]], log_level: str = "info") -> int:
    """Run ``main(stop)`` to its end in a uvloop loop; SIGTERM and SIGINT set ``stop``.

    uvloop is not a matter of taste: xoscar's large messages hang on asyncio's own loop.

    Returns:
        What ``main`` returned; None is 0.

    Raises:
        ConfigError: no such log level.
    """
    configure_logging(log_level)

    async def guarded() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, stop.set)
        return await main(stop) or 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(guarded())
