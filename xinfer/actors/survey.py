"""Questions that the supervisor puts to workers before it decides: does this folder hold a model, how much memory is free."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xinfer.actors.messages import Stock, WorkerUsage, Written
from xinfer.actors.refs import WorkerRef
from xinfer.catalog.files import ModelFiles
from xinfer.cluster.ids import Address
from xinfer.cluster.worker import Worker
from xinfer.control.whereabouts import Whereabouts
from xinfer.errors import Forbidden, ModelNotFound, NoWorker, XinferError
from xinfer.schemas.launch import LaunchRequest

FIRST_ASKED = 8
"""Workers that are asked about a folder before all others are: in most clusters each has it, or none."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the workers said.

    Attributes:
        files: of the folder named by ``model_path``; None if none is named.
        engines: installed on some worker.
        cached: keys of the models whose files some worker has.
        offline: no worker that answered can reach a model hub.
    """

    files: ModelFiles | None
    engines: frozenset[str]
    cached: frozenset[str] = frozenset()
    offline: bool = False


class Survey:
    """References to workers, kept by address."""

    def __init__(self) -> None:
        self._refs: dict[Address, WorkerRef] = {}

    def ref(self, address: Address) -> WorkerRef:
        """The reference to the worker at ``address``."""
        return self._refs.setdefault(address, WorkerRef(address))

    async def look(self, request: LaunchRequest, workers: Sequence[Worker], roots: Sequence[Path] | None = None) -> Findings:
        """Ask workers about ``model_path``, or all what they have cached; the first that has the folder answers for all.

        Args:
            roots: folders that ``model_path`` must be in, on every worker that has it; None = it may be anywhere.

        Raises:
            NoWorker: there is none to ask; ModelNotFound: none has a model in that folder; Forbidden: it is outside of ``roots``.
        """
        if not workers:
            raise NoWorker("No worker has joined yet: start one with `xinfer-worker -e ENDPOINT`, then launch again.", retry_after=5.0)
        engines = frozenset[str]().union(*(w.engines for w in workers))
        refs = [self.ref(w.address) for w in workers]
        if not request.model_path:
            answers = await asyncio.gather(*(r.stock() for r in refs), return_exceptions=True)
            stocks = [a for a in answers if isinstance(a, Stock)]
            offline = bool(stocks) and not any(s.hub_in_reach for s in stocks)
            return Findings(None, engines, frozenset[str]().union(*(s.cached for s in stocks)), offline)
        return Findings(await self._files(request.model_path, roots, refs), engines)

    async def _files(self, path: str, roots: Sequence[Path] | None, refs: Sequence[WorkerRef]) -> ModelFiles:
        """Of the first worker that has the folder: a few are asked, then ever more. With ``roots`` all are, as it may lead out on any."""
        looked: list[ModelFiles | BaseException] = []
        while len(looked) < len(refs):
            most = max(FIRST_ASKED, 8 * len(looked)) if roots is None else len(refs)
            wave = refs[len(looked) : most]
            looked += await asyncio.gather(*(r.inspect(path, roots) for r in wave), return_exceptions=True)
            outside = next((a for a in looked if isinstance(a, Forbidden)), None)
            if outside is not None:
                raise outside
            files = next((a for a in looked if isinstance(a, ModelFiles)), None)
            if files is not None:
                return files
        refusal = next((a for a in looked if isinstance(a, ModelNotFound)), None)
        failure = next((a for a in looked if isinstance(a, XinferError)), None)
        raise refusal or failure or ModelNotFound(f"model_path {path!r} could not be looked at.", param="model_path")

    async def written(self, place: Whereabouts, lines: int, after: tuple[str, int] | None) -> Written | None:
        """What a replica's processes wrote, from the first worker that has anything of it; from the beginning if it is another now."""

        def asked(worker: Worker) -> Awaitable[Written]:
            position = None if after is None else after[1] if after[0] == worker.id else 0
            return self.ref(worker.address).written(place.id, lines, position)

        answers = await asyncio.gather(*map(asked, place.workers), return_exceptions=True)
        return next((a for a in answers if isinstance(a, Written) and a.position > 0), None)

    async def usage(self, workers: Sequence[Worker]) -> tuple[WorkerUsage, ...]:
        """Live figures of the workers that answer."""
        answers = await asyncio.gather(*(self.ref(w.address).usage() for w in workers), return_exceptions=True)
        return tuple(a for a in answers if isinstance(a, WorkerUsage))
