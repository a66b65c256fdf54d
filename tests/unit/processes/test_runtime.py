"""The loop and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

import pytest

from xinfer.errors import ConfigError
from xinfer.processes.logs import configure_logging
from xinfer.processes.runtime import run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_stop_and_the_loop_is_uvloop(number: signal.Signals) -> None:
    async def main(stop: asyncio.Event) -> int:
        assert type(asyncio.get_running_loop()).__module__ == "uvloop"
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 5)
        return 5

    assert run(main) == 5


def test_none_is_zero_and_errors_come_through() -> None:
    async def fine(stop: asyncio.Event) -> None:
        return None

    async def wrong(stop: asyncio.Event) -> None:
        raise ConfigError("Wrong.")

    assert run(fine) == 0
    with pytest.raises(ConfigError, match="Wrong"):
        run(wrong)


def test_log_levels() -> None:
    before = logging.getLogger().level
    try:
        configure_logging("warning")
        assert logging.getLogger().level == logging.WARNING
        with pytest.raises(ConfigError, match="--log-level must be"):
            configure_logging("loud")
    finally:
        logging.getLogger().setLevel(before)
