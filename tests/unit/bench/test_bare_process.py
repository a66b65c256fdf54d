"""How the work of a bare model is cut, and joined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from xinfer.bench.bare import Bare, Encoded, Pair
from xinfer.bench.bare_process import Part, Task, batches, deal, pairs_of, run
from xinfer.bench.ceiling import joined
from xinfer.bench.load import Load, request


def test_batches_hold_the_budget_and_every_document_once() -> None:
    lengths = [5, 1, 9, 3, 3, 20]
    made = batches(lengths, 12)
    assert sorted(index for batch in made for index in batch) == list(range(6))
    assert [[lengths[index] for index in batch] for batch in made] == [[1, 3, 3], [5], [9], [20]]


def test_the_texts_are_those_that_are_sent() -> None:
    load = Load(sizes=(2, 1))
    body = request(load, 0).body.decode()
    pairs = pairs_of(load, 2)
    assert len(pairs) == 3
    assert all(query in body and text in body for query, text in pairs[:2])


def test_processes_share_evenly_even_where_requests_are_uneven() -> None:
    pairs = pairs_of(Load(sizes=(60, 1)), 4)
    parts = [deal(pairs, rank, 2) for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(pairs)
    sizes = [sum(len(text) for _, text in part) for part in parts]
    assert sizes[1] / sizes[0] == pytest.approx(1.0, abs=0.02)


class Words(Bare):
    """One token a word; remembers the batches."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        return [{"input_ids": [1] * len(f"{query} {text}".split())} for query, text in pairs]

    def forward(self, batch: Sequence[Encoded]) -> list[Any]:
        self.seen.append(len(batch))
        return [0.0] * len(batch)


def test_true_and_padded_tokens_are_counted() -> None:
    model = Words()
    part = run(model, Task(Path(), Load(), 1, tokens=8), [("a", "b"), ("a", "b c"), ("a", "b c d e")])
    assert (part.documents, part.tokens, part.padded, model.seen) == (3, 10, 11, [2, 1])


def test_single_documents_are_timed_one_by_one() -> None:
    model = Words()
    part = run(model, Task(Path(), Load(), 1, single=True), [("a", "b")] * 3)
    assert (len(part.each), part.tokens, part.padded, model.seen) == (3, 6, 6, [1, 1, 1])


def test_the_time_of_all_is_from_the_first_start_to_the_last_end() -> None:
    found = joined([Part(10, 1.0, 5.0, 3.9, 100, 110), Part(10, 1.5, 6.0, 4.0, 100, 110)])
    assert (found.documents, found.seconds, found.documents_per_second, found.padding) == (20, 5.0, 4.0, 1.1)
    assert found.latency == {}
