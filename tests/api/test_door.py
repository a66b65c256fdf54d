"""Connections to one socket, shared by two API processes; here both stand in one loop."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator

import pytest

from xinfer.api import door
from xinfer.api.door import Connections, Door
from xinfer.processes.counts import Counts, shared_counts

WAIT = 10.0


class Guest(asyncio.Protocol):
    """Says which process took it."""

    def __init__(self, connections: Connections, name: bytes) -> None:
        self._connections = connections
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connections.add(self)
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._name)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as made:
        yield made


@pytest.fixture
def counts() -> Iterator[tuple[Counts, Counts]]:
    fd = shared_counts(2)
    yield Counts(fd, 0), Counts(fd, 1)
    os.close(fd)


def opened(listener: socket.socket, counts: Counts, name: bytes) -> tuple[Door, Connections]:
    connections = Connections(counts)
    made = Door(listener, lambda: Guest(connections, name), connections, counts)
    made.open()
    return made, connections


async def connect(listener: socket.socket) -> tuple[bytes, asyncio.StreamWriter]:
    async with asyncio.timeout(WAIT):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        return await reader.readexactly(1), writer


async def test_connections_go_to_the_process_that_holds_fewer(listener: socket.socket, counts: tuple[Counts, Counts]) -> None:
    (first, here), (second, _) = opened(listener, counts[0], b"a"), opened(listener.dup(), counts[1], b"b")
    taken = [await connect(listener) for _ in range(20)]
    assert sorted(name for name, _ in taken) == [b"a"] * 10 + [b"b"] * 10
    for name, writer in taken:  # all of one leave: the next go there
        if name == b"a":
            writer.close()
    async with asyncio.timeout(WAIT):
        while here:
            await asyncio.sleep(0)
    again = [await connect(listener) for _ in range(10)]
    assert [name for name, _ in again] == [b"a"] * 10
    first.close()
    second.close()


async def test_a_dead_process_is_waited_for_a_moment_only(listener: socket.socket, counts: tuple[Counts, Counts]) -> None:
    """It holds none and takes none."""
    alive, held = opened(listener, counts[0], b"a")
    taken = [await connect(listener) for _ in range(5)]
    assert [name for name, _ in taken] == [b"a"] * 5
    assert (len(held), counts[1].least()) == (5, 0)
    alive.close()


async def test_a_closed_door_takes_none(listener: socket.socket, counts: tuple[Counts, Counts]) -> None:
    closed, held = opened(listener, counts[0], b"a")
    closed.close()
    other, _ = opened(listener.dup(), counts[1], b"b")
    assert [(await connect(listener))[0] for _ in range(3)] == [b"b"] * 3
    assert not held
    other.close()


async def test_without_descriptors_it_tries_again(
    listener: socket.socket, counts: tuple[Counts, Counts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of spinning, or of dying."""
    monkeypatch.setattr(door, "NO_DESCRIPTORS", 0.01)

    class Full:
        def __init__(self) -> None:
            self.refused = 0

        def fileno(self) -> int:
            return listener.fileno()

        def setblocking(self, flag: bool) -> None:
            listener.setblocking(flag)

        def accept(self) -> object:
            if self.refused < 3:
                self.refused += 1
                raise OSError(errno.EMFILE, "Too many open files")
            return listener.accept()

    full = Full()
    made, _ = opened(full, counts[0], b"a")  # type: ignore[arg-type]
    assert (await connect(listener))[0] == b"a"
    assert full.refused == 3
    made.close()
