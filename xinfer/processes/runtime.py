"""The event loop that every process of ours runs in, and the signals that end it."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable

import uvloop

from xinfer.errors import ConfigError

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


def configure_logging(level: str) -> None:
    """Log lines of ``level`` and above to stderr, unless logging has been set up already.

    Raises:
        ConfigError: no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ConfigError(f"--log-level must be debug, info, warning or error, not {level!r}.", param="--log-level")
    logging.basicConfig(level=number, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger().setLevel(number)
