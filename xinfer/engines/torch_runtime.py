"""torch in one process: device, threads, number format, memory limit, the report of what it sees."""

from __future__ import annotations

import gc
import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import transformers
from safetensors import SafetensorError

from xinfer.catalog.spec import Dtype
from xinfer.cluster.device import DeviceKind, DeviceReport
from xinfer.cluster.ids import DeviceUuid
from xinfer.cluster.memory import CUDA_CONTEXT
from xinfer.engines import cuda_driver, host, host_limit, torch_onednn
from xinfer.engines.base import Encoded, Finished, LoadContext, LoadedModel, Pending
from xinfer.engines.failures import from_batch, from_load
from xinfer.engines.layer_split import Split
from xinfer.engines.tokens import TextTokenizer, pad
from xinfer.engines.torch_recorded import Recorded, Shape
from xinfer.engines.torch_rows import Rows, blank_rows, filler, join, starts_of
from xinfer.engines.torch_split import spread
from xinfer.engines.torch_staging import Staging
from xinfer.engines.torch_unpadded import Unpadded
from xinfer.errors import LaunchFailed, XinferError

DTYPES = {Dtype.FLOAT32: torch.float32, Dtype.FLOAT16: torch.float16, Dtype.BFLOAT16: torch.bfloat16}

LOAD_ERRORS = (SafetensorError, OSError, RuntimeError, ValueError, LookupError, ImportError, AttributeError, TypeError, MemoryError)
BATCH_ERRORS = (RuntimeError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, AssertionError, MemoryError)

Loaded = TypeVar("Loaded")


def prepare(context: LoadContext) -> tuple[torch.device, ...]:
    """Settle threads, devices and memory limits before anything is loaded.

    Returns:
        One for each device that the replica is bound to; simulated GPUs are as many names for the CPU. CPU slots are one
        device together: their cores and threads serve every layer.

    Raises:
        LaunchFailed: fewer CUDA devices than were promised, or a number format that one of them has not.
    """
    verbosity: Any = transformers.logging
    verbosity.set_verbosity_error()
    verbosity.disable_progress_bar()
    logging.captureWarnings(True)
    if context.device_kind is not DeviceKind.GPU:
        if context.spec.dtype is Dtype.FLOAT16:
            raise LaunchFailed("dtype: float16 is not offered on the CPU; choose float32 or bfloat16.")
        if context.threads > 0:
            torch.set_num_threads(context.threads)
        return (torch.device("cpu"),) * (1 if context.device_kind is DeviceKind.CPU else len(context.device_uuids))
    if not torch.cuda.is_available():
        raise LaunchFailed(f"torch {torch.__version__} sees no CUDA device; install torch's CUDA build on this worker.")
    count = len(context.device_uuids)
    if torch.cuda.device_count() < count:
        raise LaunchFailed(f"The replica is bound to {count} GPUs and torch sees {torch.cuda.device_count()}.")
    torch.cuda.set_device(0)
    for index in range(count):
        if context.memory_bytes > 0:
            total = torch.cuda.get_device_properties(index).total_memory
            torch.cuda.set_per_process_memory_fraction(fraction_of(context.memory_bytes, total), index)
        with torch.cuda.device(index):
            if context.spec.dtype is Dtype.BFLOAT16 and not torch.cuda.is_bf16_supported():
                raise LaunchFailed("dtype: this GPU has no bfloat16; choose float16 or float32.")
    return tuple(torch.device("cuda", index) for index in range(count))


def fraction_of(reserved: int, total: int) -> float:
    """The part of a card's ``total`` bytes that torch may allocate where ``reserved`` bytes hold the CUDA context too; 0 to 1."""
    return min(1.0, max(0.0, (reserved - CUDA_CONTEXT) / total))


def loads_on(devices: Sequence[torch.device]) -> torch.device:
    """Where weights are read to: one that is to be divided need not fit a device as a whole."""
    return devices[0] if len(devices) == 1 else torch.device("cpu")


