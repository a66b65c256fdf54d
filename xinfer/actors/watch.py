"""What the supervisor tells those who watch: numbered changes of the cluster, and the last reading of each worker."""

from __future__ import annotations

from dataclasses import dataclass

from xinfer.cluster.ids import Epoch, WorkerId
from xinfer.cluster.journal import Change, Journal
from xinfer.cluster.reading import Reading
from xinfer.cluster.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class News:
    """What is new to a watcher.

    Attributes:
        epoch: of the supervisor; ``number``: of its last change.
        changes: those after the one that was named; None = they are no longer known, look at the whole cluster.
        readings: by worker, those that came after ``serial`` of the question; ``serial`` is for the next one.
    """

    epoch: Epoch
    number: int
    changes: tuple[Change, ...] | None
    readings: tuple[tuple[WorkerId, Reading], ...] = ()
    serial: int = 0


@dataclass(frozen=True, slots=True)
class Whole:
    """The whole cluster, and which change was its last."""

    number: int
    snapshot: Snapshot


class Watch:
    """Owned by the supervisor."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.journal = Journal(snapshot)
        self._epoch = snapshot.epoch
        self._readings: dict[WorkerId, tuple[int, Reading]] = {}
        self._serial = 0

    def heard(self, worker_id: WorkerId, reading: Reading | None) -> None:
        """A heartbeat has brought a reading."""
        if reading is not None:
            self._serial += 1
            self._readings[worker_id] = (self._serial, reading)

    def moved_on(self, snapshot: Snapshot, now: float) -> None:
        """The cluster is in another state."""
        self.journal.advance(snapshot, now)
        if len(self._readings) > len(snapshot.workers):
            self._readings = {worker: read for worker, read in self._readings.items() if worker in snapshot.workers}

    def history(self, epoch: Epoch, number: int) -> News:
        """Changes after ``number`` of that epoch; all that are kept where that is not known."""
        since = self.journal.since(number) if epoch == self._epoch else None
        return News(self._epoch, self.journal.number, self.journal.all() if since is None else since)

    def is_new(self, epoch: Epoch, number: int, serial: int) -> bool:
        """Whether there is anything to tell."""
        return (epoch, number) != (self._epoch, self.journal.number) or serial != self._serial

    def news(self, epoch: Epoch, number: int, serial: int) -> News:
        """All that came after ``number`` of that epoch."""
        same = epoch == self._epoch
        heard = sorted((at, worker, reading) for worker, (at, reading) in self._readings.items() if not same or at > serial)
        return News(
            epoch=self._epoch,
            number=self.journal.number,
            changes=self.journal.since(number) if same else None,
            readings=tuple((worker, reading) for _, worker, reading in heard),
            serial=self._serial,
        )
