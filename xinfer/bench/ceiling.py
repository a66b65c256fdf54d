"""How fast the bare model is on this machine: the texts of `xinfer bench`, no server. ``python -m xinfer.bench.ceiling --help``."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path

import click

from xinfer.bench.bare_process import Part, Task, serve
from xinfer.bench.figures import latencies
from xinfer.bench.load import Kind, Load, parse_sizes, parse_words, size_of
from xinfer.errors import LaunchFailed

WARMUP = 10
"""Single documents that do not count."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the bare model reached.

    Attributes:
        seconds: from the first process's start to the last one's end.
        padding: tokens computed for each true one.
        latency: milliseconds of a document, where they went one at a time.
    """

    documents: int
    seconds: float
    documents_per_second: float
    tokens_per_second: float
    padding: float
    cpu_seconds: float
    latency: dict[str, float] = field(default_factory=dict)


def measure(task: Task, processes: int = 1) -> Ceiling:
    """Run ``task`` in so many processes (no more than documents), each bound to a core of its own where there are enough.

    Raises:
        LaunchFailed: a process ended early; its own words are on stderr.
    """
    processes = min(processes, sum(size_of(task.load, number) for number in range(task.requests)))
    cores: list[int | None] = [*sorted(os.sched_getaffinity(0))]
    bound = cores if processes * task.threads <= len(cores) and task.threads == 1 else [None] * processes
    tasks = [replace(task, rank=rank, processes=processes, core=bound[rank]) for rank in range(processes)]
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in tasks]
    children = [context.Process(target=serve, args=(each, theirs), daemon=True) for each, (_, theirs) in zip(tasks, pairs, strict=True)]
    try:
        for child, (_, theirs) in zip(children, pairs, strict=True):
            child.start()
            theirs.close()  # so that the child's end is seen as the end of the pipe
        pipes = [ours for ours, _ in pairs]
        for pipe in pipes:
            _receive(pipe)
        for pipe in pipes:
            pipe.send("go")
        return joined([_receive(pipe) for pipe in pipes])
    except BaseException:
        for child in children:
            if child.pid is not None:
                child.terminate()
        raise
    finally:
        for child in children:
            if child.pid is not None:
                child.join()


def joined(parts: Sequence[Part]) -> Ceiling:
    """The parts of all processes as one figure."""
    seconds = max(part.ended for part in parts) - min(part.begun for part in parts)
    documents, tokens = sum(part.documents for part in parts), sum(part.tokens for part in parts)
    return Ceiling(
        documents=documents,
        seconds=seconds,
        documents_per_second=documents / seconds,
        tokens_per_second=tokens / seconds,
        padding=sum(part.padded for part in parts) / max(1, tokens),
        cpu_seconds=sum(part.cpu for part in parts),
        latency=latencies([each for part in parts for each in _counted(part.each)]),
    )


def _counted(each: Sequence[float]) -> Sequence[float]:
    return each[WARMUP:] if len(each) > 2 * WARMUP else each


def _receive(pipe: Connection) -> Part:
    try:
        found: Part = pipe.recv()
    except EOFError:
        raise LaunchFailed("A process of the bare model ended early.") from None
    return found


@click.command(help=__doc__)
@click.option("--model-path", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="The model's folder.")
@click.option("--kind", type=click.Choice(["rerank", "embedding"]), default="rerank", show_default=True)
@click.option("--engine", type=click.Choice(["torch", "onnx"]), default="torch", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32", show_default=True, help="torch only.")
@click.option("--device", default="cpu", show_default=True, help="torch only: cpu, cuda or cuda:N; all processes share a GPU.")
@click.option("--mode", type=click.Choice(["sorted-tokens", "single"]), default="sorted-tokens", show_default=True)
@click.option("-n", "--requests", type=click.IntRange(1), default=600, show_default=True)
@click.option("--docs-cycle", default="20", show_default=True, help="Documents of one request after the other, in turn.")
@click.option("--words", default="20-200", show_default=True)
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--processes", type=click.IntRange(1), default=2, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--tokens", type=click.IntRange(1), default=2048, show_default=True, help="Padded tokens of a batch.")
def main(
    model_path: Path, kind: str, engine: str, dtype: str, device: str, mode: str, requests: int, docs_cycle: str, words: str, seed: int,
    processes: int, threads: int, tokens: int,
) -> None:  # fmt: skip
    """Prints JSON."""
    try:
        load = Load(Kind(kind), sizes=parse_sizes(docs_cycle), words=parse_words(words), seed=seed)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    task = Task(model_path, load, requests, engine, dtype, device, threads=threads, tokens=tokens, single=mode == "single")
    found = measure(task, processes)
    asked = {"mode": mode, "engine": engine, "dtype": dtype, "device": device, "processes": processes, "threads": threads, "tokens": tokens}
    click.echo(json.dumps(asked | asdict(found), indent=2))


if __name__ == "__main__":
    main()
