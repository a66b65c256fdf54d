"""The spelling of ``--simulate-gpus``."""

from __future__ import annotations

import re

from xinfer.errors import ConfigError
from xinfer.settings import SimulatedGpus

_UNITS = {"": 2**30, "mb": 10**6, "gb": 10**9, "tb": 10**12, "m": 2**20, "g": 2**30, "t": 2**40, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SPELLING = re.compile(r"\s*(\d{1,9})\s*[xX×]\s*(\d{1,9}(?:\.\d{1,9})?)\s*([a-zA-Z]*)\s*", re.ASCII)
MAX_SIMULATED = 1024


def parse_simulated(text: str, flag: str = "--simulate-gpus") -> SimulatedGpus:
    """Read ``4x24GiB``: a count and the memory of each; a bare number means GiB.

    Raises:
        ConfigError: another spelling, no device, no memory, or more than 1,024 devices.
    """
    match = _SPELLING.fullmatch(text)
    unit = _UNITS.get(match[3].lower()) if match else None
    if match is None or unit is None:
        raise ConfigError(f"{flag} must be COUNTxMEMORY, such as 4x24GiB, not {text[:80]!r}.", param=flag)
    count, total = int(match[1]), int(float(match[2]) * unit)
    if not 1 <= count <= MAX_SIMULATED:
        raise ConfigError(f"{flag} must ask for 1 to {MAX_SIMULATED} devices, not {count}.", param=flag)
    if total < 2**20:
        raise ConfigError(f"{flag} must give each device at least 1MiB, not {match[2]}{match[3]}.", param=flag)
    return SimulatedGpus(count, total)
