"""A worker takes up new code: same pid, same replicas, no failed request. The code is a copy that the tests change on disk."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

import xinfer
from tests.e2e.test_faults import launch_two, pids, under_load
from tests.support.cluster import Cluster, Command, until

OLD = f'__version__ = "{xinfer.__version__}"'


class Upgradable:
    """``xinfer serve`` on a copy of the code."""

    def __init__(self, cluster: Cluster, code: Path) -> None:
        self.cluster = cluster
        self.code = code
        self.command: Command = cluster.serve("--cpu-slots", "2")

    def version(self, version: str) -> None:
        """The code on disk calls itself so from now on."""
        file = self.code / "xinfer" / "__init__.py"
        lines = [line for line in file.read_text().splitlines() if not line.startswith("__version__")]
        file.write_text("\n".join([*lines, f'__version__ = "{version}"', ""]))

    def worker(self) -> dict[str, Any]:
        """What the cluster says of its worker."""
        (found,) = self.cluster.get("/v1/workers")
        return dict(found)

    def upgrade(self) -> dict[str, Any]:
        return dict(json.loads(self.cluster.run("upgrade", "127.0.0.1", "--json").stdout))


@pytest.fixture
def upgradable(cluster: Cluster, tmp_path: Path) -> Upgradable:
    code = tmp_path / "code"
    assert OLD in Path(xinfer.__file__).read_text()
    shutil.copytree(Path(xinfer.__file__).parent, code / "xinfer", ignore=shutil.ignore_patterns("__pycache__"))
    cluster.extra_env = {"PYTHONPATH": str(code)}
    return Upgradable(cluster, code)


def test_an_upgrade_under_load_keeps_every_replica_and_fails_no_request(upgradable: Upgradable, reranker_onnx: Path) -> None:
    cluster = upgradable.cluster
    launch_two(cluster, reranker_onnx)
    before, first = pids(cluster), upgradable.worker()
    assert first["version"] == xinfer.__version__
    seen: list[dict[str, Any]] = []

    async def trouble() -> None:
        upgradable.version("77.1")
        seen.append(await asyncio.to_thread(upgradable.upgrade))
        seen.append(await asyncio.to_thread(upgradable.worker))
        assert pids(cluster) == before
        upgradable.version("77.2")
        os.kill(first["pid"], signal.SIGHUP)
        await asyncio.to_thread(until, lambda: upgradable.worker()["version"] == "77.2", "the second upgrade", 60)

    outcome = asyncio.run(under_load(cluster, trouble()))
    assert not outcome.wrong, outcome.wrong
    assert outcome.right > 20
    reply, second = seen
    assert (reply["version_before"], reply["version"], reply["restarted"]) == (xinfer.__version__, "77.1", [])
    assert sorted(reply["kept"]) == ["ce-0", "ce-1"]
    third = upgradable.worker()
    assert first["pid"] == second["pid"] == third["pid"]
    assert first["work-ip"] == second["work-ip"] == third["work-ip"]
    assert first["started_at"] < second["started_at"] < third["started_at"]
    assert pids(cluster) == before
    assert {r["restarts"] for r in cluster.replicas("ce")} == {0}
    # The new image is the parent that its replicas die with, and it can still end and replace them.
    assert {child.pid for child in psutil.Process(third["pid"]).children()} == set(before.values())
    cluster.run("scale", "ce", "1")
    until(lambda: len(pids(cluster)) == 1, "one replica stopped by the new image")
    (left,) = pids(cluster).values()
    psutil.Process(third["pid"]).kill()
    until(lambda: not psutil.pid_exists(int(str(left))), "the replica gone with its worker", 5)


def test_code_that_does_not_start_is_refused_and_nothing_changes(upgradable: Upgradable, reranker_onnx: Path) -> None:
    cluster = upgradable.cluster
    launch_two(cluster, reranker_onnx)
    before, first = pids(cluster), upgradable.worker()
    file = upgradable.code / "xinfer" / "actors" / "worker.py"
    good = file.read_text()
    file.write_text(good + "\nthree wheels\n")
    refused = cluster.run("upgrade", first["worker_id"], ok=False)
    assert refused.returncode == 1
    assert "was not upgraded and goes on" in refused.stderr
    assert "SyntaxError" in refused.stderr
    os.kill(first["pid"], signal.SIGHUP)
    until(lambda: "upgrade refused" in upgradable.command.log.read_text(), "the refusal logged")
    after = upgradable.worker()
    assert (after["pid"], after["started_at"]) == (first["pid"], first["started_at"])
    assert pids(cluster) == before
    file.write_text(good)
    assert sorted(upgradable.upgrade()["kept"]) == ["ce-0", "ce-1"]


def test_an_image_that_dies_after_a_good_rehearsal_costs_a_restart_and_no_request(upgradable: Upgradable, reranker_onnx: Path) -> None:
    cluster = upgradable.cluster
    launch_two(cluster, reranker_onnx)
    before, first = pids(cluster), upgradable.worker()
    main = upgradable.code / "xinfer" / "actors" / "worker_main.py"
    main.write_text(main.read_text() + f"\nif os.getpid() == {first['pid']}:\n    os._exit(3)\n")
    replies: list[dict[str, Any]] = []

    async def trouble() -> None:
        replies.append(await asyncio.to_thread(upgradable.upgrade))
        await asyncio.to_thread(until, lambda: len(pids(cluster)) == 2, "both replicas ready", 60)

    outcome = asyncio.run(under_load(cluster, trouble()))
    assert not outcome.wrong, outcome.wrong
    assert (replies[0]["kept"], sorted(replies[0]["restarted"])) == ([], ["ce-0", "ce-1"])
    after = upgradable.worker()
    assert after["worker_id"] == first["worker_id"]
    assert after["pid"] != first["pid"]
    assert not set(pids(cluster).values()) & set(before.values())


def test_a_launch_that_is_under_way_or_asked_for_meanwhile_becomes_ready(upgradable: Upgradable, reranker_onnx: Path) -> None:
    cluster = upgradable.cluster
    launch = ("launch", "-t", "rerank", "-mp", str(reranker_onnx), "--no-wait")
    cluster.run(*launch, "-u", "under-way")
    with ThreadPoolExecutor(1) as pool:
        upgrading = pool.submit(upgradable.upgrade)
        until(lambda: "upgrading" in upgradable.command.log.read_text(), "the replicas let go of")
        cluster.run(*launch, "-u", "asked-for")
        upgrading.result(120)
    for uid in ("under-way", "asked-for"):
        until(lambda uid=uid: [r["phase"] for r in cluster.replicas(uid)] == ["ready"], f"{uid} ready", 60)
        assert [r["restarts"] for r in cluster.replicas(uid)] == [0]


def test_a_replica_that_dies_while_its_worker_is_upgraded_is_noticed_and_replaced(upgradable: Upgradable, reranker_onnx: Path) -> None:
    cluster = upgradable.cluster
    launch_two(cluster, reranker_onnx)
    before, worker = pids(cluster), upgradable.worker()
    victim = int(str(before[0]))  # type: ignore[index]
    gate = upgradable.code / "gate"
    gate.touch()
    main = upgradable.code / "xinfer" / "actors" / "worker_main.py"
    wait = f"""
if os.getpid() == {worker["pid"]}:
    open({str(gate)!r} + ".reached", "w").close()
    while os.path.exists({str(gate)!r}):
        time.sleep(0.01)
"""
    main.write_text(main.read_text() + wait)
    os.kill(worker["pid"], signal.SIGHUP)
    until(lambda: (upgradable.code / "gate.reached").exists(), "the new image begun", 60)
    os.kill(victim, signal.SIGKILL)
    until(lambda: psutil.Process(victim).status() == psutil.STATUS_ZOMBIE, "it is dead and nobody knows")
    gate.unlink()
    until(lambda: len(pids(cluster)) == 2 and victim not in pids(cluster).values(), "it is replaced", 60)
    after = {r["replica_id"]: r for r in cluster.replicas("ce")}
    assert after[0]["restarts"] == 1
    assert after[1]["pid"] == before[1]  # type: ignore[index]
    assert not psutil.pid_exists(victim)  # reaped by the new image
