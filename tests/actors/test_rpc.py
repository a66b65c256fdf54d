"""The one helper that every call between actors goes through, against real peers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from tests.support.cluster import free_port
from xinfer.actors import rpc
from xinfer.cluster.ids import Address
from xinfer.errors import DeadlineExceeded, NoFit

PEER = """
import asyncio, sys
sys.modules.setdefault("torch", None)
import xoscar as xo
from xinfer.errors import NoFit
class Peer(xo.StatelessActor):
    async def echo(self, x): return x
    async def hang(self): await asyncio.sleep(3600)
    async def refuse(self): raise NoFit("No room.", param="gpu_idx", refusals=[{"slot": "a@0"}])
    async def boom(self): raise ValueError("not ours")
async def main():
    pool = await xo.create_actor_pool(sys.argv[1], n_process=0)
    await xo.create_actor(Peer, address=sys.argv[1], uid="peer")
    print("up", flush=True)
    await asyncio.sleep(3600)
asyncio.run(main())
"""


@pytest.fixture
async def peer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Address, subprocess.Popen[bytes]]]:
    monkeypatch.setenv("XOSCAR_AUTH_KEY", "k" * 32)
    address = Address(f"127.0.0.1:{free_port()}")
    process = subprocess.Popen([sys.executable, "-c", PEER, address], stdout=subprocess.PIPE, env=dict(os.environ))
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == b"up\n"
    yield address, process
    process.kill()
    process.wait()


async def test_errors_come_back_as_they_were_raised(peer: tuple[Address, subprocess.Popen[bytes]]) -> None:
    actor = await rpc.actor(peer[0], "peer", 5, "Peer")
    assert await rpc.call(actor.echo(7), 5, "Peer") == 7
    with pytest.raises(NoFit) as refused:
        await rpc.call(actor.refuse(), 5, "Peer")
    assert type(refused.value) is NoFit
    assert (str(refused.value), refused.value.param, refused.value.details) == ("No room.", "gpu_idx", {"refusals": [{"slot": "a@0"}]})
    with pytest.raises(ValueError, match="not ours"):
        await rpc.call(actor.boom(), 5, "Peer")


async def test_a_hung_call_meets_its_deadline_and_its_neighbours_live(peer: tuple[Address, subprocess.Popen[bytes]]) -> None:
    actor = await rpc.actor(peer[0], "peer", 5, "Peer")
    hung = asyncio.create_task(rpc.call(actor.hang(), 0.3, "Peer"))
    with pytest.raises(DeadlineExceeded):
        await hung
    assert await rpc.call(actor.echo("still there"), 5, "Peer") == "still there"


async def test_a_stopped_peer_meets_the_deadline_too(peer: tuple[Address, subprocess.Popen[bytes]]) -> None:
    address, process = peer
    actor = await rpc.actor(address, "peer", 5, "Peer")
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        await rpc.call(actor.echo(1), 0.5, "Peer")
    with pytest.raises(rpc.PeerLost):  # nothing has run there: not a deadline of any work
        await rpc.actor(address, "peer", 0.5, "Peer")
    process.send_signal(signal.SIGCONT)
    assert await rpc.call(actor.echo(2), 5, "Peer") == 2


async def test_a_killed_peer_is_lost_at_once(peer: tuple[Address, subprocess.Popen[bytes]]) -> None:
    address, process = peer
    actor = await rpc.actor(address, "peer", 5, "Peer")
    hanging = asyncio.create_task(rpc.call(actor.hang(), 30, "Peer"))
    await rpc.call(actor.echo(1), 5, "Peer")
    process.kill()
    async with asyncio.timeout(5):
        with pytest.raises(rpc.PeerLost):
            await hanging
        with pytest.raises(rpc.PeerLost):
            await rpc.call(actor.echo(1), 5, "Peer")
        with pytest.raises(rpc.PeerLost):
            await rpc.actor(address, "peer", 2, "Peer")


async def test_an_actor_that_is_not_there_is_lost(peer: tuple[Address, subprocess.Popen[bytes]]) -> None:
    with pytest.raises(rpc.PeerLost):
        await rpc.actor(peer[0], "nobody", 5, "Nobody")
