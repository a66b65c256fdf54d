"""One row of the table: a fault, where it happens, what came of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from scripts.fault_suite.ground import Ground
from xinfer.errors import XinferError

BREAKS = (AssertionError, XinferError, httpx.HTTPError, OSError, LookupError, ValueError, psutil.Error, subprocess.SubprocessError)
"""How a row says that something does not hold."""


@dataclass(frozen=True, slots=True)
class Row:
    """A fault that can be made.

    Attributes:
        name: for ``--rows``.
        fault: as the table says it.
        ground: which cluster it needs, a name of ``grounds.GROUNDS``; ``elsewhere``: on which it can be run too.
        make: makes the fault and looks what comes of it; returns that in a few words, and raises AssertionError where it does not hold.
    """

    name: str
    fault: str
    ground: str
    make: Callable[[Any], str]
    elsewhere: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a row.

    Attributes:
        failed, answered: requests of the load; None where the row has none.
        longest: seconds of the slowest request.
        broken: what did not hold; skipped: why the row was not run.
    """

    name: str
    fault: str
    happened: str = ""
    seconds: float = 0.0
    failed: int | None = None
    answered: int | None = None
    longest: float = 0.0
    broken: str = ""
    skipped: str = ""

    @property
    def held(self) -> bool:
        """Whether it was run, nothing failed and all was as it should be."""
        return not (self.broken or self.skipped or self.failed)


def run(row: Row, ground: Ground) -> Finding:
    """Make one fault on a ground that is whole."""
    ground.forget()
    began = time.monotonic()
    happened = broken = ""
    try:
        ground.settle()
        began = time.monotonic()
        happened = row.make(ground)
        ground.check()
    except BREAKS as error:
        broken = f"{type(error).__name__}: {error}" if not isinstance(error, AssertionError) else str(error)
    seconds, outcome = time.monotonic() - began, ground.outcome
    if outcome is None:
        return Finding(row.name, row.fault, happened, seconds, broken=broken)
    failed = sum(outcome.wrong.values())
    if failed:
        broken = "; ".join(filter(None, [broken, *(f"{count} × {what}" for what, count in outcome.wrong.most_common(5))]))
    return Finding(row.name, row.fault, happened, seconds, failed, outcome.right, outcome.longest, broken)
