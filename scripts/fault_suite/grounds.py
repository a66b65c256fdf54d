"""The clusters that rows run on. Rows that leave theirs whole share it."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from scripts.fault_suite.ground import BACK, UID, Ground, Pace, Seen
from scripts.fault_suite.network import Network, listening
from tests.support.cluster import Cluster, Command, until
from tests.support.hub import Hub

GPUS = "3x24GiB"
TOKEN = "a-token-that-both-hosts-of-the-fault-suite-have"


@dataclass
class Pair(Ground):
    """A supervisor with two API processes, and two workers of three simulated GPUs, each under a launcher of its own."""

    supervisor: Command = field(init=False)
    workers: dict[str, Command] = field(default_factory=dict)

    def begin(self) -> None:
        """Start all of it."""
        as_shells_give()
        self.cluster.prefix = self.pace.prefix
        self.supervisor = self.cluster.supervisor("--api-processes", "2")
        for _ in range(2):
            self.add_worker()

    def add_worker(self) -> None:
        before = {worker["address"] for worker in self.cluster.slots()["workers"]}
        command = self.cluster.worker("--simulate-gpus", GPUS)
        (address,) = {worker["address"] for worker in self.cluster.slots()["workers"]} - before
        self.workers[address] = command

    def settle(self) -> None:
        """Two replicas, one on each worker."""
        until(lambda: self.cluster.n_workers() == 2, "two workers", BACK)
        whole(self)

    def worker_of(self, address: str) -> Command:
        """The launcher of a worker, found by the address that one of its processes listens on."""
        port = int(address.rpartition(":")[2])
        for command in self.workers.values():
            if any(found == port for process in command.tree() for _, found in listening(process.pid)):
                return command
        raise AssertionError(f"no worker of ours listens on {address}")


@dataclass
class Serve(Ground):
    """`xinfer serve` with three simulated GPUs, which fetches models from a hub on the loopback.

    Attributes:
        own_disk: whether its home lies on a small disk that only its processes see.
    """

    hub: Hub = field(init=False)
    command: Command = field(init=False)
    own_disk: bool = False

    @property
    def home(self) -> Path:
        """Its home, as this process reaches it."""
        path = self.cluster.home
        return Path(f"/proc/{self.command.pid}/root{path}") if self.own_disk else path

    def begin(self, *prefix: str) -> None:
        """Start it, after ``prefix`` on its command line."""
        self.cluster.prefix = (*prefix, *self.pace.prefix)
        self.command = self.cluster.serve("--simulate-gpus", GPUS)
        self.cluster.prefix = ()

    def settle(self) -> None:
        """Two replicas."""
        until(lambda: self.cluster.n_workers() == 1, "a worker", BACK)
        whole(self)


@dataclass
class Hosts(Ground):
    """Two hosts in network namespaces: supervisor and a worker on ``a``, a worker on ``b``."""

    network: Network = field(init=False)
    supervisor: Command = field(init=False)
    near: Command = field(init=False)
    far: Command = field(init=False)

    def begin(self, network: Network) -> None:
        """Start all of it."""
        as_shells_give()
        self.network = network
        a, b = network.address("a"), network.address("b")
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = f"{a},{b},127.0.0.1,localhost"
        self.cluster.address = a
        self.cluster.prefix = (*network.inside("a"), *self.pace.prefix)
        self.cluster.extra_env["XINFER_CLUSTER_TOKEN"] = TOKEN
        other = Cluster(self.cluster.home.with_name("other-home"), self.cluster.port, address=a)
        other.prefix = (*network.inside("b"), *self.pace.prefix)
        other.extra_env.update(self.cluster.extra_env)
        self.homes.append(other)
        self.supervisor = self.cluster.supervisor("--host", a, "--supervisor-host", a)
        self.near = self.cluster.worker("--host", a, "--simulate-gpus", GPUS)
        self.far = other.worker("--host", b, "--simulate-gpus", GPUS)

    @property
    def other(self) -> Cluster:
        """What runs on host b."""
        return self.homes[0]

    def settle(self) -> None:
        """Both hosts there; two replicas, one on each; one more that is pinned to host b."""
        self.network.heal("b")
        if self.far.process.poll() is not None:
            self.far.start()
        until(lambda: self.states() == {"a": "alive", "b": "alive"}, f"both workers alive: {self.states()}", BACK)
        whole(self)
        if not self.ready("pin"):
            self.cluster.run("stop", "pin", ok=False)
            (address,) = (w["address"] for w in self.cluster.slots()["workers"] if self.host_of(w["address"]) == "b")
            self.launch("--pin", f"{address}@2", uid="pin")

    def host_of(self, address: str) -> str:
        """``a`` or ``b``."""
        return "a" if address.startswith(self.network.address("a") + ":") else "b"

    def states(self) -> dict[str, str]:
        """State of each host's worker."""
        return {self.host_of(worker["address"]): worker["state"] for worker in self.cluster.slots()["workers"]}


