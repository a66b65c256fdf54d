"""The loop and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal

import pytest
import structlog
from xoscar.errors import ServerClosed

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


def test_a_process_may_have_more_connections_than_a_shell_gives() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main(stop: asyncio.Event) -> int:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert run(main) == min(before[1], 65_536)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


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


@pytest.mark.parametrize("as_json", ["0", "1"])
def test_tracebacks_show_no_variables(as_json: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XINFER_LOG_JSON", as_json)
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def fail(token: str) -> None:
        raise ValueError("three wheels")

    try:
        configure_logging("info")
        try:
            fail("a-" + "secret")
        except ValueError:
            structlog.get_logger("tests").exception("it failed")
            logging.getLogger("tests").exception("it failed")
    finally:
        root.handlers[:], root.level = before
    shown = capsys.readouterr().err
    assert shown.count("three wheels") >= 2
    assert "a-secret" not in shown


def test_a_lost_link_that_nobody_awaits_is_no_news_but_other_errors_are(capsys: pytest.CaptureFixture[str]) -> None:
    async def main(stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        for error in (ServerClosed("Remote server closed"), ConnectionResetError("reset"), ValueError("three wheels")):
            loop.call_exception_handler({"message": "Future exception was never retrieved", "exception": error})

    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        assert run(main) == 0
    finally:
        root.handlers[:], root.level = before
    shown = capsys.readouterr().err
    assert "three wheels" in shown
    assert "closed" not in shown
    assert "reset" not in shown
