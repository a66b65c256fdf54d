"""A GGUF file in memory: llama.cpp's server in this process, one stream for each answer."""

from __future__ import annotations

import contextlib
import queue
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xllamacpp

from xinfer.catalog.spec import LlmTraits
from xinfer.cluster.capacity import Capacity
from xinfer.cluster.device import DeviceKind, DeviceReport
from xinfer.cluster.ids import DeviceUuid
from xinfer.engines import cuda_driver, host
from xinfer.engines.base import LoadContext
from xinfer.engines.generative import GenerativeModel
from xinfer.engines.llamacpp_client import Client, Event
from xinfer.errors import EngineError, InvalidItem, LaunchFailed, XinferError
from xinfer.generation.job import Finish, Generated, GenerationJob, Sampling, TokenLogprob

ALL_LAYERS = 9999
RANDOM_SEED = 2**32 - 1
QUIET = 2
"""Of llama.cpp's levels: errors and warnings."""


@dataclass(slots=True)
class _Going:
    """One answer; ``top``: likeliest tokens to tell with each, ``cached``: tokens of its prompt that were in the KV cache."""

    top: int
    cached: int = 0


COMPACT = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
"""Of llguidance, which llama.cpp hands schemas to: no blanks but these, as small models get lost in them."""

Happened = tuple[str, Event | Exception]


