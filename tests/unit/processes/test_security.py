"""A real actor pool: strangers run nothing, neighbours do not collide."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from xinfer.processes.child import Child

Start = Callable[..., Child]
KEY = "0123456789abcdef0123456789abcdef"


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.mark),))


def plain_frame(header: bytes) -> bytes:
    """xoscar's unsigned frame: version 1, header length, no compression."""
    return struct.pack("<BQH", 1, len(header), 0) + header


def signed_frame(header: bytes, key: bytes) -> bytes:
    """xoscar's signed frame with one pickled header and no buffers."""
    manifest = struct.pack("<QQ", len(header), 0)
    prefix = struct.pack("<BQH", 2, len(manifest), 0)
    macs = [hmac.new(key, data, hashlib.sha256).digest() for data in (prefix + manifest, prefix + manifest + header)]
    return prefix + b"".join(macs) + manifest + header


async def send(address: str, frame: bytes) -> bytes:
    """What the pool answers before it closes the connection."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(frame)
    await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_the_bomb_works_where_no_token_is_set(start: Start, tmp_path: Path) -> None:
    """Else the next test would prove nothing."""
    pool = start("pool", env={"XOSCAR_AUTH_KEY": None}, stderr=tmp_path / "log")
    address = (await pool.ready(60))["address"]
    await send(address, plain_frame(pickle.dumps(Bomb(tmp_path / "exploded"))))
    assert (tmp_path / "exploded").exists()


@pytest.mark.parametrize("kind", ["unsigned", "wrong key", "noise"])
async def test_without_the_token_nothing_runs_and_the_connection_closes(start: Start, tmp_path: Path, kind: str) -> None:
    pool = start("pool", env={"XOSCAR_AUTH_KEY": KEY}, stderr=tmp_path / "log")
    address = (await pool.ready(60))["address"]
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    frame = {"unsigned": plain_frame(bomb), "wrong key": signed_frame(bomb, KEY[::-1].encode()), "noise": os.urandom(4096)}[kind]
    assert await send(address, frame) == b""
    assert not (tmp_path / "exploded").exists()
    friend = start("ask_pool", {"address": address}, env={"XOSCAR_AUTH_KEY": KEY}, stderr=tmp_path / "friend.log")
    assert await friend.ready(60) == {"echo": "across"}


async def test_the_signed_frame_of_this_test_is_a_real_one(start: Start, tmp_path: Path) -> None:
    """With the right key the same frame does explode: the key is all that the pool refuses."""
    pool = start("pool", env={"XOSCAR_AUTH_KEY": KEY}, stderr=tmp_path / "log")
    address = (await pool.ready(60))["address"]
    await send(address, signed_frame(pickle.dumps(Bomb(tmp_path / "exploded")), KEY.encode()))
    assert (tmp_path / "exploded").exists()


async def test_a_peer_with_another_token_is_refused(start: Start, tmp_path: Path) -> None:
    pool = start("pool", env={"XOSCAR_AUTH_KEY": KEY}, stderr=tmp_path / "log")
    address = (await pool.ready(60))["address"]
    stranger = start("ask_pool", {"address": address}, env={"XOSCAR_AUTH_KEY": KEY[::-1]}, stderr=tmp_path / "stranger.log")
    code = await asyncio.wait_for(stranger.wait(), 60)
    assert code != 0
    assert "across" not in stranger.stderr_tail()


async def test_pools_on_one_host_share_no_folder_and_answer_for_themselves(start: Start, tmp_path: Path) -> None:
    pools = [start("pool", env={"XOSCAR_AUTH_KEY": KEY}, stderr=tmp_path / f"{i}.log") for i in range(3)]
    facts = [await pool.ready(60) for pool in pools]
    assert all(fact["echo"] == "hello" for fact in facts)
    assert len({fact["dir"] for fact in facts}) == len({fact["address"] for fact in facts}) == 3
    assert await pools[0].stop(20) == 0
    assert not Path(facts[0]["dir"]).exists()
    assert Path(facts[1]["dir"]).exists()
    again = start("ask_pool", {"address": facts[1]["address"]}, env={"XOSCAR_AUTH_KEY": KEY}, stderr=tmp_path / "ask.log")
    assert await again.ready(60) == {"echo": "across"}
