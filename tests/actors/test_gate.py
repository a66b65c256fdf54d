"""The gate of an actor port: strangers go, and are named once; those who know the token stay."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog
import xoscar as xo
from xoscar.backends.communication.socket import SocketClient
from xoscar.backends.message import HasActorMessage, new_message_id
from xoscar.core import create_actor_ref

from tests.actors.conftest import TOKEN
from xinfer.actors import gate
from xinfer.actors.pool import open_pool

SAID = "stranger shown out; others from there will not be named"


class Echo(xo.StatelessActor):
    """Says what it is told."""

    async def say(self, text: str) -> str:
        return text


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, int]]:
    """An actor's port."""
    monkeypatch.setenv("XOSCAR_AUTH_KEY", TOKEN)
    monkeypatch.setattr(gate, "_named", set())
    pool, address = await open_pool("127.0.0.1", None)
    await xo.create_actor(Echo, address=address, uid="echo")
    host, _, number = address.rpartition(":")
    yield host, int(number)
    await pool.stop()


@pytest.fixture
def said() -> Any:
    with structlog.testing.capture_logs() as lines:
        yield lambda: [line for line in lines if line["event"] == SAID]


Said = Callable[[], list[dict[str, Any]]]
Port = tuple[str, int]


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other side hangs up."""
    try:
        return await asyncio.wait_for(reader.read(), 10) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("sent", [b"\x02\x60", b""], ids=["half a frame", "nothing"])
async def test_who_sends_no_whole_message_in_time_is_shown_out(
    port: Port, said: Said, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(gate, "FIRST_MESSAGE", 0.2)
    reader, writer = await asyncio.open_connection(*port)
    writer.write(sent)
    assert await ended(reader)
    writer.close()
    (line,) = said()
    assert line["peer"] == "127.0.0.1"
    assert "no whole message within 0.2 s" in line["reason"]


async def test_a_stranger_is_named_once_however_often_it_comes(port: Port, said: Said) -> None:
    for frame in (b"GET / HTTP/1.1\r\n\r\n", struct.pack("<BQH", 1, 4, 0) + b"abcd", b"x" * 40):
        reader, writer = await asyncio.open_connection(*port)
        writer.write(frame)
        assert await ended(reader)
        writer.close()
    assert len(said()) == 1


async def test_strangers_of_more_hosts_than_can_be_remembered_do_not_fill_the_memory(
    port: Port, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "NAMED", 0)
    reader, writer = await asyncio.open_connection(*port)
    writer.write(b"x" * 40)
    assert await ended(reader)
    writer.close()
    assert not said()


async def test_a_look_whether_somebody_listens_is_no_stranger(port: Port, said: Said) -> None:
    reader, writer = await asyncio.open_connection(*port)
    writer.write_eof()
    assert await ended(reader)
    writer.close()
    assert not said()


async def test_one_of_us_may_be_silent_for_as_long_as_it_likes(port: Port, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "FIRST_MESSAGE", 0.2)
    address = f"{port[0]}:{port[1]}"
    link = await SocketClient.connect(address)
    assert await knows(link, address)
    await asyncio.sleep(0.5)  # longer than a stranger would be given
    assert await knows(link, address)
    await link.close()
    assert not said()


async def knows(link: SocketClient, address: str) -> bool:
    """Ask over this very connection whether the actor is there; a reference would find out that it is in this process."""
    await link.send(HasActorMessage(new_message_id(), create_actor_ref(address, b"echo")))
    return bool((await asyncio.wait_for(link.recv(), 10)).result)


async def test_the_accepted_side_notices_a_dead_peer_too(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    links: list[Any] = []
    real = gate._notice_death
    monkeypatch.setattr(gate, "_notice_death", lambda link: (real(link), links.append(link)))
    _, writer = await asyncio.open_connection(*port)
    async with asyncio.timeout(10):
        while not links:
            await asyncio.sleep(0.01)
    (link,) = links
    assert link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    writer.close()
