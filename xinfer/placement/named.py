"""From what people call workers and devices to the workers and slots themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xinfer.cluster.slot import Slot
from xinfer.cluster.worker import Worker, WorkerState
from xinfer.errors import InvalidPlacement

MAX_LISTED = 8


def present(workers: Iterable[Worker]) -> tuple[Worker, ...]:
    """Workers that can be named, by address; those that are lost cannot."""
    return tuple(sorted((w for w in workers if w.state is not WorkerState.LOST), key=lambda w: (w.address, w.id)))


def find_worker(name: str, workers: Sequence[Worker], param: str) -> Worker:
    """The worker called ``ip:port``, ``ip``, host name or id.

    Raises:
        InvalidPlacement: there is none, or several share the ip or host name; lists them.
    """
    bare = _bare(name)
    exact = [w for w in workers if bare == _bare(w.address) or name == w.id]
    found = exact or [w for w in workers if bare and bare in (w.host, w.ip)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidPlacement(
            f"{param}: {name} is shared by several workers, so name one of {addresses(found)}.", param=param, choices=_choices(found)
        )
    raise InvalidPlacement(f"{param}: there is no worker {name!r}, {_there_are(workers)}.", param=param, choices=_choices(workers))


def _bare(address: str) -> str:
    """Without the brackets that IPv6 may come in."""
    return address.replace("[", "").replace("]", "")


def only_worker(workers: Sequence[Worker]) -> Worker:
    """The worker that ``gpu_idx`` means if none is named.

    Raises:
        InvalidPlacement: there is none, or more than one; lists them.
    """
    if len(workers) == 1:
        return workers[0]
    if not workers:
        raise InvalidPlacement("gpu_idx: there is no worker yet whose devices it could name.", param="gpu_idx")
    raise InvalidPlacement(
        f"gpu_idx needs worker_ip, as there are several workers: {addresses(workers)}.", param="worker_ip", choices=_choices(workers)
    )


def slot_of(worker: Worker, indices: Sequence[int], param: str) -> Slot:
    """The slot over devices ``indices`` of ``worker``, in that order.

    Raises:
        InvalidPlacement: no index, an unknown one, or one twice.
    """
    by_index = {device.index: device for device in worker.devices}
    if not indices:
        raise InvalidPlacement(f"{param} must name at least one device index.", param=param)
    for index in indices:
        if index not in by_index:
            there = _listed(str(i) for i in sorted(by_index)) or "none"
            raise InvalidPlacement(
                f"{param}: worker {worker.address} has no device {index}, its devices are {there}.", param=param, choices=sorted(by_index)
            )
    twice = next((index for position, index in enumerate(indices) if index in indices[:position]), None)
    if twice is not None:
        raise InvalidPlacement(f"{param} names device {twice} twice for one replica, which needs different devices.", param=param)
    return Slot(worker.id, tuple(by_index[index].uuid for index in indices))


def parse_indices(value: Sequence[int] | int | str, param: str) -> tuple[int, ...]:
    """Indices from ``2``, ``[0, 2]`` or ``"0,2"``.

    Raises:
        InvalidPlacement: not indices, or none.
    """
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isascii() and part.isdigit() and len(part) <= 6 for part in parts):
            raise InvalidPlacement(f'{param} must be device indices such as "0,2", not {value[:40]!r}.', param=param)
        return tuple(int(part) for part in parts)
    indices = (value,) if isinstance(value, int) else tuple(value)
    if not indices:
        raise InvalidPlacement(f"{param} must name at least one device index.", param=param)
    return indices


def addresses(workers: Sequence[Worker]) -> str:
    """``a, b and 3 more``."""
    return _listed(w.address for w in workers)


def _there_are(workers: Sequence[Worker]) -> str:
    return f"only {addresses(workers)}" if workers else "as no worker has joined yet"


def _choices(workers: Sequence[Worker]) -> list[str]:
    return [w.address for w in workers]


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = len(every) - MAX_LISTED
    return ", ".join(every) if more <= 0 else f"{', '.join(every[:MAX_LISTED])} and {more} more"
