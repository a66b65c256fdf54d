"""One dtype for a deployment, chosen by its first replica that loads, for good; who waits meanwhile, and where."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.control.clusters import GIB, SPEC, Cluster, deployment, slot, starts, stops, worker
from xinfer.catalog.spec import Dtype, ModelSpec
from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.device import Device, DeviceKind
from xinfer.cluster.ids import Address, DeviceUuid, Epoch
from xinfer.cluster.replica import Phase, Replica
from xinfer.control.dtypes import WAITS, choice
from xinfer.control.effects import Effect
from xinfer.control.events import LaunchRequested, ReplicaReady, ReplicasAdded, StopRequested, WorkerGone, WorkerJoined
from xinfer.control.restore import restore
from xinfer.errors import NoFit

F32, F16, BF16 = Dtype.FLOAT32, Dtype.FLOAT16, Dtype.BFLOAT16
AUTO = SPEC.model_copy(update={"auto_dtypes": (F16, BF16)})


def undecided(*demands: Demand) -> Deployment:
    return replace(deployment("m", *(demands or (Demand(4 * GIB),) * 3)), dtype_open=(F32, BF16))


def chooses(cluster: Cluster, key: str, dtype: Dtype | None) -> list[Effect]:
    known = cluster.replica(key)
    return cluster.do(ReplicaReady(known.id, known.epoch, Address("10.0.0.1:9"), dtype=dtype, dtype_why="measured 1.7× float32"))


def phases(cluster: Cluster) -> list[Phase]:
    return [replica.phase for replica in cluster.snapshot.replicas.values()]


# --- who starts, who waits ---


def test_one_replica_starts_the_others_wait_for_it_with_their_places_kept() -> None:
    cluster = Cluster(worker("a", gpus=3, gib=6))
    (start,) = cluster.launch(undecided())
    assert start.assignment.dtype_open == (F32, BF16)
    assert start.assignment.replica.dtype is None
    assert phases(cluster) == [Phase.SPAWNING, Phase.QUEUED, Phase.QUEUED]
    assert cluster.replica("m-1").error == WAITS
    assert [cluster.replica(f"m-{n}").slot for n in range(3)] == [slot("a", n) for n in range(3)]
    with pytest.raises(NoFit):
        cluster.do(LaunchRequested(deployment("other")))
    assert cluster.tick() == []


def test_its_choice_is_written_down_and_starts_the_others() -> None:
    cluster = Cluster(worker("a", gpus=3, gib=6))
    cluster.launch(undecided())
    version = cluster.snapshot.version
    effects = chooses(cluster, "m-0", BF16)
    assert [key for key, _ in starts(effects)] == ["m-1", "m-2"]
    decided = cluster.snapshot.deployments[deployment("m").uid]
    assert (decided.spec.dtype, decided.dtype_open, decided.dtype_why) == (BF16, (), "measured 1.7× float32")
    assert decided.spec.weight_bytes == SPEC.weight_bytes // 2
    assert cluster.replica("m-0").dtype is BF16
    assert cluster.replica("m-1").dtype is BF16
    assert cluster.replica("m-1").slot == slot("a", 1)
    assert cluster.snapshot.version > version


def test_a_replica_that_says_nothing_has_chosen_what_it_was_given() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch(undecided(Demand(GIB)))
    chooses(cluster, "m-0", None)
    assert cluster.snapshot.deployments[deployment("m").uid].dtype_open == ()
    assert cluster.replica("m-0").dtype is F32


@pytest.mark.parametrize("fatal", [True, False])
def test_if_the_first_fails_the_next_attempt_decides(fatal: bool) -> None:
    cluster = Cluster(worker("a", gpus=3, gib=6))
    cluster.launch(undecided())
    cluster.do(ReplicaReady(cluster.replica("m-0").id, Epoch(1), Address("late:1"), dtype=BF16))  # of another life
    effects = cluster.crash("m-0", fatal=fatal) + cluster.tick()
    (started,) = [key for key, _ in starts(effects)]
    assert started == ("m-1" if fatal else "m-0")
    chooses(cluster, started, F32)
    cluster.tick(30.0)
    assert {r.dtype for r in cluster.snapshot.replicas.values() if r.slot is not None} == {F32}


def test_pins_are_kept_while_waiting_and_after() -> None:
    cluster = Cluster(worker("a"), worker("b"))
    cluster.launch(undecided(Demand(GIB, pin=slot("b", 1)), Demand(GIB, pin=slot("a", 1))))
    chooses(cluster, "m-0", BF16)
    assert [cluster.replica(f"m-{n}").slot for n in range(2)] == [slot("b", 1), slot("a", 1)]


def test_a_replica_that_is_added_meanwhile_waits_too_and_one_added_later_takes_what_was_chosen() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch(undecided(Demand(GIB)))
    assert starts(cluster.do(ReplicasAdded(deployment("m").uid, (Demand(GIB),)))) == []
    assert [key for key, _ in starts(chooses(cluster, "m-0", BF16))] == ["m-1"]
    (effect,) = cluster.do(ReplicasAdded(deployment("m").uid, (Demand(GIB),)))
    assert effect.assignment.spec.dtype is BF16  # type: ignore[union-attr]
    assert effect.assignment.dtype_open == ()  # type: ignore[union-attr]


def test_stopping_lets_the_places_of_those_that_wait_go_at_once() -> None:
    cluster = Cluster(worker("a", gpus=3, gib=6))
    cluster.launch(undecided())
    cluster.do(StopRequested(deployment("m").uid))
    assert phases(cluster) == [Phase.STOPPING]


def test_a_place_kept_on_a_worker_that_goes_is_let_go() -> None:
    cluster = Cluster(worker("a", gpus=1), worker("b", gpus=1))
    cluster.launch(undecided(Demand(GIB, worker_id="a"), Demand(GIB)))
    assert cluster.replica("m-1").slot == slot("b", 0)
    gone = cluster.snapshot.workers[worker("b").id]
    cluster.do(WorkerGone(gone.id, gone.epoch))
    assert (cluster.replica("m-1").slot, cluster.replica("m-1").reserved_bytes) == (None, 0)
    assert [key for key, _ in starts(chooses(cluster, "m-0", F32))] == ["m-1"]


# --- restarts and late news ---


def test_a_restart_of_the_supervisor_asks_again_only_what_was_still_open() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch(undecided(Demand(GIB), Demand(GIB)))
    again = Cluster(worker("a"), snapshot=restore(cluster.snapshot.deployments.values(), (), Epoch(99), 1_000.0, cluster.timings))
    assert len(starts(again.tick())) == 0  # the join started one already
    assert phases(again) == [Phase.SPAWNING, Phase.QUEUED]
    chooses(again, "m-0", BF16)
    last = Cluster(snapshot=restore(again.snapshot.deployments.values(), (), Epoch(999), 1_000.0, cluster.timings))
    effects = last.do(WorkerJoined(worker("a")))
    assert [e.assignment.dtype_open for e in effects] == [(), ()]  # type: ignore[union-attr]
    assert [e.assignment.replica.dtype for e in effects] == [BF16, BF16]  # type: ignore[union-attr]


def comes_back(cluster: Cluster, name: str, was: Replica, **changes: object) -> list[Effect]:
    """The worker joins again with the replica as it was, and as it went on."""
    return cluster.do(WorkerJoined(worker(name), (replace(was, **changes),)))  # type: ignore[arg-type]


def lost_while_another_chooses() -> tuple[Cluster, Replica]:
    """m-0, pinned to a, was starting when a was lost; m-1 on b starts in its stead."""
    cluster = Cluster(worker("a"), worker("b"))
    cluster.launch(undecided(Demand(GIB, pin=slot("a", 0)), Demand(GIB, pin=slot("b", 0))))
    was = cluster.replica("m-0")
    for _ in range(12):
        cluster.beat("b", after=1.0)
        cluster.tick(0.0)
    assert phases(cluster) == [Phase.QUEUED, Phase.SPAWNING]
    return cluster, was


@pytest.mark.parametrize("found", [{"phase": Phase.READY, "dtype": F32}, {"phase": Phase.LOADING}])
def test_one_that_comes_back_after_another_dtype_was_chosen_is_stopped_and_started_anew(found: dict[str, object]) -> None:
    cluster, was = lost_while_another_chooses()
    chooses(cluster, "m-1", BF16)
    effects = comes_back(cluster, "a", was, **found)
    assert stops(effects) == [("m-0", was.epoch)]
    ((key, epoch),) = starts(effects)
    assert (key, cluster.replica("m-0").dtype) == ("m-0", BF16)
    assert epoch > was.epoch


def test_one_that_comes_back_in_the_chosen_dtype_stays() -> None:
    cluster, was = lost_while_another_chooses()
    chooses(cluster, "m-1", BF16)
    assert starts(comes_back(cluster, "a", was, phase=Phase.READY, dtype=BF16, address=Address("x:1"))) == []
    assert cluster.replica("m-0").phase is Phase.READY


def test_one_that_comes_back_still_choosing_while_another_chooses_is_stopped() -> None:
    cluster, was = lost_while_another_chooses()
    effects = comes_back(cluster, "a", was, phase=Phase.LOADING)
    assert (stops(effects), starts(effects)) == ([("m-0", was.epoch)], [])


def test_one_that_comes_back_ready_decides_and_the_other_must_follow() -> None:
    cluster, was = lost_while_another_chooses()
    comes_back(cluster, "a", was, phase=Phase.READY, dtype=F32, address=Address("x:1"))
    assert cluster.snapshot.deployments[was.model_uid].spec.dtype is F32
    assert cluster.snapshot.deployments[was.model_uid].dtype_open == ()
    late = cluster.replica("m-1")
    effects = chooses(cluster, "m-1", BF16)
    assert stops(effects) == [("m-1", late.epoch)]
    assert cluster.replica("m-1").phase is Phase.BACKOFF


# --- what a launch leaves open ---


def device(kind: DeviceKind, *dtypes: Dtype, name: str = "cpu") -> Device:
    return Device(DeviceUuid(name), kind, 0, name, GIB, name, dtypes=dtypes)


CPU_NEW, CPU_OLD = device(DeviceKind.CPU, F32, BF16), device(DeviceKind.CPU, F32)
GPU_NEW, GPU_OLD, GPU_ANCIENT = (device(DeviceKind.GPU, *dtypes) for dtypes in ((F32, F16, BF16), (F32, F16), (F32,)))
QWEN = SPEC.model_copy(update={"dtype": BF16, "auto_dtypes": (F32, F16)})
ONNX = SPEC.model_copy(update={"auto_dtypes": ()})


@pytest.mark.parametrize(
    ("spec", "devices", "open_", "first"),
    [
        (AUTO, [CPU_NEW], (F32, BF16), F32),
        (AUTO, [CPU_OLD], (), F32),
        (AUTO, [CPU_NEW, CPU_OLD], (), F32),
        (AUTO, [], (F32, BF16), F32),
        (AUTO, [GPU_NEW], (F16, F32), F16),
        (AUTO, [GPU_OLD], (F16, F32), F16),
        (AUTO, [GPU_ANCIENT], (), F32),
        (AUTO, [GPU_NEW, CPU_NEW], (F32, BF16), F32),
        (AUTO, [GPU_OLD, CPU_NEW], (), F32),
        (AUTO, [GPU_NEW, GPU_ANCIENT], (), F32),
        (QWEN, [GPU_NEW], (BF16, F32), BF16),
        (QWEN, [GPU_NEW, GPU_OLD], (F16, F32), F16),
        (QWEN, [GPU_ANCIENT], (), F32),
        (QWEN, [CPU_OLD], (), BF16),
        (ONNX, [CPU_NEW], (), F32),
        (AUTO.model_copy(update={"auto_dtypes": (F16,)}), [CPU_NEW], (), F32),
        (AUTO.model_copy(update={"auto_dtypes": (BF16,)}), [GPU_NEW], (BF16, F32), BF16),
    ],
)
def test_what_is_left_open_is_what_every_device_computes_in(
    spec: ModelSpec, devices: list[Device], open_: tuple[Dtype, ...], first: Dtype
) -> None:
    found = choice(spec, devices)
    assert (found.open, found.spec.dtype, found.spec.auto_dtypes) == (open_, first, ())


def test_a_remembered_choice_leaves_nothing_open_unless_devices_disagree_or_cannot() -> None:
    other = device(DeviceKind.CPU, F32, BF16, name="other")
    known = {"cpu": (BF16, "measured 1.7× float32"), "other": (F32, "bfloat16 measured 1.0× as fast")}

    def remembered(spec: ModelSpec, name: str) -> tuple[Dtype, str] | None:
        return known.get(name)

    found = choice(AUTO, [CPU_NEW], remembered)
    assert (found.open, found.spec.dtype, found.why) == ((), BF16, "measured 1.7× float32")
    assert found.spec.weight_bytes == AUTO.weight_bytes // 2
    assert choice(AUTO, [CPU_NEW, other], remembered).open == (F32, BF16)
    assert choice(AUTO, [CPU_NEW, CPU_OLD], remembered).spec.dtype is F32
    assert choice(AUTO, [device(DeviceKind.CPU, F32, BF16, name="new")], remembered).open == (F32, BF16)
