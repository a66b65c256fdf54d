"""The thread that generates: begins answers where there is room, steps all of them together, ends those that stop or are not wanted."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from xinfer.engines.generative import GenerativeModel
from xinfer.errors import EngineError, ReplicaBusy, ReplicaLost, XinferError
from xinfer.generation.answer import Answer
from xinfer.generation.job import Emission, Generated, GenerationJob
from xinfer.serving.progress import Progress

log = logging.getLogger(__name__)

STEP_SECONDS = 1.0
"""Longest that one step waits for an engine that computes by itself."""

T = TypeVar("T")


class GenerationThread:
    """Starts at once. Everything but ``call`` and ``close`` runs on the thread itself.

    Args:
        tell: is given what each step brings, from the thread.
    """

    def __init__(self, tell: Callable[[Sequence[Emission]], None], clock: Callable[[], float]) -> None:
        self._tell = tell
        self._changed = threading.Condition()
        self._calls: deque[Callable[[], None]] = deque()
        self._model: GenerativeModel | None = None
        self._answers: dict[str, Answer] = {}
        self._closed = False
        self.progress = Progress(clock)
        self.broken: XinferError | None = None
        # A daemon: a step that never ends must not keep the process from ending.
        self._thread = threading.Thread(target=self._main, name="xinfer-generate", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Run ``work`` on the thread between two steps.

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
            if self._closed:
                raise ReplicaLost("The replica is shutting down.")
            self._calls.append(run)
            self._changed.notify()
        if self._model is not None:
            self._model.wake()
        return future

    def serve(self, model: GenerativeModel) -> None:
        """Step this model from now on."""
        self._model = model

    def begin(self, job: GenerationJob, prompt: tuple[int, ...]) -> Answer:
        """Begin one answer.

        Raises:
            InvalidItem: no room for it ever, or the engine cannot do what it asks for; ReplicaBusy: none now; ReplicaLost: broken.
        """
        model = self._serving()
        before = job.resume.tokens if job.resume else ()
        whole = model.capacity.answer_tokens(len(prompt), job.max_tokens)
        answer = Answer(job, len(prompt), max(1, whole - len(before)))
        if not model.capacity.has_room([each.holds for each in self._answers.values()], answer.holds):
            raise ReplicaBusy(f"All KV room is taken: {len(self._answers)} answers are being generated.")
        model.begin(job, prompt + before, answer.holds - len(prompt) - len(before))
        self._answers[job.key] = answer
        self.progress.began(answer, len(self._answers))
        return answer

    def cancel(self, keys: Sequence[str]) -> None:
        """End these answers; nothing more is told of them."""
        for key in keys:
            answer = self._answers.pop(key, None)
            if answer is not None and self._model is not None:
                self._model.cancel(key)
                self.progress.cancelled(answer, len(self._answers))

    def holds(self) -> int:
        """Tokens of KV room that answers hold."""
        return sum(answer.holds for answer in tuple(self._answers.values()))

    def close(self, timeout: float) -> bool:
        """End after the step in progress; answers that are not whole end with ReplicaLost. True when the thread has ended."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._model is not None:
            self._model.wake()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _serving(self) -> GenerativeModel:
        if self.broken is not None:
            raise ReplicaLost(f"The replica's engine is lost: {self.broken.message}")
        if self._model is None:
            raise ReplicaBusy("The replica is not loaded.")
        return self._model

    def _main(self) -> None:
        while self._wait():
            self._run_calls()
            if self._model is not None and self._answers and self.broken is None:
                self._step(self._model)
        self._run_calls()
        self._end_all(ReplicaLost("The replica is shutting down."))
        if self._model is not None:
            self._model.close()

    def _wait(self) -> bool:
        """Block until there is something to do; False when closed."""
        with self._changed:
            while not (self._closed or self._calls or self._answers):
                self._changed.wait()
            return not self._closed

    def _run_calls(self) -> None:
        while True:
            with self._changed:
                if not self._calls:
                    return
                run = self._calls.popleft()
            run()

    def _step(self, model: GenerativeModel) -> None:
        try:
            with self.progress.step():
                brought = model.step(STEP_SECONDS)
            self._take(model, brought)
        except ReplicaLost as error:
            self.broken = error
            self._end_all(error)
        # The border of the replica: the callers must hear of it, and the thread must live.
        except Exception as error:
            log.exception("a step failed")
            for key in self._answers:
                model.cancel(key)
            self._end_all(EngineError(f"The engine failed: {type(error).__name__}: {error}"))

    def _take(self, model: GenerativeModel, brought: Sequence[Generated]) -> None:
        told = []
        for generated in brought:
            answer = self._answers.get(generated.key)
            if answer is None:
                continue  # cancelled meanwhile
            told.append(answer.take(generated))
            self.progress.came(answer, generated)
            if answer.ended:
                del self._answers[generated.key]
                if generated.finish is None and generated.error is None:  # a stop string, of which the engine knows nothing
                    model.cancel(generated.key)
                self.progress.ended(answer, len(self._answers))
        if told:
            self._tell(told)

    def _end_all(self, error: XinferError) -> None:
        ended = [answer.take(Generated(key, error=error)) for key, answer in self._answers.items()]
        self._answers.clear()
        if ended:
            self._tell(ended)
