"""Tells the supervisor what this process has to do, off the data path: now and then, and at once where it matters."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from xinfer.actors.refs import SupervisorRef
from xinfer.api.dispatch import Dispatcher
from xinfer.cluster.ids import Address
from xinfer.errors import Unavailable, XinferError

log = structlog.get_logger(__name__)

WAKE_RETRY = 5.0


async def report_loads(supervisor: SupervisorRef, dispatcher: Dispatcher, process: Address, every: float) -> None:
    """Report for ever. A report in which work waits for a model that is asleep asks to wake it: one call, however many requests wait.

    What waits for a model that cannot be woken is told so: 503 with Retry-After.
    """
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every):
                await dispatcher.news.wait()
        dispatcher.news.clear()
        try:
            refused = await supervisor.report(process, dispatcher.loads())
        except XinferError as error:
            log.debug("the load was not reported", reason=error.message)
            sentence = "the model is asleep and the supervisor, which would wake it, cannot be reached"
            dispatcher.not_woken(Unavailable(sentence, retry_after=WAKE_RETRY))
            continue
        except Exception:  # without reports this process's load would be scaled away
            log.exception("the load reports broke off")
            continue
        for uid, reason in refused.items():
            sentence = f"model {uid!r} is asleep and cannot be woken: {reason}"
            dispatcher.not_woken(Unavailable(sentence, retry_after=WAKE_RETRY), uid)
