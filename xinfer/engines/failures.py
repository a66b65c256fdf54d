"""What an engine's exceptions mean: out of memory, a broken device, or an error of one batch."""

from __future__ import annotations

from pathlib import Path

from xinfer.errors import EngineError, LaunchFailed, OutOfMemory, XinferError

_OUT_OF_MEMORY = (
    "out of memory",
    "DefaultCPUAllocator",
    "not enough memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "BFCArena",
    "could not create a memory",
)
_NO_ROOM_FOR_KERNEL = "could not create a primitive"
"""All that oneDNN says when a scratchpad or a compiled kernel finds no room; what it cannot do at all is a primitive descriptor.

oneDNN 3.12 leaves an error behind then that ends every later kernel of the same thread (uxlfoundation/oneDNN#5907).
"""
_BROKEN = ("CUDA error", "CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED", "CUDA failure")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may go through."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return first_line(error) == _NO_ROOM_FOR_KERNEL or any(phrase in text for phrase in _OUT_OF_MEMORY)


def from_batch(error: Exception, items: int, longest: int) -> XinferError:
    """The error of one forward pass. It holds no traceback, hence none of the tensors that the frames hold.

    ``details["fatal"]`` is set when the device is broken for this process and only a restart helps;
    ``details["spoils_thread"]`` when the thread may fail from now on, and another would not.
    """
    if is_out_of_memory(error):
        spoils = first_line(error) == _NO_ROOM_FOR_KERNEL
        text = f"A batch of {items} items of up to {longest} tokens does not fit into memory."
        return OutOfMemory(text, items=items, longest=longest, spoils_thread=spoils)
    fatal = any(phrase in str(error) for phrase in _BROKEN)
    return EngineError(f"The model failed on the batch: {type(error).__name__}: {first_line(error)}", fatal=fatal)


def from_load(error: Exception, path: Path) -> XinferError:
    """The error of loading the weights at ``path``."""
    kind = OutOfMemory if is_out_of_memory(error) else LaunchFailed
    return kind(f"{path.name} could not be loaded: {type(error).__name__}: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """The first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no message"
