"""scripts/quickstart.py: its documents, its measuring and its verdict."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "quickstart.py"


@pytest.fixture(scope="module")
def quickstart() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quickstart", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["quickstart"] = module
    spec.loader.exec_module(module)
    return module


def test_documents_are_varied_sentences_and_always_the_same(quickstart: ModuleType) -> None:
    texts = quickstart.documents(600)
    assert texts == quickstart.documents(600)
    assert len(set(texts)) == 600
    words = [len(text.split()) for text in texts]
    assert min(words) >= 20
    assert max(words) <= 200
    assert max(words) > 5 * min(words)
    assert all(text[0].isupper() and text.endswith(".") for text in texts)


class Replicas:
    """Two replicas; each request's documents go to one of them in turn."""

    def __init__(self, wrong: str = "") -> None:
        self.done = [5, 7]
        self.calls = 0
        self.wrong = wrong

    def handle(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            device = {"name": "CPU", "uuid": "CPU-0"}
            entries = [
                {"replica_id": n, "slot": f"a:1@{n}", "device": device, "documents": done, "busy_seconds": done / 10}
                for n, done in enumerate(self.done)
            ]
            return httpx.Response(200, json=entries)
        body = json.loads(request.content)
        count = len(body["documents"])
        if self.wrong == "status":
            return httpx.Response(503, text="busy")
        self.done[self.calls % 2] += count
        self.calls += 1
        given = count - 1 if self.wrong == "lost" else count
        return httpx.Response(200, json={"results": [{"index": n} for n in reversed(range(given))]})


async def measured(quickstart: ModuleType, replicas: Replicas) -> Any:
    async with httpx.AsyncClient(base_url="http://test", transport=httpx.MockTransport(replicas.handle)) as client:
        return await quickstart.run(client, "title", 2, [["a"] * 10] * 4)


async def test_figures_are_what_each_slot_did_within_the_run(quickstart: ModuleType) -> None:
    result = await measured(quickstart, Replicas())
    assert result.errors == []
    assert [(slot["slot"], slot["documents"], round(slot["busy"], 6)) for slot in result.slots] == [("a:1@0", 20, 2.0), ("a:1@1", 20, 2.0)]


@pytest.mark.parametrize(("wrong", "words"), [("status", "503: busy"), ("lost", "9 results for 10 documents")])
async def test_a_wrong_answer_is_an_error(quickstart: ModuleType, wrong: str, words: str) -> None:
    assert (await measured(quickstart, Replicas(wrong))).errors == [words] * 4


@pytest.mark.parametrize(
    ("slots", "good"),
    [
        ([("a@0", 0.9), ("a@1", 0.85)], True),
        ([("a@0", 1.0), ("a@1", 0.84)], False),
        ([("a@0", 1.0), ("a@0", 1.0)], False),
        ([("a@0", 1.0)], False),
    ],
)
def test_the_verdict_wants_two_different_slots_busy(quickstart: ModuleType, slots: list[tuple[str, float]], good: bool) -> None:
    result = quickstart.Run("t", 2, wall=1.0, slots=[{"slot": slot, "busy": busy} for slot, busy in slots])
    assert result.every_slot_busy is good
