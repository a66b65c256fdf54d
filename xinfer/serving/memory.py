"""A replica on the CPU lives within its reservation: the kernel refuses what is far above, predictions keep batches below.

The kernel's refusal alone is not enough: near the limit any thread may be the one that is refused, and some libraries end the
process then (doc/adr/0008-memory.md). So it stands a good way above the reservation, and batches are cut by what
they are known to take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from xinfer.batching.footprint import Footprint, Sample
from xinfer.cluster.device import DeviceKind, DeviceReport
from xinfer.cluster.memory import MIB, format_bytes
from xinfer.engines import host_limit
from xinfer.engines.base import LoadContext, LoadedModel
from xinfer.errors import LaunchFailed, OutOfMemory
from xinfer.serving.calibrate import ITEM_TOKENS, Limits, ModelKind
from xinfer.serving.forward import required

BAND = 32
"""One part in so many of the reservation is left to the rest of the process."""
SPARE = 128 * MIB
"""From the reservation to the kernel's limit, which counts what was never touched too: stacks of threads, ends of arenas."""
LOAD_SPARE = 256 * MIB
THREAD_STACK = 16 * MIB
"""Of one more compute thread, or the spare one, with its arena; never touched but for a few pages."""
KEPT = 96 * MIB
"""What malloc keeps in pieces after batches of many shapes; smaller workspaces are reported as this much."""
LONG = 512
"""Longest item that is measured; longer ones are predicted."""


class HostMemory:
    """The main memory of this process, for one model. Used on the compute thread only.

    Attributes:
        reserved: bytes that are this replica's.
        footprint: what a batch takes; None = unknown, then only the kernel's limit holds.
    """

    def __init__(self, reserved: int) -> None:
        self.reserved = reserved
        self.footprint: Footprint | None = None
        self._soft = reserved - reserved // BAND
        self._release: Callable[[], None] = host_limit.trim
        self._before = 0
        self._peak = 0
        self._idle = 0

    @classmethod
    def of(cls, context: LoadContext) -> HostMemory | None:
        """None where the weights are not in main memory, or nothing was reserved."""
        if context.device_kind is DeviceKind.GPU or context.memory_bytes <= 0:
            return None
        made = cls(context.memory_bytes * max(1, len(context.device_uuids)))
        host_limit.limit_private(made.reserved + LOAD_SPARE + (1 + max(1, context.threads)) * THREAD_STACK)
        return made

    def loaded(self, model: LoadedModel, kind: ModelKind, limits: Limits) -> Limits:
        """The weights are there: set the limit for good, measure batches; calibration within ``limits``, made to fit.

        Raises:
            LaunchFailed: the model with one long item fills the reservation, which no other try will change;
            EngineError: the model fails on plain text.
        """
        self._release = model.release_memory
        self._measure(model, kind)
        self._release()
        self._idle = idle = host_limit.resident()
        longest = 0 if self.footprint is None else self.footprint.size(1, min(LONG, model.max_tokens))
        if idle + longest > self.reserved:
            raise LaunchFailed(
                f"memory: the model takes {format_bytes(idle)} once loaded and {format_bytes(longest)} for a long item; "
                f"{format_bytes(self.reserved)} are reserved, reserve {format_bytes((idle + max(longest, KEPT)) * 9 // 8)} or more."
            )
        self.released()
        self._peak = host_limit.peak()
        if self.footprint is None:
            return limits
        length = min(ITEM_TOKENS, model.max_tokens)
        fits = self.footprint.most(length, self._soft - idle) * length
        return replace(limits, batch_tokens=min(limits.batch_tokens, fits))

    def released(self) -> None:
        """What was kept is given back: set the kernel's limit anew.

        It counts what malloc holds without pages too, and only threads of the same arena get that again.
        """
        host_limit.limit_private(host_limit.private() + self.reserved - host_limit.resident() + SPARE)

    def most(self, items: int, longest: int) -> int:
        """How many of ``items`` padded to ``longest`` tokens may run together; 0 = one alone is far too much."""
        self._before = now = host_limit.resident()
        if self.footprint is None or now + self.footprint.size(items, longest) <= self._soft:
            return items
        self._release()
        self._before = now = host_limit.resident()
        if now + self.footprint.size(1, longest) > self.reserved + SPARE:
            return 0
        return min(items, self.footprint.most(longest, self._soft - now))

    def ran(self, items: int, longest: int) -> None:
        """Learn from the batch that ``most`` was asked about last, if it took more than predicted."""
        peak = host_limit.peak()
        if peak > self._peak:
            self._peak = peak
            if self.footprint is not None:
                self.footprint = self.footprint.at_least(Sample(items, longest, peak - self._before))

    def refusal(self, longest: int) -> OutOfMemory:
        """The error of an item that is too large by itself."""
        needs = 0 if self.footprint is None else self.footprint.size(1, longest)
        return OutOfMemory(
            f"An item of {longest} tokens needs about {format_bytes(needs)} beside the model's {format_bytes(self._idle)}; "
            f"{format_bytes(self.reserved)} are reserved.",
            items=1,
            longest=longest,
        )

    def reports(self, reports: tuple[DeviceReport, ...], budget: int, max_tokens: int) -> tuple[DeviceReport, ...]:
        """With the memory that full batches take: a restart has to hold them."""
        if self.footprint is None or not reports:
            return reports
        lengths = {min(ITEM_TOKENS, max_tokens), max_tokens}
        work = max(KEPT, *(self.footprint.size(max(1, budget // length), length) for length in lengths))
        # A tenth is put on top for the ledger; more than what was enough now is never asked for.
        used = max(self._idle, min(self._idle + work, self.reserved * 10 // 11))
        return tuple(replace(report, used_bytes=used // len(reports)) for report in reports)

    def _measure(self, model: LoadedModel, kind: ModelKind) -> None:
        short = min(ITEM_TOKENS, model.max_tokens)
        samples = []
        required(model, [kind.item(model, min(8, short))])  # touches all weights
        for items, length in ((max(1, LONG // short), short), (1, min(LONG, model.max_tokens))):
            item = kind.item(model, length)
            self._release()
            if not host_limit.reset_peak():
                return
            before = host_limit.resident()
            try:
                required(model, [item] * items)
            except OutOfMemory:
                break
            samples.append(Sample(items, item.tokens, max(1, host_limit.peak() - before)))
        if samples:
            self.footprint = Footprint.fit(samples)
