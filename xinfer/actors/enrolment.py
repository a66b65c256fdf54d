"""Who a worker is and whom it serves: its stable id, and the supervisor's actor address."""

from __future__ import annotations

import fcntl
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import httpx

from xinfer.cluster.ids import Address, WorkerId
from xinfer.errors import ConfigError, SupervisorUnreachable
from xinfer.processes.tls import trusting
from xinfer.settings import Home, WorkerSettings

_MOST_WORKERS = 4096


@dataclass(frozen=True, slots=True)
class Identity:
    """A worker id and the lock that keeps it ours; the lock goes with the process."""

    worker_id: WorkerId
    lock: int


def claim(home: Home, name: str = "") -> Identity:
    """Take the worker id called ``name``, or the first that no living process holds.

    Workers that share a home (several on one machine) get ids of their own, in order, so that pins survive a restart.

    Raises:
        ConfigError: the name is held by a living worker, or the home cannot be written.
    """
    folder = home.root / "workers"
    names = (name,) if name else (str(i) for i in range(_MOST_WORKERS))
    for each in names:
        try:
            identity = _claim(folder / each)
        except OSError as error:
            raise ConfigError(f"XINFER_HOME must be writable; {folder / each} is not: {error.strerror}.", param="XINFER_HOME") from error
        if identity is not None:
            return identity
    raise ConfigError(f"Another worker with the same --worker-port runs with home {home.root}: choose another port or another --home.")


def _claim(place: Path) -> Identity | None:
    """The identity kept in ``place``, or None if a living process holds it."""
    place.mkdir(parents=True, exist_ok=True)
    lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return Identity(_read_or_make(place / "id"), lock)


def _read_or_make(path: Path) -> WorkerId:
    try:
        known = path.read_text().strip()
    except FileNotFoundError:
        known = ""
    if known:
        return WorkerId(known)
    made = WorkerId(uuid.uuid4().hex[:12])
    fresh = path.with_suffix(".new")
    fresh.write_text(made + "\n")
    fresh.replace(path)
    return made


async def find_supervisor(settings: WorkerSettings) -> Address:
    """The SupervisorActor's address: given, or asked for at the REST endpoint.

    Raises:
        SupervisorUnreachable: nobody answers there now.
    """
    if settings.control_address:
        return Address(settings.control_address)
    url = f"{settings.endpoint.rstrip('/')}/v1/address"
    try:
        async with httpx.AsyncClient(timeout=5.0, verify=trusting(settings.ca_file)) as client:
            reply = await client.get(url)
            reply.raise_for_status()
            return Address(str(reply.json()))
    except (httpx.HTTPError, ValueError) as error:
        raise SupervisorUnreachable(f"{url} does not answer ({type(error).__name__}); is --endpoint right?") from error
