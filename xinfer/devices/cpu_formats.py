"""Number formats that this host's processor computes in by itself."""

from __future__ import annotations

from pathlib import Path

from xinfer.catalog.spec import Dtype

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""The kernel's words for bfloat16 dot products: x86 with AVX-512 or AMX, Arm."""


def native_dtypes(cpuinfo: Path = CPUINFO) -> tuple[Dtype, ...]:
    """float32, and bfloat16 if every core has it."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return (Dtype.FLOAT32,)
    cores = [set(words.split()) for name, _, words in (line.partition(":") for line in lines) if name.strip() in ("flags", "Features")]
    has_bfloat16 = bool(cores) and all(core & BFLOAT16 for core in cores)
    return (Dtype.FLOAT32, Dtype.BFLOAT16) if has_bfloat16 else (Dtype.FLOAT32,)
