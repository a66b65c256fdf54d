"""How much memory a replica needs before anyone has measured it, and sizes as people write them."""

from __future__ import annotations

import re
from fractions import Fraction

from xinfer.catalog.spec import ModelSpec
from xinfer.cluster.device import DeviceKind
from xinfer.errors import InvalidRequest

MIB = 1024**2
MIN_WORKSPACE = 512 * MIB
MAX_BYTES = 1 << 60
CUDA_WORKSPACE = 1024 * MIB
"""On a GPU, where recordings of small batches take a part of it and batches must be large to keep the device busy."""
CUDA_CONTEXT = 512 * MIB
"""What a process's CUDA context takes on the GPU beside the engine's own allocations."""

_SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*(?:([kmgt])(i?b)?|b)?\s*", re.ASCII | re.IGNORECASE)
_POWER = {"k": 1, "m": 2, "g": 3, "t": 4}


def estimate(spec: ModelSpec, engine_base_bytes: int, device_kind: DeviceKind, n_devices: int = 1) -> int:
    """Bytes to reserve on each of ``n_devices`` until the replica has measured itself.

    Weight files times 1.2, plus workspace of the larger of the weights and 512 MiB (1 GiB on a GPU), plus a base: what the engine's
    libraries take (``engine_base_bytes``) where the host's memory is the device's, a CUDA context on a GPU. Of several
    devices each has its share of the layers; a GPU has a context and a workspace of its own, the host's memory is shared out.
    A language model's workspace does not grow with its weights; its KV cache is counted whole, as it is taken at load.
    """
    kv = 0 if spec.llm is None else spec.llm.kv_bytes_per_token * spec.llm.kv_tokens
    weights = _shared(spec.weight_bytes, n_devices)
    if device_kind is DeviceKind.GPU:
        workspace = CUDA_WORKSPACE if spec.llm is not None else max(CUDA_WORKSPACE, weights)
        return weights * 6 // 5 + CUDA_CONTEXT + workspace + _shared(kv, n_devices)
    workspace = MIN_WORKSPACE if spec.llm is not None else max(MIN_WORKSPACE, spec.weight_bytes)
    return _shared(spec.weight_bytes * 6 // 5 + engine_base_bytes + workspace + kv, n_devices)


def redivided(bytes_per_device: int, before: int, after: int, device_kind: DeviceKind) -> int:
    """What a replica needs on each of ``after`` devices, of which ``bytes_per_device`` is known for ``before``."""
    if before == after:
        return bytes_per_device
    fixed = min(bytes_per_device, CUDA_CONTEXT) if device_kind is DeviceKind.GPU else 0
    return fixed + _shared((bytes_per_device - fixed) * before, after)


def _shared(size: int, n_devices: int) -> int:
    return -(-size // n_devices)


def with_headroom(measured: int) -> int:
    """Bytes to keep reserved for a replica that was measured after warm-up: a tenth more, for a restart on fragmented memory."""
    return measured * 11 // 10


def parse_bytes(value: str | int, field: str = "memory") -> int:
    """Bytes from ``2147483648``, ``"2GiB"``, ``"2G"`` (both 1024-based) or ``"2GB"`` (1000-based).

    Raises:
        InvalidRequest: not a size, not above zero, or above 1 EiB; names ``field``.
    """
    wrong = f'{field} must be a size above zero such as 2147483648, "2GiB" or "500MB", not {str(value)[:40]!r}.'
    if isinstance(value, bool):
        raise InvalidRequest(wrong, param=field)
    if isinstance(value, int):
        size = value
    else:
        match = _SIZE.fullmatch(value)
        if match is None:
            raise InvalidRequest(wrong, param=field)
        number, unit, suffix = match.groups()
        step = 1000 if (suffix or "").lower() == "b" else 1024
        size = int(Fraction(number) * (step ** _POWER[unit.lower()] if unit else 1))
    if not 0 < size <= MAX_BYTES:
        raise InvalidRequest(wrong, param=field)
    return size


def format_bytes(size: int) -> str:
    """A size for people: ``"1.5 GiB"``, ``"600 MiB"``; negative sizes keep their sign."""
    sign, amount = ("-", -size) if size < 0 else ("", size)
    if amount < 1024:
        return f"{sign}{amount} B"
    for power, unit in enumerate(("KiB", "MiB", "GiB", "TiB"), start=1):
        scaled = amount / 1024**power
        if scaled < 1000 or unit == "TiB":
            break
    text = f"{scaled:.1f}".removesuffix(".0") if scaled < 100 else f"{scaled:.0f}"
    return f"{sign}{text} {unit}"