def divided(model: Any, devices: Sequence[torch.device], context: LoadContext) -> Split | None:
    """Move a transformers model to its devices; how it was divided, None for one device.

    Raises:
        LaunchFailed: as ``torch_split.spread``.
    """
    return spread(model, devices, context.memory_bytes if context.device_kind is DeviceKind.GPU else 0)


def load_guarded(path: Path, load: Callable[[], Loaded]) -> Loaded:
    """Run ``load`` and speak of what it raises in our own errors.

    Raises:
        LaunchFailed, OutOfMemory.
    """
    failure: XinferError
    try:
        return load()
    except LOAD_ERRORS as error:
        failure = from_load(error, path)
        cause = error.with_traceback(None)
    raise failure from cause


def weights_kwargs(dtype: Dtype) -> dict[str, Any]:
    """The keyword that transformers takes the number format by, which changed its name in 4.56."""
    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return {"dtype" if (major, minor) >= (4, 56) else "torch_dtype": DTYPES[dtype]}


def text_tokenizer(tokenizer: Any, max_tokens: int) -> TextTokenizer:
    """Our tokeniser around transformers' one.

    Raises:
        LaunchFailed: the model has no fast tokeniser.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise LaunchFailed(f"The model's tokeniser ({type(tokenizer).__name__}) has no fast version; add a tokenizer.json to its files.")
    names = getattr(tokenizer, "model_input_names", ())
    return TextTokenizer(backend, max_tokens, getattr(tokenizer, "truncation_side", "right"), "token_type_ids" in names)


def pad_id_of(tokenizer: Any) -> int:
    """Any id serves where none is set: padding is masked."""
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return int(candidate)
    return 0


class TorchModel(LoadedModel):
    """A model on one torch device, or with its layers on several. Subclasses tokenise, and compute from tensors.

    Attributes:
        device: where batches go in and answers come out.
        split: how the layers were divided over several devices.
        unpadded, recorded: ways to compute that were found to pay; None = not used.
    """

    def __init__(self, context: LoadContext, device: torch.device, tokenizer: TextTokenizer, pad_id: int) -> None:
        self._kind = context.device_kind
        self._tokenizer = tokenizer
        self._pad_id = pad_id
        self._names = ["input_ids", "attention_mask", *(["token_type_ids"] if tokenizer.type_ids else [])]
        self._staging = Staging(device) if device.type == "cuda" else None
        self.in_flight = 1 if self._staging is None else 2
        self.unpadded: Unpadded | None = None
        self.recorded: Recorded | None = None
        self.split: Split | None = None
        self.device, self.dtype, self.vocabulary = device, DTYPES[context.spec.dtype], tokenizer.vocabulary
        torch_onednn.bound_kernels()
        self.tune = bool(context.options.get("tune", True))
        self.max_tokens = tokenizer.max_tokens
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high" if context.options.get("tf32") else "highest")

    @property
    @abstractmethod
    def transformer(self) -> Any:
        """The transformers model whose layers do the work."""

    @abstractmethod
    def compute(self, inputs: Mapping[str, torch.Tensor], rows: Rows) -> torch.Tensor:
        """Scores (n,) or vectors (n, dim) of inputs (n, longest) padded on the right, or (1, tokens) where the rows are joined.

        Of joined rows the transformer gives padded states.
        """

    @abstractmethod
    def unload(self) -> None:
        """Drop the weights."""

    def forward(self, batch: Sequence[Encoded]) -> npt.NDArray[np.float32]:
        """One batch; see the base class."""
        return self.launch(batch).result()

    def launch(self, batch: Sequence[Encoded]) -> Pending:
        """Start one batch; see the base class."""
        failure: XinferError
        try:
            return self._launch(batch)
        except BATCH_ERRORS as error:
            failure = from_batch(error, len(batch), max(item.tokens for item in batch))
        # Raised out here: within the block the traceback would keep the failed batch's tensors alive.
        raise failure

    @torch.inference_mode()
    def _launch(self, batch: Sequence[Encoded]) -> Pending:
        count = len(batch)
        shape = self._shape_for(batch)
        arrays, lengths = self._laid_out(batch, shape)
        if self._staging is None:
            result = self._run({name: torch.from_numpy(array) for name, array in arrays.items()}, lengths, shape)[:count]
            return Finished(np.ascontiguousarray(result.numpy(), dtype=np.float32))
        slot = self._staging.begin()
        try:
            result = self._run(self._staging.send(slot, arrays), lengths, shape)[:count]
            return OnDevice(slot.done, self._staging.fetch(slot, result), lengths)
        finally:
            self._staging.end(slot)

    def _shape_for(self, batch: Sequence[Encoded]) -> Shape | None:
        return None if self.recorded is None else self.recorded.fitting([item.tokens for item in batch])

    def _laid_out(self, batch: Sequence[Encoded], shape: Shape | None) -> tuple[dict[str, npt.NDArray[np.int64]], tuple[int, ...]]:
        """The arrays of a batch and the tokens of its rows, those of no meaning among them."""
        lengths = tuple(item.tokens for item in batch)
        if self.unpadded is None:
            return {**pad(batch, self._pad_id, self._names), "starts": starts_of(lengths)}, lengths
        blank = filler(lengths) if shape is None else blank_rows(shape.tokens - sum(lengths), shape.longest)
        lengths += tuple(item.tokens for item in blank)
        arrays = join([*batch, *blank], self._names, self.unpadded.position_pad)
        return {**arrays, "starts": starts_of(lengths) if shape is None else shape.starts(lengths)}, lengths

    def _run(self, inputs: dict[str, torch.Tensor], lengths: tuple[int, ...], shape: Shape | None) -> torch.Tensor:
        if shape is not None and self.recorded is not None:
            return self.recorded.replay(shape, inputs)
        return self.computed(inputs, Rows.of(lengths, inputs.pop("starts").to(torch.int32), self.unpadded is not None))

    def computed(self, inputs: Mapping[str, torch.Tensor], rows: Rows) -> torch.Tensor:
        """As ``compute``, float32, the rows joined or padded as they say."""
        if not rows.joined or self.unpadded is None:
            return self.compute(inputs, rows).float()
        with self.unpadded.running(rows):
            return self.compute(inputs, rows).float()

    def joined_inputs(self) -> list[str]:
        """Names of the (1, tokens) inputs that the model takes of joined rows."""
        return [name for name in (*self._names, "position_ids") if name != "attention_mask"]

    def reports(self) -> tuple[DeviceReport, ...]:
        """Every device that this process's torch has; see the base class."""
        if self.device.type == "cpu":
            return host.reports(self._kind, torch.get_num_threads())
        return tuple(_cuda_report(index, self._kind) for index in range(torch.cuda.device_count()))

    def release_memory(self) -> None:
        """Give back torch's cached CUDA blocks, or what malloc keeps."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        else:
            host_limit.trim()

    def close(self) -> None:
        """Drop the weights and what is cached."""
        self.unload()
        if self.recorded is not None:
            self.recorded.close()
        self.recorded = self.unpadded = self._staging = None
        gc.collect()  # modules and what wraps them hold each other
        self.release_memory()


@dataclass(frozen=True, slots=True)
class OnDevice(Pending):
    """A batch on a CUDA device, its answer on the way to ``answer``."""

    done: Any
    answer: torch.Tensor
    lengths: tuple[int, ...]

    def result(self) -> npt.NDArray[np.float32]:
        """The one wait of a batch; see the base class."""
        failure: XinferError
        try:
            self.done.synchronize()
            return self.answer.numpy().copy()
        except BATCH_ERRORS as error:
            failure = from_batch(error, len(self.lengths), max(self.lengths))
        raise failure


def _cuda_report(index: int, kind: DeviceKind) -> DeviceReport:
    properties = torch.cuda.get_device_properties(index)
    name = f"GPU-{properties.uuid}"
    if any(visible.startswith("MIG-") for visible in host.visible_devices()):
        # torch names the GPU that an instance is a part of; the driver names the instance.
        name = cuda_driver.seen_devices()[index].uuid
    reserved = torch.cuda.memory_reserved(index)
    used = reserved + CUDA_CONTEXT if reserved else 0
    return DeviceReport(DeviceUuid(name), properties.name, kind, used, host.cores(), torch.get_num_threads())
