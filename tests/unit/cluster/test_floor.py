"""What steps carry on is what a look at everything would give: room, and who shares it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.support.nouns import GIB, replica, slot, worker
from xinfer.cluster.floor import Floor
from xinfer.cluster.ids import Address, ReplicaId, WorkerId
from xinfer.cluster.ledger import usage
from xinfer.cluster.replica import Phase, Replica
from xinfer.cluster.snapshot import Snapshot, floor_of
from xinfer.cluster.table import ReplicaTable
from xinfer.cluster.worker import Worker, WorkerState

NAMES = "abcd"


@st.composite
def a_worker(draw: st.DrawFn) -> Worker:
    """Some share a memory, some list a card that another one lists too."""
    name = draw(st.sampled_from(NAMES))
    gpus = draw(st.integers(0, 3))
    free = {i: draw(st.integers(0, 24)) * GIB for i in range(gpus) if draw(st.booleans())}
    shared = None if name == "a" else draw(st.sampled_from([None, None, "host"]))  # a card is of one domain, whoever lists it
    made = worker(name, gpus, free=free, domain=shared, state=draw(st.sampled_from(WorkerState)))
    if draw(st.booleans()):
        twin = worker("a", 1).devices[0]
        made = replace(made, devices=(*made.devices, twin) if twin not in made.devices else made.devices)
    return replace(made, address=Address(f"10.0.0.{draw(st.integers(1, 3))}:1"))


@st.composite
def a_replica(draw: st.DrawFn) -> Replica:
    where = draw(st.one_of(st.none(), st.builds(slot, st.sampled_from(NAMES), st.integers(0, 3))))
    fields = {"phase": draw(st.sampled_from(Phase)), "loaded": draw(st.booleans())}
    return replica(draw(st.sampled_from("mn")), draw(st.integers(0, 5)), where, draw(st.integers(1, 9)) * GIB, **fields)


Change = Worker | WorkerId | Replica | ReplicaId
changes = st.lists(
    st.one_of(
        a_worker(),
        a_worker(),
        a_replica(),
        a_replica(),
        a_replica(),
        st.sampled_from(NAMES).map(lambda name: ("gone", WorkerId(name))),
        st.builds(lambda model, n: ("dropped", ReplicaId(f"{model}-{n}")), st.sampled_from("mn"), st.integers(0, 5)),
    ),
    min_size=1,
    max_size=25,
)


@given(changes, st.integers(1, 4))
def test_what_is_carried_on_is_what_a_look_at_everything_gives(every: list[object], at_once: int) -> None:
    workers: dict[WorkerId, Worker] = {}
    table = ReplicaTable()
    floor = Floor.of(workers, table)
    for start in range(0, len(every), at_once):
        workers, rows = dict(workers), dict[ReplicaId, Replica | None]()
        changed: set[WorkerId] = set()
        for change in every[start : start + at_once]:
            match change:
                case Worker():
                    workers[change.id] = change
                    changed.add(change.id)
                case Replica():
                    rows[change.id] = change
                case ("gone", key):
                    workers.pop(key, None)
                    changed.add(key)
                case ("dropped", key):
                    rows[key] = None
        table = table.changed(rows)
        floor = floor.after(workers, table, changed, rows)
        agrees(floor, workers, table)


def agrees(floor: Floor, workers: dict[WorkerId, Worker], table: ReplicaTable) -> None:
    plain = usage(Snapshot(workers=workers, replicas=table))
    assert floor.standings == Floor.of(workers, table).standings
    assert floor.standings.keys() == workers.keys()
    assert list(floor.order) == sorted((-floor.standings[w.id].widest, w.address, w.id) for w in workers.values())
    for each in workers.values():
        rooms = [plain.room(device) for device in each.devices]
        assert list(floor.standings[each.id].rooms) == sorted(rooms, reverse=True)
        assert floor.standings[each.id].widest == max((r / d.total_bytes for r, d in zip(rooms, each.devices, strict=True)), default=0.0)
        local = floor.usage(each.id)
        for device in each.devices:
            assert local.room(device) == plain.room(device)
            assert local.models(device.uuid) == plain.models(device.uuid)
            assert local.reserved(device.uuid) == plain.reserved(device.uuid)
        for model in {row.model_uid for row in table.values()}:
            assert local.on_worker(each.id, model) == plain.on_worker(each.id, model)


def test_a_floor_of_other_tables_is_not_believed() -> None:
    one = worker("a", 1)
    known = Snapshot(workers={one.id: one}, replicas=ReplicaTable())
    known = replace(known, floor=floor_of(known))
    assert floor_of(known) is known.floor
    full = ReplicaTable.of({r.id: r for r in [replica("m", 0, slot("a", 0), 20 * GIB)]})
    taken = floor_of(replace(known, replicas=full))
    assert taken.standings[one.id].rooms[0] == floor_of(known).standings[one.id].rooms[0] - 20 * GIB
