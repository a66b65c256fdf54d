"""The event loop that every process of ours runs in, and the signals that end it."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from xinfer.processes.logs import configure_logging

logger = logging.getLogger(__name__)

DESCRIPTORS = 65_536
"""Open files and connections that a process of ours may have, if the system lets it. The usual 1,024 are filled by idle clients alone."""
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
    _allow_descriptors()

    async def guarded() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, stop.set)
        loop.set_exception_handler(_unheard)
        return await main(stop) or 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(guarded())


def settle() -> None:
    """Call when a process has all it will keep: the garbage collector no longer walks what modules and models are made of.

    A full collection of an API process took 70 ms and of a replica with torch more, with every request waiting, each few thousand requests.
    """
    gc.collect()
    gc.freeze()


def _allow_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _unheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody awaited. Of a lost link each caller has its own failure already; the transport's further ones say nothing new.

    Neither does a client that does not speak TLS where we do.
    """
    error = context.get("exception")
    if isinstance(error, ConnectionError | EOFError | ssl.SSLError) or type(error).__module__.startswith("xoscar."):
        logger.debug("link lost: %s", error)
    else:
        loop.default_exception_handler(context)