def as_shells_give() -> None:
    """What is started from here may open so few files at first, as from most shells."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, most), most))


def whole(ground: Ground) -> None:
    """Two replicas of the reranker, ready, one on each worker or in two slots of the only one."""
    seen = ground.replicas()
    workers = {worker["address"] for worker in ground.cluster.slots()["workers"] if worker["state"] == "alive"}
    spread = len({each.worker for each in seen}) == min(2, len(workers))
    if len(seen) != 2 or not spread or any(each.phase != "ready" for each in seen):
        anew(ground)


def unhurt(ground: Ground) -> Seen:
    """A replica that has not been started again yet; one that has crashed is not started again at once when it crashes once more."""
    if not any(each.restarts == 0 for each in ground.replicas()):
        anew(ground)
    return next(each for each in ground.replicas() if each.restarts == 0)


def anew(ground: Ground) -> None:
    """Launch the reranker (again)."""
    if UID in ground.models():
        ground.cluster.run("stop", UID)
        until(lambda: UID not in ground.models(), f"{UID} gone", BACK)
    workers = {worker["address"] for worker in ground.cluster.slots()["workers"] if worker["state"] == "alive"}
    ground.launch("-r", "2")
    seen = ground.replicas()
    assert len({each.worker for each in seen}) == min(2, len(workers)), f"not one on each worker: {seen}"


@contextmanager
def _pair(folder: Path, model: Path, pace: Pace) -> Iterator[Ground]:
    ground = Pair(Cluster(folder / "home"), model, pace)
    try:
        ground.begin()
        yield ground
    finally:
        ground.cluster.end()


@contextmanager
def _serve(folder: Path, model: Path, pace: Pace, own_disk: bool = False) -> Iterator[Ground]:
    ground = Serve(Cluster(folder / "home"), model, pace, own_disk=own_disk)
    ground.hub = Hub.of_onnx(model, "cross-encoder/ms-marco-MiniLM-L6-v2")
    ground.cluster.extra_env.update(_fetching(ground.hub, folder))
    home = ground.cluster.home
    home.mkdir(parents=True)
    mount = f'mount -t tmpfs -o size=24m tmpfs "{home}" && exec "$@"'
    try:
        ground.begin(*([*_unshare(), "sh", "-c", mount, "sh"] if own_disk else []))
        yield ground
    finally:
        ground.hub.close()
        ground.cluster.end()


def _fetching(hub: Hub, folder: Path) -> dict[str, str]:
    """The environment in which models come from that hub, and by no proxy."""
    own = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "TRANSFORMERS_OFFLINE": "0",
    }
    direct = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), "")
    return {**own, **direct, "XINFER_MODEL_CACHE": str(folder / "cache")}


def _unshare() -> list[str]:
    """Where mounts are seen by nobody else, and go with the last process."""
    return ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else [])]


@cache
def disk_why_not() -> str:
    """Why there can be no small disk here; "" if there can."""
    try:
        done = subprocess.run(
            [*_unshare(), "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True, timeout=20, check=False
        )
    except OSError as error:
        return f"needs unshare: {error}"
    return f"no disk of its own here: {done.stderr.strip()}" if done.returncode else ""


@contextmanager
def _hosts(folder: Path, model: Path, pace: Pace) -> Iterator[Ground]:
    ground = Hosts(Cluster(folder / "home"), model, pace)
    with Network(("a", "b")) as network:
        try:
            ground.begin(network)
            yield ground
        finally:
            network.heal("b")
            for home in (*ground.homes, ground.cluster):
                home.end()


Factory = Callable[[Path, Path, Pace], AbstractContextManager[Ground]]
GROUNDS: dict[str, Factory] = {"pair": _pair, "serve": _serve, "small disk": partial(_serve, own_disk=True), "hosts": _hosts}
