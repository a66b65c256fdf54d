"""An NVML that has the cards a test gives it."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """Any failure of the driver."""


@dataclass
class FakeCard:
    """A GPU or a MIG device; ``fail`` names the calls that raise."""

    uuid: str
    name: str = "NVIDIA H100"
    total: int = 80 * 2**30
    free: int = 70 * 2**30
    busy: int = 25
    bus: int = 0
    mig: list[FakeCard | None] | None = None
    capability: tuple[int, int] = (9, 0)
    processes: list[tuple[int, int | None]] = field(default_factory=list)
    fail: set[str] = field(default_factory=set)


class FakeNvml:
    """The functions of pynvml that we call."""

    NVMLError = NVMLError

    def __init__(self, cards: list[FakeCard], driver: bool = True) -> None:
        self.cards = cards
        self.driver = driver
        self.open = 0

    def nvmlInit(self) -> None:
        if not self.driver:
            raise NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeCard:
        return self._ask(self.cards[index], "handle")

    def nvmlDeviceGetPciInfo(self, card: FakeCard) -> Any:
        return SimpleNamespace(domain=0, bus=self._ask(card, "pci").bus, device=0)

    def nvmlDeviceGetUUID(self, card: FakeCard) -> str:
        return self._ask(card, "uuid").uuid

    def nvmlDeviceGetName(self, card: FakeCard) -> bytes:
        return self._ask(card, "name").name.encode()

    def nvmlDeviceGetCudaComputeCapability(self, card: FakeCard) -> list[int]:
        return list(self._ask(card, "capability").capability)

    def nvmlDeviceGetMemoryInfo(self, card: FakeCard) -> Any:
        self._ask(card, "memory")
        return SimpleNamespace(total=card.total, free=card.free, used=card.total - card.free)

    def nvmlDeviceGetUtilizationRates(self, card: FakeCard) -> Any:
        return SimpleNamespace(gpu=self._ask(card, "utilization").busy)

    def nvmlDeviceGetMigMode(self, card: FakeCard) -> list[int]:
        if card.mig is None:
            raise NVMLError("Not Supported")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, card: FakeCard) -> int:
        return len(card.mig or [])

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: FakeCard, index: int) -> FakeCard:
        part = (card.mig or [])[index]
        if part is None:
            raise NVMLError("Not Found")
        return part

    def nvmlDeviceGetComputeRunningProcesses(self, card: FakeCard) -> list[Any]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self._ask(card, "processes").processes]

    def _ask(self, card: FakeCard, call: str) -> FakeCard:
        if call in card.fail or "lost" in card.fail:
            raise NVMLError("GPU is lost")
        return card
