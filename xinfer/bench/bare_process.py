"""A bare model in a process of its own, and how its work is cut: sorted by length, batches filled to a number of tokens."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from xinfer.bench.bare import Bare, Pair
from xinfer.bench.load import Kind, Load, texts_of


@dataclass(frozen=True, slots=True)
class Task:
    """What one process does.

    Attributes:
        path: the model's folder.
        engine: "torch" or "onnx".
        dtype: "float32", "bfloat16" or "float16"; torch only.
        device: as torch names it; torch only. Processes share a GPU.
        load, requests: the very texts that `xinfer bench` sends.
        rank, processes: this one's number, and how many share the work.
        core: the CPU that it is bound to; None leaves it free.
        tokens: padded tokens of a batch.
        single: one document at a time instead of batches.
    """

    path: Path
    load: Load
    requests: int
    engine: str = "torch"
    dtype: str = "float32"
    device: str = "cpu"
    rank: int = 0
    processes: int = 1
    core: int | None = None
    threads: int = 1
    tokens: int = 2048
    single: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """What one process did; clocks are the machine's monotonic one, the same for all processes.

    Attributes:
        tokens, padded: true tokens, and those computed.
        each: seconds of each document where they went one at a time.
    """

    documents: int
    begun: float
    ended: float
    cpu: float
    tokens: int
    padded: int
    each: tuple[float, ...] = ()


def pairs_of(load: Load, requests: int) -> list[Pair]:
    """Every (query, document) of a load, in order."""
    found = []
    for number in range(requests):
        query, texts = texts_of(load, number)
        found += [(query, text) for text in texts]
    return found


def deal(pairs: Sequence[Pair], rank: int, processes: int) -> list[Pair]:
    """One process's part: like cards, the longest first, so that all have the same work however requests are sized."""
    return sorted(pairs, key=lambda pair: len(pair[0]) + len(pair[1]), reverse=True)[rank::processes]


def batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Indices by rising length, in batches of at most ``tokens`` padded tokens (one item at least)."""
    made: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if made and (len(made[-1]) + 1) * lengths[index] <= tokens:
            made[-1].append(index)
        else:
            made.append([index])
    return made


def serve(task: Task, pipe: Connection) -> None:
    """The process: load and warm up, say so, wait for the word, work, report."""
    if task.core is not None:
        os.sched_setaffinity(0, {task.core})
    model = _load(task)
    pairs = deal(pairs_of(task.load, task.requests), task.rank, task.processes)
    for _ in range(2):
        run(model, replace(task, single=False), pairs[:8])
    pipe.send("ready")
    pipe.recv()
    pipe.send(run(model, task, pairs))


def run(model: Bare, task: Task, pairs: Sequence[Pair]) -> Part:
    """Tokenise and compute; the clock runs over both."""
    begun, cpu = time.perf_counter(), time.process_time()
    tokens = padded = 0
    each: list[float] = []
    if task.single:
        for pair in pairs:
            start = time.perf_counter()
            encoded = model.encode([pair])
            model.forward(encoded)
            each.append(time.perf_counter() - start)
            tokens += len(encoded[0]["input_ids"])
        padded = tokens
    else:
        encoded = model.encode(pairs)
        lengths = [len(item["input_ids"]) for item in encoded]
        for batch in batches(lengths, task.tokens):
            model.forward([encoded[index] for index in batch])
            padded += len(batch) * lengths[batch[-1]]
        tokens = sum(lengths)
    return Part(len(pairs), begun, time.perf_counter(), time.process_time() - cpu, tokens, padded, tuple(each))


def _load(task: Task) -> Bare:
    embeds = task.load.kind is Kind.EMBEDDING
    if task.engine == "onnx":
        from xinfer.bench import bare_onnx

        return bare_onnx.load(task.path, embeds, task.threads)
    from xinfer.bench import bare_torch

    return bare_torch.load(task.path, embeds, task.dtype, task.threads, task.device)
