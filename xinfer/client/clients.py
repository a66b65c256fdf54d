"""Client and AsyncClient: ``calls`` sent over httpx. Methods take their signatures from there, so the two cannot drift apart."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx

from xinfer.client import calls, stream, talking, watching
from xinfer.client.calls import Call
from xinfer.client.failures import from_reply, from_transport
from xinfer.client.retry import Retry
from xinfer.client.stream import ClusterEvent
from xinfer.client.talking import ChatPiece, Messages, body_of
from xinfer.errors import ConfigError, DeadlineExceeded, XinferError

P = ParamSpec("P")
T = TypeVar("T")

ENDPOINT = "http://127.0.0.1:9997"
TIMEOUT = 600.0
CONNECT = 5.0
LONG_POLL = 25.0
LAUNCH = 3600.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class _Settings:
    """What both clients are given; flags go before the environment (``XINFER_ENDPOINT``, ``XINFER_API_KEY``, ``XINFER_CA_FILE``)."""

    def __init__(self, base_url: str | None, api_key: str | None, timeout: float, retry: Retry | None, ca_file: str | None) -> None:
        url = (base_url or os.environ.get("XINFER_ENDPOINT") or ENDPOINT).strip()
        self.base_url = (url if "://" in url else f"http://{url}").rstrip("/").removesuffix("/v1")
        self.timeout = timeout
        self.retry = retry or Retry()
        key = api_key or os.environ.get("XINFER_API_KEY")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.ca_file = ca_file or os.environ.get("XINFER_CA_FILE") or None

    def options(self) -> dict[str, Any]:
        """Arguments of an httpx client; a proxy of the environment is not asked for this very machine."""
        try:
            loopback = httpx.URL(self.base_url).host in _LOOPBACK
        except httpx.InvalidURL as error:
            raise from_transport(error, self.base_url) from None
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        tls = {"verify": self._trust()} if self.base_url.lower().startswith("https:") else {}
        return {"base_url": self.base_url, "headers": self.headers, "limits": limits, "trust_env": not loopback, **tls}

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:  # SSLError among them
            reason = "holds no certificates in PEM format" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
            raise ConfigError(f"The CA file {self.ca_file} {reason}.", param="ca_file") from error

    def request(self, call: Call[Any]) -> dict[str, Any]:
        """Arguments of one request."""
        timeout = httpx.Timeout(call.read_timeout or self.timeout, connect=CONNECT)
        body = {} if call.json is None else {"json": call.json}
        return {"params": dict(call.params), "headers": dict(call.headers), "timeout": timeout, **body}


def _read(call: Call[T], reply: httpx.Response) -> T:
    if reply.is_success:
        return call.parse(reply.json())
    raise from_reply(reply.status_code, reply.content, reply.headers)


def _describe(method: Any, call: Callable[..., Any], owner: str) -> None:
    """What ``help()`` shows: the call's parameters after ``self``, and what the method returns rather than the call."""
    plain = inspect.signature(call)
    returned = str(plain.return_annotation).removeprefix("Call[").removesuffix("]")
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = plain.replace(parameters=[own, *plain.parameters.values()], return_annotation=returned)
    method.__annotations__ = {**call.__annotations__, "return": returned}
    method.__qualname__ = f"{owner}.{call.__name__}"


