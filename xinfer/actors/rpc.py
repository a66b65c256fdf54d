"""Calls between actors: every one has a deadline, and every failure is one of ours.

xoscar has no call timeout and no heartbeat, and two cancels of one call to a hung peer lose all the others on that
connection; so nothing in this project awaits a reference directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import xoscar as xo
from xoscar.errors import ActorNotExist, SendMessageFailed, ServerClosed

from xinfer import errors
from xinfer.cluster.ids import Address
from xinfer.errors import DeadlineExceeded, ReplicaLost, XinferError

T = TypeVar("T")

LINK_LOST = (ServerClosed, ActorNotExist, SendMessageFailed, ConnectionError, EOFError, OSError)
"""What xoscar raises when the peer, its actor or the link is gone."""


class PeerLost(ReplicaLost):
    """The peer's process or link is gone; refs translate it to what the peer was."""

    code = "peer_lost"


async def call(awaitable: Awaitable[T], timeout: float, what: str) -> T:
    """Await an actor call for at most ``timeout`` seconds.

    The call is cancelled at most once, and a late failure is consumed, so that neighbours on the connection live on.

    Raises:
        DeadlineExceeded: no answer in time; PeerLost: the link or the actor is gone;
        any XinferError the peer raised, in its own type.
    """
    task = asyncio.ensure_future(awaitable)
    task.add_done_callback(lambda t: t.cancelled() or t.exception())
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.cancel()
        raise DeadlineExceeded(f"{what} did not answer within {timeout:g} s.")
    if task.cancelled():
        raise PeerLost(f"{what} cancelled the call.")
    error = task.exception()
    if error is None:
        return task.result()
    raise _translated(error, what) from error


def _translated(error: BaseException, what: str) -> BaseException:
    if isinstance(error, XinferError):
        return plain(error)
    if isinstance(error, TimeoutError):
        return DeadlineExceeded(f"{what} did not answer: the link timed out.")
    if isinstance(error, LINK_LOST):
        return PeerLost(f"{what} is gone ({type(error).__name__}).")
    return error


def plain(error: XinferError) -> XinferError:
    """The error without the class and prefix that the transport adds."""
    own: type[XinferError] = next(
        cls for cls in type(error).__mro__ if cls.__module__ in (errors.__name__, __name__) and not _is_transport(cls)
    )
    return own(error.message, param=error.param, retry_after=error.retry_after, **error.details)


def _is_transport(cls: type) -> bool:
    return any(base.__module__.startswith("xoscar.") for base in cls.__mro__)


async def actor(address: Address, uid: str, timeout: float, what: str) -> Any:
    """A reference to the actor ``uid`` at ``address``.

    A plain TCP connect comes first: xoscar holds one lock while it dials, so an unreachable host would block all others.

    Raises:
        PeerLost: nobody answers; nothing has run there, so that the work may go elsewhere at no cost.
    """
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError as error:
        raise PeerLost(f"{what} cannot be reached within {timeout:g} s.") from error
    except OSError as error:
        raise PeerLost(f"{what} cannot be reached ({error.strerror or error}).") from error
    writer.close()
    try:
        return await call(xo.actor_ref(uid, address=address), timeout, what)
    except DeadlineExceeded as error:
        raise PeerLost(error.message) from error
    except PeerLost as error:
        if isinstance(error.__cause__, ActorNotExist):
            raise
        # This is how a peer that cannot verify our signature behaves.
        raise PeerLost(
            f"{what} hung up on us; if it goes on doing so, its cluster token (XINFER_CLUSTER_TOKEN) is another than ours."
        ) from error
