"""What a server process refuses when it starts: one sentence that names the flag or variable."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from xinfer.actors.control_main import begin_with
from xinfer.actors.enrolment import claim
from xinfer.actors.pool import open_pool
from xinfer.errors import ConfigError
from xinfer.settings import Home, ServerSettings


async def test_a_port_that_is_taken_is_told_by_the_flag_that_gave_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--worker-port {port} on 127\.0\.0\.1 is in use"):
            await open_pool("127.0.0.1", None, port, "--worker-port")


async def test_a_range_without_a_free_port_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="--port-range"):
            await open_pool("127.0.0.1", (port, port))


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("not a folder")
    with pytest.raises(ConfigError, match="XINFER_HOME must be writable"):
        claim(Home(tmp_path, tmp_path / "models"))


def test_workers_that_share_a_home_get_ids_of_their_own_and_keep_them(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / "models")
    first, second = claim(home), claim(home)
    assert first.worker_id != second.worker_id
    os.close(first.lock)
    assert claim(home).worker_id == first.worker_id
    with pytest.raises(ConfigError, match="--worker-port"):
        held = claim(home, "port-1")
        claim(home, "port-1")
    os.close(held.lock)


@pytest.mark.parametrize("content", [b"garbage" * 100, b"SQLite format 3\x00" + b"\xff" * 84])
def test_a_state_file_that_cannot_be_used_ends_the_start_at_once(tmp_path: Path, content: bytes) -> None:
    home = Home(tmp_path, tmp_path / "models")
    home.store.write_bytes(content)
    with pytest.raises(ConfigError, match=r"The state file .* (move it away|newer)"):
        begin_with(ServerSettings(home))
    assert home.store.read_bytes() == content