def _method(call: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    @wraps(call)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(call(*args, **kwargs))

    _describe(method, call, "Client")
    return method


def _async_method(call: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    @wraps(call)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(call(*args, **kwargs))

    _describe(method, call, "AsyncClient")
    return method


class Client:
    """A blocking client; use it as a context manager, or ``close()`` it.

    Args:
        base_url: of the REST API; default ``XINFER_ENDPOINT``, else port 9997 of this machine.
        api_key: default ``XINFER_API_KEY``.
        ca_file: authority of an ``https`` server's certificate, PEM; default ``XINFER_CA_FILE``, else those that the system trusts.
        timeout: seconds for one answer.
        retry: when to try again.
        transport: for tests, instead of the network.

    Every method raises the errors of ``xinfer.errors``; ``Unreachable`` where no server answers.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        retry: Retry | None = None,
        ca_file: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._settings = _Settings(base_url, api_key, timeout, retry, ca_file)
        self._http = httpx.Client(transport=transport, **self._settings.options())

    @property
    def base_url(self) -> str:
        """Of the REST API, without ``/v1``."""
        return self._settings.base_url

    def send(self, call: Call[T]) -> T:
        """Send one call, with retries."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._once(call)
            except XinferError as error:
                cause = error.__cause__ if isinstance(error.__cause__, Exception) else None
                pause = self._settings.retry.pause(attempt, error, cause, call.repeatable, random.random())
                if pause is None:
                    raise
            time.sleep(pause)

    def _once(self, call: Call[T]) -> T:
        try:
            reply = self._http.request(call.method, call.path, **self._settings.request(call))
        except httpx.HTTPError as error:
            raise from_transport(error, self.base_url) from error
        return _read(call, reply)

    def launch(self, model_name: str | None = None, *, wait: bool = True, timeout: float = LAUNCH, **fields: Any) -> str:
        """Launch a model; fields as in ``LaunchRequest`` (``replica=2``, ``slots=[...]``), engine options among them.

        Args:
            wait: until every replica is ready. A client that dies meanwhile does not cancel the launch.
            timeout: seconds to wait.

        Returns:
            The model's uid.
        """
        uid = self.send(calls.start(model_name, **fields))
        if wait:
            self.wait_ready(uid, timeout)
        return uid

    def wait_ready(self, model_uid: str, timeout: float = LAUNCH) -> None:
        """Return once every replica is ready.

        Raises:
            LaunchFailed: a replica gave up; DeadlineExceeded: the time is up, the launch goes on.
        """
        end = time.monotonic() + timeout
        while not self.send(calls.ready(model_uid, _part(end, time.monotonic()))):
            if time.monotonic() >= end:
                raise _not_ready(model_uid, timeout)

    def chat_stream(self, model: str, messages: Messages, **options: Any) -> Generator[ChatPiece, None, None]:
        """An answer as it grows; see ``chat``. Close the generator to end it early.

        Raises:
            ReplicaLost: the link broke in mid-answer; it is not asked for again, as what was said would be said twice.
        """
        timeout = httpx.Timeout(self._settings.timeout, connect=CONNECT)
        return talking.follow(self._http, self.base_url, body_of(model, messages, options), timeout)

    def events(self, last_event_id: str = "") -> Generator[ClusterEvent, None, None]:
        """What happens in the cluster, as it happens: a snapshot, then changes and readings, for ever.

        A link that breaks is made anew and goes on behind the last event, as long as ``retry`` allows; where that place is no
        longer known, a snapshot comes again and what was known before is void.

        Args:
            last_event_id: ``id`` of an event seen before, to begin behind it.
        """
        return stream.follow(self._http, self._settings.retry, self.base_url, last_event_id)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    rerank = _method(calls.rerank)
    embed = _method(calls.embed)
    chat = _method(calls.chat)
    why = _method(calls.why)
    abort = _method(calls.abort)
    plan = _method(calls.plan)
    stop = _method(calls.stop)
    cancel = _method(calls.cancel)
    list = _method(calls.list_models)
    show = _method(calls.show)
    instances = _method(calls.instances)
    progress = _method(calls.progress)
    replicas = _method(calls.replicas)
    add_replicas = _method(calls.add_replicas)
    remove_replica = _method(calls.remove_replica)
    logs = _method(calls.logs)
    scale = _method(calls.scale)
    move = _method(calls.move)
    registrations = _method(calls.registrations)
    slots = _method(calls.slots)
    workers = _method(calls.workers)
    drain = _method(calls.drain)
    drained = _method(calls.drained)
    rebalance = _method(calls.rebalance)
    upgrade = _method(calls.upgrade)
    nodes = _method(calls.nodes)
    launches = _method(watching.launches)
    history = _method(watching.history)
    readings = _method(watching.readings)
    series = _method(watching.series)
    create_key = _method(calls.create_key)
    keys = _method(calls.keys)
    revoke_key = _method(calls.revoke_key)
    version = _method(calls.version)
    healthz = _method(calls.healthz)
    readyz = _method(calls.readyz)


class AsyncClient:
    """The same as ``Client`` for asyncio; use it as an asynchronous context manager, or ``await close()``."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        retry: Retry | None = None,
        ca_file: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = _Settings(base_url, api_key, timeout, retry, ca_file)
        self._http = httpx.AsyncClient(transport=transport, **self._settings.options())

    @property
    def base_url(self) -> str:
        """Of the REST API, without ``/v1``."""
        return self._settings.base_url

    async def send(self, call: Call[T]) -> T:
        """Send one call, with retries."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._once(call)
            except XinferError as error:
                cause = error.__cause__ if isinstance(error.__cause__, Exception) else None
                pause = self._settings.retry.pause(attempt, error, cause, call.repeatable, random.random())
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def _once(self, call: Call[T]) -> T:
        try:
            reply = await self._http.request(call.method, call.path, **self._settings.request(call))
        except httpx.HTTPError as error:
            raise from_transport(error, self.base_url) from error
        return _read(call, reply)

    async def launch(self, model_name: str | None = None, *, wait: bool = True, timeout: float = LAUNCH, **fields: Any) -> str:
        """Launch a model; see ``Client.launch``."""
        uid = await self.send(calls.start(model_name, **fields))
        if wait:
            await self.wait_ready(uid, timeout)
        return uid

    async def wait_ready(self, model_uid: str, timeout: float = LAUNCH) -> None:
        """Return once every replica is ready; see ``Client.wait_ready``."""
        end = time.monotonic() + timeout
        while not await self.send(calls.ready(model_uid, _part(end, time.monotonic()))):
            if time.monotonic() >= end:
                raise _not_ready(model_uid, timeout)

    def chat_stream(self, model: str, messages: Messages, **options: Any) -> AsyncGenerator[ChatPiece, None]:
        """An answer as it grows; see ``Client.chat_stream``."""
        timeout = httpx.Timeout(self._settings.timeout, connect=CONNECT)
        return talking.follow_async(self._http, self.base_url, body_of(model, messages, options), timeout)

    def events(self, last_event_id: str = "") -> AsyncGenerator[ClusterEvent, None]:
        """What happens in the cluster, as it happens; see ``Client.events``."""
        return stream.follow_async(self._http, self._settings.retry, self.base_url, last_event_id)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    rerank = _async_method(calls.rerank)
    embed = _async_method(calls.embed)
    chat = _async_method(calls.chat)
    why = _async_method(calls.why)
    abort = _async_method(calls.abort)
    plan = _async_method(calls.plan)
    stop = _async_method(calls.stop)
    cancel = _async_method(calls.cancel)
    list = _async_method(calls.list_models)
    show = _async_method(calls.show)
    instances = _async_method(calls.instances)
    progress = _async_method(calls.progress)
    replicas = _async_method(calls.replicas)
    add_replicas = _async_method(calls.add_replicas)
    remove_replica = _async_method(calls.remove_replica)
    logs = _async_method(calls.logs)
    scale = _async_method(calls.scale)
    move = _async_method(calls.move)
    registrations = _async_method(calls.registrations)
    slots = _async_method(calls.slots)
    workers = _async_method(calls.workers)
    drain = _async_method(calls.drain)
    drained = _async_method(calls.drained)
    rebalance = _async_method(calls.rebalance)
    upgrade = _async_method(calls.upgrade)
    nodes = _async_method(calls.nodes)
    launches = _async_method(watching.launches)
    history = _async_method(watching.history)
    readings = _async_method(watching.readings)
    series = _async_method(watching.series)
    create_key = _async_method(calls.create_key)
    keys = _async_method(calls.keys)
    revoke_key = _async_method(calls.revoke_key)
    version = _async_method(calls.version)
    healthz = _async_method(calls.healthz)
    readyz = _async_method(calls.readyz)


def _part(end: float, now: float) -> float:
    return min(LONG_POLL, max(0.1, end - now))


def _not_ready(model_uid: str, timeout: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"Model {model_uid} is not ready after {timeout:g} s; it goes on loading.", model_uid=model_uid)
