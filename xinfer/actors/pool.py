"""Opening the one actor pool of a process."""

from __future__ import annotations

from typing import Any

import xoscar as xo

from xinfer.cluster.ids import Address
from xinfer.processes.ports import pick_port

_TRIES = 20


def join_address(host: str, port: int) -> Address:
    """``ip:port``; xoscar takes IPv6 without brackets."""
    return Address(f"{host}:{port}")


async def open_pool(host: str, port_range: tuple[int, int] | None, port: int = 0) -> tuple[Any, Address]:
    """A main pool with no sub-pools on ``port``, or on a free port of the range.

    Another process may take a port between the look and the bind, so a free one is tried again.

    Raises:
        OSError: the given port is taken, or no port of the range is free.
    """
    for attempt in range(_TRIES):
        address = join_address(host, port or pick_port(host, port_range))
        try:
            pool = await xo.create_actor_pool(address, n_process=0)
        except OSError:
            if port or attempt == _TRIES - 1:
                raise
            continue
        return pool, address
    raise AssertionError("unreachable")
