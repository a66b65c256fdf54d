"""What people do in the pages, in Chromium."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.ui.conftest import Flow

QUIET = ("newcomer", "follows", "pins", "repeats", "refuses", "dies", "ranks", "looks")
"""Those that leave the cluster as they found it."""


def addresses(cluster: Cluster) -> list[str]:
    return sorted(worker["address"] for worker in cluster.slots()["workers"] if worker["state"] == "alive")


@pytest.mark.parametrize("name", QUIET)
def test_flow(two_workers: Cluster, flow: Flow, name: str) -> None:
    print(flow(name, two_workers, workers=addresses(two_workers)))


def test_a_reload_and_the_supervisors_death_lose_nothing(two_workers: Cluster, flow: Flow) -> None:
    print(flow("reloads", two_workers, control=two_workers.commands[0].child("control").pid))


def test_a_killed_worker_is_shown_at_once(two_workers: Cluster, flow: Flow) -> None:
    last = two_workers.commands[2]
    (address,) = [a for a in addresses(two_workers) if a.rpartition(":")[2] in ports(last.child("worker").pid)]
    others = [a for a in addresses(two_workers) if a != address]
    print(flow("loses", two_workers, worker=last.child("worker").pid, workers=[*others, address]))


def ports(pid: int) -> set[str]:
    import psutil

    return {str(it.laddr.port) for it in psutil.Process(pid).net_connections() if it.status == psutil.CONN_LISTEN}


def test_where_keys_are_on_no_page_is_seen_without_one(tmp_path: Path, flow: Flow) -> None:
    cluster = Cluster(tmp_path / "home")
    try:
        cluster.serve("--simulate-gpus", "2x24GiB")
        key = json.loads(cluster.run("key", "create", "root", "--admin", "--json").stdout)["secret"]
        print(flow("enters", cluster, key=key))
    finally:
        cluster.end()


def test_two_hundred_workers_are_soon_there_and_scroll(tmp_path: Path, flow: Flow) -> None:
    cluster = Cluster(tmp_path / "home")
    try:
        cluster.supervisor()
        command = cluster.begin("xinfer-worker", "-e", cluster.url, "--simulate-workers", "200", "--simulate-gpus", "8x24GiB")
        cluster.wait_workers(200, command)
        print(flow("many", cluster, count=200))
    finally:
        cluster.end()
