"""What replicas measured and chose: kept by the supervisor, handed to later ones. A help only: no failure of it stops anything."""

from __future__ import annotations

from dataclasses import replace

import structlog

from xinfer.cluster.deployment import Deployment
from xinfer.cluster.device import kept_under
from xinfer.cluster.replica import Assignment, Replica
from xinfer.cluster.snapshot import Snapshot
from xinfer.control.events import ReplicaReady
from xinfer.errors import StoreError
from xinfer.store.figures import Figures

log = structlog.get_logger(__name__)

ALIKE = 1.5
"""Two calibrations of equal replicas that differ by less differ by noise."""


class Keeper:
    """Between the store's figures and the snapshots."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def prepared(self, assignment: Assignment, snapshot: Snapshot) -> Assignment:
        """With the calibration of an equal replica on such a device, if there is one."""
        name = _place_name(snapshot, assignment.replica)
        if assignment.dtype_open or not name:
            return assignment
        try:
            found = self._figures.calibration(assignment.spec, assignment.options, name)
        except StoreError as error:
            log.warning("calibration not found out", reason=error.message)
            return assignment
        return replace(assignment, calibration=found)

    def levelled(self, event: ReplicaReady, snapshot: Snapshot) -> ReplicaReady:
        """With the speed of an equal replica that calibrated before, where the two differ by noise: equals get equal work."""
        replica, deployment = _known(snapshot, event)
        name = "" if replica is None else _place_name(snapshot, replica)
        if deployment is None or deployment.dtype_open or not name or event.calibration is None:
            return event
        try:
            found = self._figures.calibration(deployment.spec, deployment.options, name)
        except StoreError:
            return event
        if found is None or found.device != event.calibration.device or found.threads != event.calibration.threads:
            return event
        if not event.speed / ALIKE < found.speed < event.speed * ALIKE:
            return event
        return replace(event, speed=found.speed, calibration=found)

    def keep(self, event: ReplicaReady, before: Snapshot, after: Snapshot) -> None:
        """Remember the memory, the calibration and, if it was open until now, the dtype of a replica that became ready."""
        replica, deployment = _known(after, event)
        name = "" if replica is None else _device_name(after, replica)
        if replica is None or deployment is None or not name or replica.epoch != event.epoch:
            return
        place = _place_name(after, replica)
        was = before.deployments.get(deployment.uid)
        decided = was is not None and bool(was.dtype_open) and not deployment.dtype_open
        if decided:
            log.info("dtype chosen", model=deployment.uid, dtype=deployment.spec.dtype.value, why=deployment.dtype_why, device=name)
        try:
            if event.reserved_bytes and event.reports:
                self._figures.record(deployment.spec, place, event.reserved_bytes)
            if decided:
                self._figures.choose(deployment.spec, name, deployment.dtype_why)
            if event.calibration is not None:
                self._figures.calibrate(deployment.spec, deployment.options, place, event.calibration)
        except StoreError as error:
            log.warning("measurement not kept", reason=error.message)


def _known(snapshot: Snapshot, event: ReplicaReady) -> tuple[Replica | None, Deployment | None]:
    replica = snapshot.replicas.get(event.replica_id)
    return replica, None if replica is None else snapshot.deployments.get(replica.model_uid)


def _place_name(snapshot: Snapshot, replica: Replica) -> str:
    """The devices of its slot together, by which memory and speed are kept; "" where that cannot be said."""
    name = _device_name(snapshot, replica)
    return kept_under(name, len(replica.slot.device_uuids)) if name and replica.slot is not None else ""


def _device_name(snapshot: Snapshot, replica: Replica) -> str:
    """The names of its slot's devices as their worker lists them; "" where that cannot be said."""
    worker = snapshot.workers.get(replica.slot.worker_id) if replica.slot is not None else None
    if worker is None or replica.slot is None:
        return ""
    devices = [worker.device(uuid) for uuid in replica.slot.device_uuids]
    return ", ".join(sorted({device.name for device in devices if device is not None}))
