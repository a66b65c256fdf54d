"""Every spelling compiles to the slots it means, and every contradiction is refused by field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.nouns import slot, worker
from xinfer.cluster.slot import Slot
from xinfer.cluster.worker import WorkerState
from xinfer.errors import InvalidPlacement
from xinfer.placement.compile import PinnedDemand, compile_pins
from xinfer.schemas.launch import LaunchRequest, Placement

A = worker("a", 4, host="alpha")  # 10.0.0.1:24002
B = worker("b", 2)  # 10.0.0.2:24002
TWIN = worker("c", 2, address="10.0.0.1:24003")
LOST = worker("d", 2, state=WorkerState.LOST)  # 10.0.0.4:24002
SUSPECT = worker("e", 2, state=WorkerState.SUSPECT)  # 10.0.0.5:24002
TWO = (A, B)


def pins(workers: Any = TWO, **fields: Any) -> list[Slot | None]:
    demands = compile_pins(Placement(**fields), workers)
    for demand in demands:
        assert demand.pin is None or (demand.n_devices == len(demand.pin.device_uuids) and demand.worker_id is None)
    return [demand.pin for demand in demands]


def config(*replicas: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"devices": [{"worker_ip": address, "gpu_idx": indices}]} for address, indices in replicas]


@pytest.mark.parametrize(
    ("fields", "slots"),
    [
        ({"replica": 2, "gpu_idx": [0, 2], "worker_ip": "10.0.0.1:24002"}, [slot("a", 0), slot("a", 2)]),
        ({"replica": 1, "gpu_idx": [0, 2], "worker_ip": "10.0.0.1"}, [slot("a", 0, 2)]),
        ({"gpu_idx": [0, 2], "worker_ip": "10.0.0.1"}, [slot("a", 0, 2)]),
        ({"replica": 2, "gpu_idx": "0, 2", "worker_ip": "10.0.0.1"}, [slot("a", 0), slot("a", 2)]),
        ({"gpu_idx": 3, "worker_ip": "10.0.0.1"}, [slot("a", 3)]),
        ({"gpu_idx": "3", "worker_ip": "10.0.0.1"}, [slot("a", 3)]),
        ({"gpu_idx": [2, 0], "worker_ip": "10.0.0.1"}, [slot("a", 2, 0)]),
        ({"replica": 2, "n_gpu": 2, "gpu_idx": [0, 1, 2, 3], "worker_ip": "10.0.0.1"}, [slot("a", 0, 1), slot("a", 2, 3)]),
        ({"n_gpu": 2, "gpu_idx": [0, 1, 2, 3], "worker_ip": "10.0.0.1"}, [slot("a", 0, 1), slot("a", 2, 3)]),
        ({"n_gpu": 1, "gpu_idx": [0, 1], "worker_ip": "10.0.0.1"}, [slot("a", 0), slot("a", 1)]),
        ({"replica": 2, "gpu_idx": [0, 1, 2, 3], "worker_ip": "10.0.0.1"}, [slot("a", 0, 1), slot("a", 2, 3)]),
        ({"replica": 2, "gpu_idx": [1, 1], "worker_ip": "10.0.0.1"}, [slot("a", 1), slot("a", 1)]),
        ({"replica": 1, "n_gpu": "auto", "gpu_idx": [0, 1], "worker_ip": "10.0.0.1"}, [slot("a", 0, 1)]),
        ({"gpu_idx": 0, "worker_ip": "alpha"}, [slot("a", 0)]),
        ({"gpu_idx": 0, "worker_ip": "b"}, [slot("b", 0)]),
        ({"slots": ["10.0.0.1:24002@3", "10.0.0.2:24002@1"]}, [slot("a", 3), slot("b", 1)]),
        ({"slots": ["10.0.0.1:24002@2,0"]}, [slot("a", 2, 0)]),
        ({"slots": [" 10.0.0.2@1 ", "10.0.0.2@1"], "replica": 2}, [slot("b", 1), slot("b", 1)]),
        ({"slots": ["b@0"], "n_gpu": "auto", "n_worker": 1, "replica": 1}, [slot("b", 0)]),
        ({"replica_config": config(("10.0.0.1:24002", [3]), ("10.0.0.2:24002", [1]))}, [slot("a", 3), slot("b", 1)]),
        ({"replica_config": config(("10.0.0.1", [3, 1])), "replica": 1, "n_gpu": "auto"}, [slot("a", 3, 1)]),
        ({"replica_config": config(("10.0.0.1", 0), ("10.0.0.1", 1)), "replica": 1}, [slot("a", 0), slot("a", 1)]),
        (
            {"replica_config": [{"devices": [{"worker_ip": "a", "gpu_idx": [0], "n_gpu": 1}, {"worker_ip": "a", "gpu_idx": 2}]}]},
            [slot("a", 0, 2)],
        ),
    ],
)
def test_spellings_of_pins(fields: dict[str, Any], slots: list[Slot]) -> None:
    assert pins(**fields) == slots


@pytest.mark.parametrize(
    ("fields", "demands"),
    [
        ({}, [PinnedDemand()]),
        ({"replica": 3}, [PinnedDemand()] * 3),
        ({"slots": ["b@0", " auto "], "replica": 2}, [PinnedDemand(1, slot("b", 0)), PinnedDemand()]),
        ({"n_gpu": "auto"}, [PinnedDemand()]),
        ({"n_gpu": -1, "n_worker": 1}, [PinnedDemand()]),
        ({"n_gpu": 2, "replica": 2}, [PinnedDemand(2)] * 2),
        ({"worker_ip": "10.0.0.2", "replica": 2}, [PinnedDemand(1, worker_id=B.id)] * 2),
        ({"replica_config": [{"devices": [{"worker_ip": "10.0.0.2", "n_gpu": "auto"}]}]}, [PinnedDemand(1, worker_id=B.id)]),
        ({"replica_config": [{"devices": [{"worker_ip": "10.0.0.2", "n_gpu": 2}]}]}, [PinnedDemand(2, worker_id=B.id)]),
    ],
)
def test_automatic_placement(fields: dict[str, Any], demands: list[PinnedDemand]) -> None:
    assert compile_pins(Placement(**fields), TWO) == tuple(demands)


def test_a_launch_request_is_a_placement() -> None:
    request = LaunchRequest(model_name="m", slots=["a@0"])
    assert compile_pins(request, TWO) == (PinnedDemand(1, slot("a", 0)),)


def test_automatic_placement_needs_no_worker_yet() -> None:
    assert compile_pins(Placement(n_gpu=4), ()) == (PinnedDemand(4),)


def test_the_only_worker_needs_no_name() -> None:
    assert pins((B, LOST), gpu_idx=1) == [slot("b", 1)]


@pytest.mark.parametrize("own", ["[::1]:24002", "::1:24002"])
@pytest.mark.parametrize("address", ["[::1]:24002", "::1:24002", "::1", "[::1]"])
def test_ipv6(own: str, address: str) -> None:
    workers = (A, worker("v", 2, address=own))
    assert pins(workers, slots=[f"{address}@0,1"]) == [slot("v", 0, 1)]
    assert pins(workers, worker_ip=address, gpu_idx=1) == [slot("v", 1)]


def test_pins_may_name_a_suspect_worker() -> None:
    assert pins((A, SUSPECT), slots=["10.0.0.5@0"]) == [slot("e", 0)]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"replica": 0}, "replica", "replica must be between 1 and 10000, not 0"),
    ({"replica": -2}, "replica", "not -2"),
    ({"replica": 10**9}, "replica", "between 1 and 10000"),
    ({"n_worker": 2}, "n_worker", "not offered yet"),
    ({"n_worker": 0}, "n_worker", "must be 1"),
    ({"n_gpu": 0}, "n_gpu", 'at least 1 or "auto"'),
    ({"n_gpu": -2}, "n_gpu", "not -2"),
    ({"n_gpu": 5}, "n_gpu", "asks for 5 devices of one worker, but the largest worker has 4"),
    ({"n_gpu": 3, "worker_ip": "b"}, "n_gpu", "10.0.0.2:24002 has 2"),
    ({"worker_ip": "10.9.9.9:1"}, "worker_ip", "no worker '10.9.9.9:1', only 10.0.0.1:24002, 10.0.0.2:24002"),
    ({"worker_ip": ""}, "worker_ip", "no worker ''"),
    ({"worker_ip": "10.0.0.1:9", "gpu_idx": 0}, "worker_ip", "no worker"),
    ({"gpu_idx": 0}, "worker_ip", "needs worker_ip, as there are several workers: 10.0.0.1:24002, 10.0.0.2:24002"),
    ({"gpu_idx": 9, "worker_ip": "a"}, "gpu_idx", "has no device 9, its devices are 0, 1, 2, 3"),
    ({"gpu_idx": -1, "worker_ip": "a"}, "gpu_idx", "no device -1"),
    ({"gpu_idx": [], "worker_ip": "a"}, "gpu_idx", "at least one"),
    ({"gpu_idx": "0,x", "worker_ip": "a"}, "gpu_idx", "must be device indices"),
    ({"gpu_idx": "", "worker_ip": "a"}, "gpu_idx", "must be device indices"),
    ({"gpu_idx": [1, 1], "worker_ip": "a"}, "gpu_idx", "names device 1 twice for one replica"),
    ({"gpu_idx": [0, 1, 1, 2], "n_gpu": 2, "replica": 2, "worker_ip": "a", "slots": ["a@0"]}, "gpu_idx", "beside"),
    ({"gpu_idx": [0, 1, 2, 2], "n_gpu": 2, "worker_ip": "a"}, "gpu_idx", "device 2 twice"),
    ({"gpu_idx": [0, 1], "replica": 3, "worker_ip": "a"}, "gpu_idx", "2 devices, which do not divide into 3 replicas"),
    ({"gpu_idx": [0, 1, 2], "replica": 2, "worker_ip": "a"}, "gpu_idx", "do not divide"),
    ({"gpu_idx": [0, 1, 2], "n_gpu": 2, "worker_ip": "a"}, "gpu_idx", "no multiple of n_gpu 2"),
    ({"gpu_idx": [0, 1], "n_gpu": 2, "replica": 2, "worker_ip": "a"}, "gpu_idx", "needs 4"),
    ({"slots": []}, "slots", "at least one entry"),
    ({"slots": ["a"]}, "slots", "must be ADDR@INDEX"),
    ({"slots": ["@0"]}, "slots", "must be ADDR@INDEX"),
    ({"slots": ["a@"]}, "slots", "must be device indices"),
    ({"slots": ["a@-1"]}, "slots", "must be device indices"),
    ({"slots": ["a@٣"]}, "slots", "must be device indices"),
    ({"slots": ["a@0,0"]}, "slots", "device 0 twice"),
    ({"slots": ["a@7"]}, "slots", "no device 7"),
    ({"slots": ["z@0"]}, "slots", "no worker 'z'"),
    ({"slots": ["a@0"], "replica": 2}, "replica", "the number of slots is 1"),
    ({"slots": ["a@0"], "gpu_idx": 0}, "gpu_idx", "slots says it all, so gpu_idx cannot stand beside it"),
    ({"slots": ["a@0"], "worker_ip": "a"}, "worker_ip", "slots says it all"),
    ({"slots": ["a@0"], "n_gpu": 1}, "n_gpu", "slots says it all"),
    ({"slots": ["a@0"], "replica_config": config(("a", 0))}, "replica_config", "slots says it all"),
    ({"replica_config": config(("a", 0)), "gpu_idx": 0}, "gpu_idx", "replica_config says it all"),
    ({"replica_config": config(("a", 0)), "worker_ip": "a"}, "worker_ip", "replica_config says it all"),
    ({"replica_config": config(("a", 0)), "n_gpu": 2}, "n_gpu", "replica_config says it all"),
    ({"replica_config": []}, "replica_config", "at least one entry"),
    ({"replica_config": config(("a", 0), ("a", 1)), "replica": 3}, "replica", "the length of replica_config is 2"),
    ({"replica_config": config(("a", [0, 0]))}, "replica_config", "twice"),
    ({"replica_config": config(("a", 8))}, "replica_config", "no device 8"),
    ({"replica_config": config(("z", 0))}, "replica_config", "no worker 'z'"),
    ({"replica_config": [{"devices": [{"worker_ip": "a", "n_gpu": 0}]}]}, "replica_config", "at least 1"),
    ({"replica_config": [{"devices": [{"worker_ip": "a", "n_gpu": 9}]}]}, "replica_config", "asks for 9"),
    ({"replica_config": [{"devices": [{"worker_ip": "a", "gpu_idx": [0], "n_gpu": 2}]}]}, "replica_config", "make them equal"),
    (
        {"replica_config": [{"devices": [{"worker_ip": "a", "gpu_idx": 0}, {"worker_ip": "b", "gpu_idx": 0}]}]},
        "replica_config",
        "several workers, which is not offered yet",
    ),
    ({"replica_config": [{"devices": [{"worker_ip": "a", "gpu_idx": 0}, {"worker_ip": "a"}]}]}, "replica_config", "for all devices"),
]


@pytest.mark.parametrize(("fields", "param", "sentence"), REFUSED, ids=[str(r[0]) for r in REFUSED])
def test_contradictions_are_refused_by_field(fields: dict[str, Any], param: str, sentence: str) -> None:
    with pytest.raises(InvalidPlacement) as caught:
        pins(**fields)
    assert caught.value.param == param
    assert sentence in caught.value.message
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    assert caught.value.http_status == 400


@pytest.mark.parametrize("fields", [{"worker_ip": "10.0.0.1", "gpu_idx": 0}, {"worker_ip": "10.0.0.1"}, {"slots": ["10.0.0.1@0"]}])
def test_an_ip_shared_by_several_workers_lists_them(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidPlacement, match=r"10\.0\.0\.1:24002, 10\.0\.0\.1:24003") as caught:
        pins((A, TWIN, B), **fields)
    assert caught.value.details["choices"] == ["10.0.0.1:24002", "10.0.0.1:24003"]


def test_a_twin_is_named_by_its_port() -> None:
    assert pins((A, TWIN), slots=["10.0.0.1:24003@1"]) == [slot("c", 1)]


def test_lost_workers_are_not_there() -> None:
    with pytest.raises(InvalidPlacement, match=r"no worker '10\.0\.0\.4', only 10\.0\.0\.1:24002"):
        pins((A, LOST), worker_ip="10.0.0.4")
    with pytest.raises(InvalidPlacement, match="as no worker has joined yet"):
        pins((LOST,), worker_ip="10.0.0.4")
    with pytest.raises(InvalidPlacement, match="no worker yet"):
        pins((LOST,), gpu_idx=0)


def test_an_empty_host_name_matches_nothing() -> None:
    with pytest.raises(InvalidPlacement, match="no worker"):
        pins((B,), worker_ip="")


def test_many_workers_are_not_all_listed() -> None:
    many = tuple(worker("a", 1, address=f"10.1.0.{i:03}:1") for i in range(50))
    with pytest.raises(InvalidPlacement, match=r"10\.1\.0\.007:1 and 42 more\.$"):
        pins(many, gpu_idx=0)


@given(
    groups=st.lists(st.permutations(range(4)), min_size=1, max_size=6),
    size=st.integers(1, 4),
)
def test_all_spellings_of_the_same_slots_agree(groups: list[list[int]], size: int) -> None:
    wanted = [tuple(group[:size]) for group in groups]
    slots = [slot("a", *indices) for indices in wanted]
    flat = [index for indices in wanted for index in indices]
    assert pins(slots=[f"10.0.0.1:24002@{','.join(map(str, indices))}" for indices in wanted]) == slots
    assert pins(replica_config=config(*(("10.0.0.1", list(indices)) for indices in wanted))) == slots
    assert pins(replica=len(wanted), gpu_idx=flat, worker_ip="a") == slots
    assert pins(n_gpu=size, gpu_idx=",".join(map(str, flat)), worker_ip="a") == slots
