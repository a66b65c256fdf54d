"""One onnxruntime session: threads, providers, memory, inputs by name, errors in our words."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from xinfer.cluster.device import DeviceKind, DeviceReport
from xinfer.cluster.ids import DeviceUuid
from xinfer.engines import cuda_driver, host, host_limit
from xinfer.engines.base import LoadContext
from xinfer.engines.failures import from_batch, from_load
from xinfer.errors import LaunchFailed, XinferError

KNOWN_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})

# onnxruntime's exceptions share no base but Exception.
_ORT_ERRORS: tuple[type[Exception], ...] = tuple(
    kind for kind in vars(ort_errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
)
_ERRORS: tuple[type[Exception], ...] = (*_ORT_ERRORS, RuntimeError, ValueError, TypeError, MemoryError)


class Session:
    """A graph ready to run.

    Attributes:
        inputs: names of the graph's inputs, all of them known.
        outputs: names of its outputs.
    """

    def __init__(self, file: Path, context: LoadContext) -> None:
        self._kind = context.device_kind
        self._threads = max(1, context.threads)
        providers = self._providers(context)
        self._free_before = cuda_driver.free_bytes() if self._kind is DeviceKind.GPU else 0
        failure: XinferError | None = None
        try:
            self._session: Any = ort.InferenceSession(str(file), self._options(), providers=providers)
        except _ERRORS as error:
            failure = from_load(error, file)
        if failure is not None:
            raise failure
        self._types = {node.name: node.type for node in self._session.get_inputs()}
        self.inputs = tuple(self._types)
        self.outputs = tuple(node.name for node in self._session.get_outputs())
        unknown = sorted(set(self.inputs) - KNOWN_INPUTS)
        if unknown or "input_ids" not in self.inputs:
            raise LaunchFailed(f"{file.name} asks for the inputs {', '.join(self.inputs)}; known are {', '.join(sorted(KNOWN_INPUTS))}.")

    def _options(self) -> Any:
        options = ort.SessionOptions()
        # Errors come as exceptions, and running out of memory is none worth a line.
        options.log_severity_level = 4
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # A spinning thread takes the core from the tokeniser and the event loop, which share it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # Every batch has a shape of its own: a plan per shape would only be memory.
        options.enable_mem_pattern = False
        return options

    def _providers(self, context: LoadContext) -> list[Any]:
        if self._kind is not DeviceKind.GPU:
            return ["CPUExecutionProvider"]
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            raise LaunchFailed("onnxruntime has no CUDA here; install onnxruntime-gpu on this worker, or place the model on a CPU slot.")
        limits: dict[str, Any] = {"device_id": 0, "arena_extend_strategy": "kSameAsRequested"}
        if context.memory_bytes > 0:
            limits["gpu_mem_limit"] = context.memory_bytes
        return [("CUDAExecutionProvider", limits), "CPUExecutionProvider"]

    def output(self, *preferred: str) -> str:
        """The first of ``preferred`` that the graph has, else its first output."""
        return next((name for name in preferred if name in self.outputs), self.outputs[0])

    def width(self, output: str) -> int:
        """Last dimension of an output; 0 when the graph leaves it open."""
        shape = next(node.shape for node in self._session.get_outputs() if node.name == output)
        return int(shape[-1]) if shape and isinstance(shape[-1], int) else 0

    def run(self, output: str, arrays: Mapping[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """Run one batch.

        Raises:
            OutOfMemory, EngineError.
        """
        feed = {name: array.astype(np.int32) if self._types[name] == "tensor(int32)" else array for name, array in arrays.items()}
        rows, longest = arrays["input_ids"].shape
        failure: XinferError
        try:
            result = self._session.run([output], feed)[0]
            return np.ascontiguousarray(result, dtype=np.float32)
        except _ERRORS as error:
            failure = from_batch(error, rows, longest)
        raise failure

    def release_memory(self) -> None:
        """Give back what the arena and malloc keep: the arena shrinks at the end of a run that asks for it."""
        shrink = ort.RunOptions()
        shrink.log_severity_level = 4
        shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", "gpu:0" if self._kind is DeviceKind.GPU else "cpu:0")
        one = {name: np.ones((1, 1), np.int32 if kind == "tensor(int32)" else np.int64) for name, kind in self._types.items()}
        # After an OOM even one token may find no room; the next release will.
        with contextlib.suppress(*_ERRORS):
            self._session.run([self.outputs[0]], one, shrink)
        if self._kind is not DeviceKind.GPU:
            host_limit.trim()

    def reports(self) -> tuple[DeviceReport, ...]:
        """Where the session runs; on a GPU the driver says so, and the memory is what has left its free memory since loading began."""
        if self._kind is not DeviceKind.GPU:
            return host.reports(self._kind, self._threads)
        if self._session.get_providers()[0] != "CUDAExecutionProvider":
            raise LaunchFailed("onnxruntime fell back to the CPU; its CUDA and cuDNN libraries do not match this worker's driver.")
        used = max(0, self._free_before - cuda_driver.free_bytes())
        return tuple(
            DeviceReport(DeviceUuid(seen.uuid), seen.name, self._kind, used if index == 0 else 0, host.cores(), self._threads)
            for index, seen in enumerate(cuda_driver.seen_devices())
        )

    def close(self) -> None:
        """Free the session."""
        self._session = None


def quantizes_on_the_fly(file: Path) -> bool:
    """Whether the graph scales activations by the batch's own range, so that neighbours change a score."""
    with file.open("rb") as stream:
        if file.stat().st_size == 0:
            return False
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return view.find(b"DynamicQuantizeLinear") >= 0