class LlamaCppModel(GenerativeModel):
    """Made by ``load``.

    Args:
        folder: of the socket; goes with the model.
    """

    def __init__(self, server: Any, client: Client, folder: Path, context: LoadContext, capacity: Capacity) -> None:
        self.capacity = capacity
        self.compute_path = "llama.cpp"
        self._server = server
        self._client = client
        self._folder = folder
        self._context = context
        self._happened: queue.SimpleQueue[Happened | None] = queue.SimpleQueue()
        self._going: dict[str, _Going] = {}

    def encode(self, job: GenerationJob) -> tuple[int, ...]:
        """Token ids, in the template of the file."""
        text: str | tuple[int, ...] = job.prompt
        if job.messages:
            body = {"messages": job.messages, "tools": list(job.tools) or None, "chat_template_kwargs": dict(job.template_options)}
            text = str(self._client.ask("/apply-template", {name: value for name, value in body.items() if value})["prompt"])
        if not isinstance(text, str):
            return text
        found = self._client.ask("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]
        if not found:
            raise InvalidItem("prompt must not be empty: this model needs a token to begin with.", param="prompt")
        return tuple(found)

    def begin(self, job: GenerationJob, prompt: tuple[int, ...], max_tokens: int) -> None:
        """One more stream."""
        self._going[job.key] = _Going(job.sampling.logprobs or 0)
        body = {
            "prompt": prompt,
            "n_predict": max_tokens,
            "ignore_eos": job.ignore_end,
            "stream": True,
            "return_tokens": True,
            "return_progress": True,
            "cache_prompt": True,
            **_sampling(job.sampling, self.capacity.context_tokens),
            **({} if job.schema is None else {"json_schema": {**job.schema, **COMPACT}}),
        }
        self._client.stream(job.key, body, lambda key, event: self._happened.put((key, event)))

    def step(self, timeout: float) -> list[Generated]:
        """Wait for what comes; the server computes by itself."""
        end = time.monotonic() + timeout
        brought: list[Generated] = []
        woken = False
        while not brought and not woken and (left := end - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                woken = not self._take(self._happened.get(timeout=left), brought)
        while True:  # and what else has come
            try:
                self._take(self._happened.get_nowait(), brought)
            except queue.Empty:
                return brought

    def _take(self, happened: Happened | None, brought: list[Generated]) -> bool:
        """False if it is only a call to wake up."""
        if happened is None:
            return False
        key, event = happened
        generated = self._generated(key, event) if key in self._going else None
        if generated is not None:
            brought.append(generated)
        return True

    def _generated(self, key: str, event: Event | Exception) -> Generated | None:
        if isinstance(event, Exception):
            del self._going[key]
            return Generated(key, error=event if isinstance(event, XinferError) else EngineError(str(event)))
        if "prompt_progress" in event:  # with a token of no meaning
            self._going[key].cached = int(event["prompt_progress"].get("cache", 0))
            return None
        finish = None
        if event["stop"]:
            finish = Finish.LENGTH if event.get("stop_type") == "limit" else Finish.STOP
        going = self._going[key] if finish is None else self._going.pop(key)
        logprobs = tuple(_logprob(each, going.top) for each in event.get("completion_probabilities", ()))
        return Generated(key, tuple(event["tokens"]), event["content"], logprobs, going.cached, finish)

    def cancel(self, key: str) -> None:
        """Hang up."""
        if self._going.pop(key, None) is not None:
            self._client.cancel(key)

    def wake(self) -> None:
        """End a ``step`` that waits."""
        self._happened.put(None)

    def reports(self) -> tuple[DeviceReport, ...]:
        """The process itself on the CPU; on a GPU what the driver says of it, with what the file and the KV cache take."""
        context = self._context
        if context.device_kind is not DeviceKind.GPU:
            return host.reports(context.device_kind, context.threads)
        traits = context.spec.llm or LlmTraits()
        used = context.spec.weight_bytes + traits.kv_bytes_per_token * self.capacity.kv_tokens
        return tuple(
            DeviceReport(DeviceUuid(seen.uuid), seen.name, context.device_kind, used, host.cores(), context.threads)
            for seen in cuda_driver.seen_devices()
        )

    def close(self) -> None:
        """End all answers and free the weights."""
        self._client.close()
        del self._server
        shutil.rmtree(self._folder, ignore_errors=True)


def load(context: LoadContext) -> LlamaCppModel:
    """Load the file and take the KV cache.

    Raises:
        LaunchFailed: no such file, or llama.cpp cannot read it or finds no room.
    """
    file = context.path / context.spec.gguf_file if context.path.is_dir() else context.path
    if not file.is_file():
        raise LaunchFailed(f"model_path: {file} is not a GGUF file on this worker.")
    folder = Path(tempfile.mkdtemp(prefix="xinfer-llamacpp-"))  # for this user alone
    traits = context.spec.llm or LlmTraits()
    kv_tokens = traits.kv_tokens
    params = _params(context, file, folder / "llama.sock", kv_tokens, traits.sequences)
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise LaunchFailed(f"llama.cpp cannot load {file.name} with room for {kv_tokens:,} tokens; the replica's log says why.") from error
    client = Client(folder / "llama.sock")
    capacity = Capacity(min(traits.context_tokens, kv_tokens), kv_tokens, traits.sequences)
    return LlamaCppModel(server, client, folder, context, capacity)


def _params(context: LoadContext, file: Path, socket: Path, kv_tokens: int, places: int) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.hostnames = [str(socket)]  # a path, as its name ends in .sock
    params.n_ctx, params.n_parallel, params.kv_unified = kv_tokens, places, True
    params.fit_params = False  # room is what was reserved, not what is found
    params.cache_ram_mib = 0
    params.n_gpu_layers = ALL_LAYERS if context.device_kind is DeviceKind.GPU else 0
    params.warmup = False
    params.use_jinja = True
    params.ui = False
    params.verbosity = QUIET
    # An idle connection costs nothing, an answer one: those that wait must not wait for a thread.
    params.n_threads_http = places + 8
    if context.threads > 0:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = context.threads
    return params


def _sampling(sampling: Sampling, context_tokens: int) -> dict[str, Any]:
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": context_tokens,
        "seed": RANDOM_SEED if sampling.seed is None else sampling.seed,
        "samplers": ["penalties", "top_k", "top_p", "min_p", "temperature"],
        **({} if sampling.logprobs is None else {"n_probs": max(1, sampling.logprobs)}),
    }


def _logprob(event: Any, count: int) -> TokenLogprob:
    top = tuple((each["token"], each["logprob"], bytes(each["bytes"])) for each in event.get("top_logprobs", ())[:count])
    return TokenLogprob(event["token"], event["logprob"], bytes(event["bytes"]), top)
