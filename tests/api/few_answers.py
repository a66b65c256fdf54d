"""Language models for tests of other things: each answers with one word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from xinfer.api.ports import Growing
from xinfer.cluster.ids import ModelUid
from xinfer.generation.job import Emission, Finish, GenerationJob


class _Hi:
    async def __aiter__(self) -> AsyncIterator[Emission]:
        yield Emission("k", 1, (1,), "hi", prompt_tokens=1, finish=Finish.STOP)


class FewAnswers:
    """``api.ports.Answers``."""

    @asynccontextmanager
    async def open(self, uid: ModelUid, job: GenerationJob, *, key: str = "") -> AsyncIterator[Growing]:
        """One word."""
        yield _Hi()

    def stats(self) -> dict[str, Any]:
        """Nothing."""
        return {"models": {}, "replicas": {}}
