"""Opening the one actor pool of a process."""

from __future__ import annotations

from typing import Any

import xoscar as xo

from xinfer.actors import gate as _gate  # noqa: F401  (its server takes xoscar's place)
from xinfer.cluster.ids import Address
from xinfer.processes.ports import explain, pick_port

_TRIES = 20


def join_address(host: str, port: int) -> Address:
    """``ip:port``; xoscar takes IPv6 without brackets."""
    return Address(f"{host}:{port}")


async def open_pool(host: str, port_range: tuple[int, int] | None, port: int = 0, flag: str = "--port") -> tuple[Any, Address]:
    """A main pool with no sub-pools on ``port``, which ``flag`` gave, or on a free port of the range.

    Another process may take a port between the look and the bind, so a free one is tried again.

    Raises:
        ConfigError: the given port is taken, no port of the range is free, or the host is none of this machine's.
    """
    for attempt in range(_TRIES):
        address = join_address(host, port or pick_port(host, port_range))
        try:
            pool = await xo.create_actor_pool(address, n_process=0)
        except OSError as error:
            if port or attempt == _TRIES - 1:
                raise explain(error, host, port, flag) from error
            continue
        return pool, address
    raise AssertionError("unreachable")
