"""What the supervisor keeps of replicas that became ready, and hands to later ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.control.clusters import GIB, Cluster, deployment, slot, worker
from xinfer.actors.keeping import Keeper
from xinfer.catalog.spec import Dtype
from xinfer.cluster.calibration import StoredCalibration
from xinfer.cluster.deployment import Demand
from xinfer.cluster.device import DeviceKind, DeviceReport
from xinfer.cluster.ids import Address, ModelUid
from xinfer.cluster.replica import Assignment
from xinfer.control.events import ReplicaReady
from xinfer.store.store import Store

FOUND = StoredCalibration("simulated", 1, 512, 1_000.0, 0.0, 1e-3)
BF16 = Dtype.BFLOAT16


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "state.sqlite3")
    yield opened
    opened.close()


def ready(cluster: Cluster, key: str, found: StoredCalibration, dtype: Dtype = BF16) -> ReplicaReady:
    known = cluster.replica(key)
    return ReplicaReady(known.id, known.epoch, Address("a:1"), speed=found.speed, dtype=dtype, dtype_why="measured", calibration=found)


def told(keeper: Keeper, cluster: Cluster, event: ReplicaReady) -> list[Assignment]:
    """As the supervisor does; the assignments that follow, prepared."""
    event, before = keeper.levelled(event, cluster.snapshot), cluster.snapshot
    effects = cluster.do(event)
    keeper.keep(event, before, cluster.snapshot)
    return [keeper.prepared(effect.assignment, cluster.snapshot) for effect in effects]  # type: ignore[union-attr]


def undecided(*demands: Demand) -> Cluster:
    cluster = Cluster(worker("a"))
    cluster.launch(replace(deployment("m", *demands), dtype_open=(Dtype.FLOAT32, BF16)))
    return cluster


def test_what_the_first_measured_goes_to_those_that_waited_and_its_choice_to_later_launches(store: Store) -> None:
    keeper, cluster = Keeper(store.figures), undecided(Demand(GIB), Demand(GIB))
    (second,) = told(keeper, cluster, ready(cluster, "m-0", FOUND))
    assert second.calibration == FOUND
    assert second.spec.dtype is BF16
    assert store.figures.chosen(deployment("m").spec, "simulated") == (BF16, "measured")


def test_one_that_has_still_to_choose_is_given_no_calibration(store: Store) -> None:
    keeper, cluster = Keeper(store.figures), undecided(Demand(GIB))
    told(keeper, cluster, ready(cluster, "m-0", FOUND))
    fresh = Cluster(worker("a"))
    (start,) = fresh.launch(replace(deployment("m"), dtype_open=(BF16, Dtype.FLOAT32)))
    assert keeper.prepared(start.assignment, fresh.snapshot).calibration is None


def test_equal_replicas_get_equal_speeds_unless_they_really_differ(store: Store) -> None:
    keeper, cluster = Keeper(store.figures), Cluster(worker("a"))
    cluster.launch(deployment("m", *[Demand(GIB)] * 4))
    other = replace(FOUND, device="another runtime's name")
    for key, found in (("m-0", FOUND), ("m-1", replace(FOUND, speed=1_300.0)), ("m-2", replace(other, speed=1_200.0))):
        told(keeper, cluster, ready(cluster, key, found, Dtype.FLOAT32))
    assert [cluster.replica(f"m-{n}").speed for n in range(3)] == [1_000.0, 1_000.0, 1_200.0]
    told(keeper, cluster, ready(cluster, "m-3", replace(other, speed=200.0), Dtype.FLOAT32))
    assert cluster.replica("m-3").speed == 200.0


def test_a_store_that_cannot_be_read_or_written_stops_nothing(store: Store) -> None:
    keeper, cluster = Keeper(store.figures), undecided(Demand(GIB), Demand(GIB))
    store.close()
    (second,) = told(keeper, cluster, ready(cluster, "m-0", FOUND))
    assert second.calibration is None
    assert cluster.replica("m-0").speed == 1_000.0


def test_late_news_of_an_earlier_life_is_not_kept(store: Store) -> None:
    keeper, cluster = Keeper(store.figures), undecided(Demand(GIB))
    late = ready(cluster, "m-0", FOUND)
    cluster.crash("m-0")
    cluster.tick()
    assert told(keeper, cluster, late) == []
    assert store.figures.calibration(deployment("m").spec, {}, "simulated") is None


def test_what_a_replica_on_two_devices_measured_is_kept_apart_from_what_one_device_would(store: Store) -> None:
    keeper, cluster = Keeper(store.figures), undecided(Demand(GIB, 2))
    reports = tuple(DeviceReport(uuid, "simulated", DeviceKind.SIMULATED, 1) for uuid in slot("a", 0, 1).device_uuids)
    told(keeper, cluster, replace(ready(cluster, "m-0", FOUND), reports=reports, reserved_bytes=GIB))
    spec = cluster.snapshot.deployments[ModelUid("m")].spec
    assert (store.figures.measured(spec, "2× simulated"), store.figures.measured(spec, "simulated")) == (GIB, None)
    assert store.figures.calibration(spec, {}, "2× simulated") == FOUND
    assert store.figures.calibration(spec, {}, "simulated") is None
    assert store.figures.chosen(spec, "simulated") == (BF16, "measured"), "the dtype is the device's, not the number's"
