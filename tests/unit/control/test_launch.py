"""From a request to a deployment, and every way to get it wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.control.clusters import GIB, Cluster, slot, worker
from xinfer.catalog.families import load_builtin
from xinfer.catalog.spec import Dtype, ModelSpec
from xinfer.cluster.deployment import Demand, Deployment, Scaling
from xinfer.cluster.device import DeviceKind, Division
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.memory import estimate
from xinfer.control.demands import compile_addition
from xinfer.control.events import LaunchRequested, WorkerJoined
from xinfer.control.launch import UNKNOWN_ENGINE_BYTES, compile_launch
from xinfer.errors import AlreadyExists, InvalidPlacement, InvalidRequest, XinferError
from xinfer.schemas.launch import LaunchRequest, Placement

FAMILIES = load_builtin()
ENGINE = "sentence_transformers"
OPTIONS = {ENGINE: {"max_batch_ms": float, "max_batch_tokens": int, "attn": str, "compile": bool}}
NAME = "bge-reranker-base"
LAYERS = {ENGINE: Division.LAYERS}


def compiled(
    cluster: Cluster | None = None,
    *,
    measured: Any = None,
    engines: frozenset[str] = frozenset({ENGINE}),
    divisions: dict[str, Division] | None = None,
    **fields: Any,
) -> Deployment:
    request = LaunchRequest(**{"model_name": NAME, **fields})
    there = cluster or Cluster(worker("a"), worker("b"))
    return compile_launch(
        request,
        snapshot=there.snapshot,
        families=FAMILIES,
        files=None,
        engines=engines,
        now=7.0,
        base_bytes={ENGINE: 100},
        engine_options=OPTIONS,
        measured=measured,
        divisions=divisions or {},
    )


def test_the_uid_is_the_name_and_every_replica_has_a_demand() -> None:
    made = compiled(replica=3)
    assert (made.uid, made.ordinals, made.next_ordinal, made.created_at) == (NAME, (0, 1, 2), 3, 7.0)
    assert (made.spec.engine, made.spec.dtype) == (ENGINE, Dtype.FLOAT32)
    assert {d.bytes_per_device for d in made.demands} == {estimate(made.spec, 100, DeviceKind.SIMULATED)}
    assert not made.demands[0].fixed_bytes


def test_an_engine_that_has_not_said_what_it_takes_is_assumed_large() -> None:
    made = compile_launch(
        LaunchRequest(model_name=NAME),
        snapshot=Cluster(worker("a")).snapshot,
        families=FAMILIES,
        files=None,
        engines=frozenset({ENGINE}),
        now=7.0,
    )
    assert made.demands[0].bytes_per_device == estimate(made.spec, UNKNOWN_ENGINE_BYTES, DeviceKind.SIMULATED)


def test_what_is_compiled_can_be_launched() -> None:
    cluster = Cluster(worker("a"), worker("b"))
    address = cluster.snapshot.workers["b"].address  # type: ignore[index]
    cluster.do(LaunchRequested(compiled(cluster, slots=[f"{address}@1", f"{address}@0"])))
    assert [r.slot for r in cluster.snapshot.replicas.values()] == [slot("b", 1), slot("b", 0)]


def test_a_taken_uid_is_refused_with_a_hint_before_anything_is_resolved() -> None:
    cluster = Cluster(worker("a"))
    cluster.do(LaunchRequested(compiled(cluster)))
    with pytest.raises(AlreadyExists, match="another model_uid"):
        compiled(cluster)
    with pytest.raises(AlreadyExists):
        compiled(cluster, model_uid=NAME, model_name="no such model")
    assert compiled(cluster, model_uid="second").uid == "second"


@pytest.mark.parametrize("uid", ["", "a b", "a/b", "ü", "x" * 129, "a\n"])
def test_a_uid_that_cannot_stand_in_a_path_is_refused(uid: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        compiled(model_uid=uid)
    assert refused.value.param == "model_uid"


def test_memory_by_name_overrides_the_estimate() -> None:
    (demand,) = compiled(memory="2GiB").demands
    assert (demand.bytes_per_device, demand.fixed_bytes) == (2 * GIB, True)
    with pytest.raises(InvalidRequest):
        compiled(memory="much")


def test_a_measured_figure_is_preferred_if_there_is_one_for_every_device_it_may_go_to() -> None:
    def measured(spec: ModelSpec, device: str) -> int | None:
        return 5 * GIB if device == "simulated" else None

    assert compiled(measured=measured).demands[0].bytes_per_device == 5 * GIB
    assert compiled(measured=lambda spec, device: None).demands[0].bytes_per_device < 5 * GIB


def test_the_bounds_of_scaling_by_load_are_kept_with_the_deployment() -> None:
    assert compiled(replica=2).scaling is None
    assert compiled(replica=2, min_replica=2, max_replica=2).scaling is None
    assert compiled(replica=2, max_replica=3).scaling == Scaling(1, 3, 600.0)
    assert compiled(min_replica=0, idle_seconds=60).scaling == Scaling(0, 1, 60.0)
    begun = compiled(min_replica=2, max_replica=4)
    assert (len(begun.demands), begun.scaling) == (2, Scaling(2, 4, 600.0))
    with pytest.raises(InvalidRequest) as refused:
        compiled(replica=1, min_replica=2)
    assert refused.value.param == "replica"


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({"max_batch_ms": 40}, {"max_batch_ms": 40.0}),
        ({"max_batch_tokens": "512"}, {"max_batch_tokens": 512}),
        ({"compile": "true", "attn": "sdpa"}, {"compile": True, "attn": "sdpa"}),
    ],
)
def test_options_take_their_declared_types(given: dict[str, Any], becomes: dict[str, Any]) -> None:
    options = compiled(options=given).options
    assert options == becomes
    assert [type(v) for v in options.values()] == [type(v) for v in becomes.values()]


@pytest.mark.parametrize(
    ("given", "param", "says"),
    [
        ({"max_batch_tokns": 1}, "max_batch_tokns", "did you mean max_batch_tokens"),
        ({"gpu_idxs": [0]}, "gpu_idxs", "did you mean gpu_idx"),
        ({"zzz": 1}, "zzz", "takes attn, compile, max_batch_ms, max_batch_tokens"),
        ({"max_batch_tokens": 1.5}, "max_batch_tokens", "whole number"),
        ({"max_batch_tokens": True}, "max_batch_tokens", "whole number"),
        ({"compile": 1}, "compile", "true or false"),
        ({"attn": 3}, "attn", "text"),
    ],
)
def test_unknown_or_mistyped_options_are_refused(given: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refused:
        compiled(options=given)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "fields", [{"replica": 0}, {"gpu_idx": [0, 0], "worker_ip": "10.0.0.1:1"}, {"worker_ip": "9.9.9.9"}, {"gpu_idx": 7}]
)
def test_placement_that_contradicts_the_cluster_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidPlacement):
        compiled(**fields)


def test_no_model_and_unknown_model_are_refused() -> None:
    for fields in ({"model_name": None}, {"model_name": "bge-rerankr-base"}):
        with pytest.raises(XinferError) as refused:
            compiled(**fields)
        assert refused.value.http_status in (400, 404)


def test_added_replicas_need_what_the_present_ones_need() -> None:
    cluster = Cluster(worker("a"))
    present = Deployment(ModelUid("m"), compiled().spec, (Demand(GIB), Demand(3 * GIB, fixed_bytes=True)), (0, 1), 1.0)
    added = compile_addition(present, Placement(gpu_idx=[1]), cluster.snapshot)
    assert added == (Demand(3 * GIB, pin=slot("a", 1), fixed_bytes=True),)


def cpus(*dtypes: Dtype) -> Cluster:
    there = worker("a")
    devices = tuple(replace(d, kind=DeviceKind.CPU, dtypes=dtypes) for d in there.devices)
    return Cluster(replace(there, devices=devices))


def test_auto_leaves_the_dtype_open_where_the_cpu_has_another_and_reserves_what_choosing_takes() -> None:
    made = compiled(cpus(Dtype.FLOAT32, Dtype.BFLOAT16), measured=lambda spec, device: GIB)
    assert (made.spec.dtype, made.dtype_open) == (Dtype.FLOAT32, (Dtype.FLOAT32, Dtype.BFLOAT16))
    assert made.demands[0].bytes_per_device == estimate(made.spec, 100, DeviceKind.CPU)
    assert compiled(cpus(Dtype.FLOAT32)).dtype_open == ()


def test_a_dtype_that_is_asked_for_is_decided() -> None:
    for dtype in Dtype:
        made = compiled(cpus(Dtype.FLOAT32, Dtype.BFLOAT16), dtype=dtype.value)
        assert (made.spec.dtype, made.dtype_open, made.dtype_why) == (dtype, (), "")


def test_a_pin_asks_its_own_devices_only() -> None:
    there = cpus(Dtype.FLOAT32, Dtype.BFLOAT16)
    old = replace(worker("b"), devices=tuple(replace(d, kind=DeviceKind.CPU) for d in worker("b").devices))
    there.do(WorkerJoined(old))
    address = there.snapshot.workers[old.id].address
    assert compiled(there).dtype_open == ()
    assert compiled(there, slots=[f"{address}@0"]).dtype_open == ()
    assert compiled(there, worker_ip=there.snapshot.workers[worker("a").id].address).dtype_open != ()


def test_several_devices_share_the_memory_and_figures_are_those_of_as_many_devices() -> None:
    one, two = compiled(), compiled(n_gpu=2, divisions=LAYERS)
    assert two.demands[0].n_devices == 2
    assert two.demands[0].bytes_per_device == -(-one.demands[0].bytes_per_device // 2)
    known = {"simulated": 9 * GIB, "2× simulated": 5 * GIB}
    made = compiled(n_gpu=2, divisions=LAYERS, measured=lambda spec, device: known.get(device))
    assert made.demands[0].bytes_per_device == 5 * GIB
    fixed = compiled(n_gpu=2, divisions=LAYERS, memory="3GiB")
    assert fixed.demands[0].bytes_per_device == 3 * GIB


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n_gpu": 2}, "n_gpu"),
        ({"slots": ["10.0.0.1:1@0,1"]}, "slots"),
        ({"gpu_idx": [0, 1], "worker_ip": "10.0.0.1"}, "gpu_idx"),
        ({"replica_config": [{"devices": [{"worker_ip": "10.0.0.1", "gpu_idx": [0, 1]}]}]}, "replica_config"),
    ],
)
def test_an_engine_that_cannot_divide_a_model_is_refused_by_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidPlacement, match=f"^{param}: {ENGINE} cannot divide a model over 2 devices, give each replica one") as caught:
        compiled(divisions={"other": Division.LAYERS}, **fields)
    assert caught.value.param == param
    assert caught.value.message.endswith("; model_engine other can.")
    assert compiled(divisions=LAYERS, **fields).demands[0].n_devices == 2


def test_further_replicas_on_other_numbers_of_devices_need_their_share() -> None:
    cluster = Cluster(worker("a", 4))
    wanted = replace(compiled(cluster), demands=(Demand(6 * GIB), Demand(GIB, 2)), ordinals=(0, 1))
    assert compile_addition(wanted, Placement(n_gpu=3), cluster.snapshot, LAYERS)[0].bytes_per_device == 2 * GIB
    assert compile_addition(wanted, Placement(n_gpu=2), cluster.snapshot, LAYERS)[0].bytes_per_device == GIB
    assert compile_addition(wanted, Placement(), cluster.snapshot, LAYERS)[0].bytes_per_device == 6 * GIB
    fixed = replace(wanted, demands=(Demand(6 * GIB, fixed_bytes=True),), ordinals=(0,))
    assert compile_addition(fixed, Placement(n_gpu=3), cluster.snapshot, LAYERS)[0] == Demand(6 * GIB, 3, fixed_bytes=True)
    with pytest.raises(InvalidPlacement, match="n_gpu: sentence_transformers cannot divide"):
        compile_addition(wanted, Placement(n_gpu=2), cluster.snapshot)


def test_an_engine_that_divides_tensors_needs_devices_of_one_kind() -> None:
    tensor = {ENGINE: Division.TENSOR}
    made = compiled(n_gpu=2, divisions=tensor).demands[0]
    assert (made.n_devices, made.alike) == (2, True)
    assert made.bytes_per_device == compiled(n_gpu=2, divisions=LAYERS).demands[0].bytes_per_device
    assert not compiled(n_gpu=2, divisions=LAYERS).demands[0].alike
    assert not compiled(divisions=tensor).demands[0].alike, "one device is of one kind"
    there = Cluster(worker("a", 4))
    assert compile_addition(compiled(there), Placement(n_gpu=2), there.snapshot, tensor)[0].alike
