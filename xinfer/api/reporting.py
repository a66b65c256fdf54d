"""Tells the supervisor what this process has to do, off the data path: now and then, and at once where it matters."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from xinfer.actors.refs import SupervisorRef
from xinfer.cluster.ids import Address, ModelUid
from xinfer.cluster.load import ModelLoad
from xinfer.errors import Unavailable, XinferError

log = structlog.get_logger(__name__)

WAKE_RETRY = 5.0


class Loaded(Protocol):
    """What has work for some of the models.

    Attributes:
        news: set when ``loads`` has something that the supervisor should not wait for.
    """

    news: asyncio.Event

    def loads(self) -> Mapping[ModelUid, ModelLoad]:
        """Of each of its models."""

    def not_woken(self, error: XinferError, uid: ModelUid | None = None) -> None:
        """That model (None: any) cannot be woken now."""


async def report_loads(supervisor: SupervisorRef, loaded: Sequence[Loaded], process: Address, every: float) -> None:
    """Report for ever, of all of them, which share their ``news``.

    A report in which work waits for a model that is asleep asks to wake it: one call, however many requests wait.

    What waits for a model that cannot be woken is told so: 503 with Retry-After.
    """
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every):
                await loaded[0].news.wait()
        loaded[0].news.clear()
        try:
            refused = await supervisor.report(process, {uid: load for each in loaded for uid, load in each.loads().items()})
        except XinferError as error:
            log.debug("the load was not reported", reason=error.message)
            sentence = "the model is asleep and the supervisor, which would wake it, cannot be reached"
            for each in loaded:
                each.not_woken(Unavailable(sentence, retry_after=WAKE_RETRY))
            continue
        except Exception:  # without reports this process's load would be scaled away
            log.exception("the load reports broke off")
            continue
        for uid, reason in refused.items():
            sentence = f"model {uid!r} is asleep and cannot be woken: {reason}"
            for each in loaded:
                each.not_woken(Unavailable(sentence, retry_after=WAKE_RETRY), uid)
