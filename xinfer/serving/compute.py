"""The one thread that touches the model at a time: loads it, runs shards, interactive ones first, and short calls between two batches."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from xinfer.batching.form import bounds
from xinfer.batching.line import ShardLine
from xinfer.batching.work import ShardResult
from xinfer.errors import EngineError, LaunchFailed, ReplicaLost, XinferError
from xinfer.serving.runner import BatchRunner
from xinfer.serving.shard import Shard, result_of

log = logging.getLogger(__name__)

IDLE_SECONDS = 30.0
"""After that long without work, memory that only a burst needed goes back."""

T = TypeVar("T")


class ComputeThread:
    """Starts at once. Everything but ``call``, ``submit``, ``serve`` and ``close`` runs on the thread itself.

    A thread on which no batch goes through any more starts its successor and ends.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: deque[Callable[[], None]] = deque()
        self._line: ShardLine[Shard] = ShardLine()
        self._taken: list[Shard] = []
        self._runner: BatchRunner | None = None
        self._closed = False
        self._spare = first = self._new_spare()
        if first is None:
            raise LaunchFailed("The kernel refuses this replica a thread.")
        self._thread, turn = first
        turn.set()

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Run ``work`` on the thread, ahead of waiting shards; at most one batch is waited for.

        Raises:
            ReplicaLost: closed.
        """
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            # Whatever it is belongs to the one who called.
            except BaseException as error:  # noqa: BLE001
                future.set_exception(error)

        with self._changed:
            self._refuse_closed()
            self._calls.append(run)
            self._changed.notify()
        return future

    def serve(self, runner: BatchRunner) -> None:
        """Take shards from now on."""
        self._runner = runner

    def submit(self, shard: Shard) -> None:
        """Queue one tokenised shard; its ``answer`` is called from the thread.

        Raises:
            ReplicaLost: closed.
        """
        with self._changed:
            self._refuse_closed()
            self._line.add(shard)
            self._changed.notify()

    def queued_tokens(self) -> int:
        """Tokens of the shards that wait or run."""
        with self._changed:
            return sum(shard.tokens for shard in (*self._taken, *self._line.waiting()) if not shard.dropped)

    def close(self, timeout: float) -> bool:
        """End after the batch in progress; every unanswered shard gets ReplicaLost. True when the thread has ended."""
        with self._changed:
            self._closed = True
            if self._spare is not None:
                self._spare[1].set()
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ReplicaLost("The replica is shutting down.")

    def _new_spare(self) -> tuple[threading.Thread, threading.Event] | None:
        """A thread that waits to take over, and what wakes it. None where the kernel refuses it its stack."""
        turn = threading.Event()
        # A daemon: a forward pass that never ends must not keep the process from ending.
        thread = threading.Thread(target=self._take_over, args=(turn,), name="xinfer-compute", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            log.warning("no spare compute thread: %s", error)
            return None
        return thread, turn

    def _take_over(self, turn: threading.Event) -> None:
        turn.wait()
        with self._changed:
            if threading.current_thread() is not self._thread:
                return  # closed
            self._spare = None if self._closed else self._new_spare()
        self._main()

    def _main(self) -> None:
        while self._wait():
            self._run_calls()
            if self._runner is not None:
                self._advance(self._runner)
                if self._runner.spoiled and self._handed_over(self._runner):
                    return
        self._run_calls()
        with self._changed:
            left = [*self._taken, *self._line.waiting()]
        for shard in left:
            shard.answer(ReplicaLost("The replica is shutting down."))
        if self._runner is not None:
            self._runner.model.close()

    def _handed_over(self, runner: BatchRunner) -> bool:
        """Whether the spare thread goes on from here. It was made in advance: where memory is short, no new one may be had."""
        with self._changed:
            if self._closed:
                return False
            self._spare = self._spare or self._new_spare()
            if self._spare is None:
                return False
            runner.spoiled = False
            self._thread, turn = self._spare
            self._spare = None
            turn.set()
        return True

    def _wait(self) -> bool:
        """Block until there is something to do; False when closed."""
        with self._changed:
            while not (self._closed or self._calls or self._line or (self._runner is not None and self._runner.working)):
                worked = self._runner is not None and self._runner.tally.batches > 0
                if not self._changed.wait(IDLE_SECONDS if worked else None) and self._runner is not None:
                    self._runner.model.release_memory()
            return not self._closed

    def _run_calls(self) -> None:
        while True:
            with self._changed:
                if not self._calls:
                    return
                run = self._calls.popleft()
            run()

    def _advance(self, runner: BatchRunner) -> None:
        """One batch launched or settled; shards whose turn it is taken before, and answered after."""
        try:
            if taken := self._take(runner):
                runner.add([(shard, row) for shard in taken for row, item in enumerate(shard.encoded) if item is not None])
            runner.step()
            self._answer_done(runner)
        # Our own mistake; the callers must hear of it, and the thread must live.
        except Exception as error:
            log.exception("compute thread failed")
            runner.forget()
            self._give_up(EngineError(f"The replica failed on the shard: {type(error).__name__}: {error}"))
        if runner.broken is not None:
            self._give_up(ReplicaLost(f"The replica's device is lost: {runner.broken.message}"))

    def _take(self, runner: BatchRunner) -> list[Shard]:
        """The shards whose turn it is, as many as fit into one batch budget; ahead of bulk batches only interactive ones."""
        with self._changed:
            if runner.wants_rows:
                taken = self._line.take(runner.budget.tokens)
            elif runner.bulk_is_next:
                taken = self._line.overtaking(runner.budget.tokens)
            else:
                return []
            self._taken += taken
        return taken

    def _answer_done(self, runner: BatchRunner) -> None:
        for shard in [s for s in self._taken if s.left == 0 or s.dropped]:
            with self._changed:
                self._taken.remove(shard)
            if shard.dropped:
                continue
            figures: dict[str, Any] = {
                "queued_tokens": self.queued_tokens(),
                "budget_tokens": bounds(runner.budget)[0],
                "slowdown": runner.slowdown.value,
                "busy_seconds": runner.tally.busy_seconds,
            }
            runner.tally.answered(shard)
            answer: ShardResult = result_of(shard, runner.model, **figures)
            shard.answer(answer)

    def _give_up(self, error: XinferError) -> None:
        for shard in self._taken:
            shard.answer(error)
        with self._changed:
            self._taken = []
