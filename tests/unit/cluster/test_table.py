"""The indices say what a scan of the rows would."""

from __future__ import annotations

import pickle
import random

from tests.unit.control.clusters import slot
from xinfer.cluster.ids import DeviceUuid, Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.replica import Phase, Replica
from xinfer.cluster.table import SETTLED, WAITING, ReplicaTable


def row(key: int, model: str, worker: str | None, phase: Phase) -> Replica:
    place = slot(worker, 0) if worker else None
    return Replica(ReplicaId(f"r{key}"), ModelUid(model), key, Epoch(1), phase=phase, slot=place)


def check(table: ReplicaTable, rows: dict[ReplicaId, Replica]) -> None:
    assert dict(table) == rows
    assert len(table) == len(rows)
    for model in "mno":
        assert set(table.of_model(ModelUid(model))) == {k for k, r in rows.items() if r.model_uid == model}
    for worker in "abc":
        assert set(table.on_worker(WorkerId(worker))) == {k for k, r in rows.items() if r.slot and r.slot.worker_id == worker}
    for device in ("a-gpu0", "b-gpu0", "c-gpu0"):
        assert set(table.on_device(DeviceUuid(device))) == {k for k, r in rows.items() if r.slot and device in r.slot.device_uuids}
    assert set(table.waiting()) == {k for k, r in rows.items() if r.phase in WAITING}
    assert set(table.underway()) == {k for k, r in rows.items() if r.phase not in SETTLED | WAITING}


def test_the_indices_follow_any_history_and_older_tables_stay_as_they_were() -> None:
    dice = random.Random(7)
    table, rows = ReplicaTable(), dict[ReplicaId, Replica]()
    history = []
    for _ in range(300):
        changes: dict[ReplicaId, Replica | None] = {}
        for key in dice.sample(range(20), dice.randint(1, 5)):
            new = row(key, dice.choice("mno"), dice.choice(["a", "b", "c", None]), dice.choice(list(Phase)))
            changes[new.id] = None if dice.random() < 0.3 else new
        table = table.changed(changes)
        rows = {k: r for k, r in {**rows, **changes}.items() if r is not None}
        history.append((table, rows))
    for each, expected in history:
        check(each, expected)


def test_of_is_idle_on_a_table_and_a_table_survives_pickling() -> None:
    table = ReplicaTable.of({ReplicaId("r1"): row(1, "m", "a", Phase.READY)})
    assert ReplicaTable.of(table) is table
    back = pickle.loads(pickle.dumps(table))
    check(back, dict(table))
    assert back == table
