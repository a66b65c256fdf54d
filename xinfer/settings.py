"""Frozen settings; the CLI fills them once from flags and environment and hands them down by value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

S = TypeVar("S")

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Home:
    """Where state, logs and model files live.

    Attributes:
        root: ``XINFER_HOME``, default ``~/.xinfer``.
        model_cache: ``XINFER_MODEL_CACHE``, default ``root/models``.
    """

    root: Path
    model_cache: Path

    @classmethod
    def from_env(cls, env: Mapping[str, str], root: str | None = None) -> Home:
        """Resolve flags over environment over defaults."""
        user_home = Path(env.get("HOME", "/"))
        base = Path(root or env.get("XINFER_HOME") or user_home / ".xinfer").absolute()
        cache = Path(env.get("XINFER_MODEL_CACHE") or base / "models").absolute()
        return cls(base, cache)

    @property
    def logs(self) -> Path:
        """Directory of log files and of each replica's stderr."""
        return self.root / "logs"

    @property
    def environments(self) -> Path:
        """Directory of the virtual environments of models that asked for packages."""
        return self.root / "environments"

    @property
    def store(self) -> Path:
        """The SQLite file of desired state."""
        return self.root / "state.sqlite3"

    @property
    def token(self) -> Path:
        """The cluster token made for loopback, mode 0600."""
        return self.root / "cluster.token"


@dataclass(frozen=True, slots=True)
class ScaleTimings:
    """When replicas are added and let go by load, in seconds (doc/adr/0015-autoscaling.md).

    Attributes:
        report: between two reports of an API process; three missed ones, and its load no longer counts.
        mean: of the load that decides; ``up`` and ``down``: how long it must ask for more, or for less.
        surge: of the load that decides at once, if it is twice the target.
        idle: without a request until a model that may sleep does; a launch may say otherwise.
    """

    report: float = 2.0
    mean: float = 30.0
    up: float = 10.0
    down: float = 300.0
    surge: float = 6.0
    idle: float = 600.0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds; tests shorten them."""

    heartbeat: float = 2.0
    suspect: float = 6.0
    lost: float = 10.0
    settle: float = 15.0
    hold_for_replica: float = 30.0
    hold_for_wake: float = 120.0
    drain: float = 30.0
    stop: float = 10.0
    spawn: float = 60.0
    install: float = 1800.0
    load: float = 3600.0
    health_every: float = 5.0
    health_deadline: float = 30.0
    request: float = 600.0
    scale: ScaleTimings = field(default_factory=ScaleTimings)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and one queue, may hold."""

    body_bytes: int = 64 * 1024 * 1024
    documents: int = 100_000
    queued_requests: int = 8_192
    queued_tokens: int = 4_000_000


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of the REST port's certificate (with its chain) and key, PEM."""

    certfile: Path
    keyfile: Path


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """``xinfer-supervisor``: the REST socket and the control process.

    Attributes:
        host, port: of the REST socket.
        tls: of the REST socket; None = plain HTTP.
        model_roots: folders on the workers whose models callers who are no admins may launch by path.
        control_host, control_port: of the SupervisorActor; port 0 = any free one, kept across restarts.
    """

    home: Home
    host: str = "127.0.0.1"
    port: int = 9997
    control_host: str = "127.0.0.1"
    control_port: int = 0
    api_processes: int = 1
    log_level: str = "info"
    timings: Timings = field(default_factory=Timings)
    limits: Limits = field(default_factory=Limits)
    tls: Tls | None = None
    model_roots: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class SimulatedGpus:
    """``--simulate-gpus 4x24GiB``."""

    count: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """``xinfer-worker``.

    Attributes:
        endpoint: REST address of the supervisor, or "" when ``control_address`` is known.
        control_address: ``ip:port`` of the SupervisorActor.
        host, port: of the WorkerActor; port 0 = any free one of the range.
        port_range: inclusive range for worker and replica ports; None = ephemeral.
        cpu_slots: 0 = GPUs if there are any, else one CPU slot.
        simulate_workers: WorkerActors in one process, for tests of size.
        ca_file: authority of the endpoint's certificate, PEM; None = those that the system trusts.
    """

    home: Home
    endpoint: str = ""
    control_address: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    port_range: tuple[int, int] | None = None
    cpu_slots: int = 0
    simulate_gpus: SimulatedGpus | None = None
    simulate_workers: int = 1
    log_level: str = "info"
    timings: Timings = field(default_factory=Timings)
    ca_file: Path | None = None


def dump(settings: object) -> dict[str, Any]:
    """Settings as plain JSON values, to be handed to a child process."""
    from pydantic import TypeAdapter  # here, so that reading settings alone stays quick

    plain: dict[str, Any] = TypeAdapter(type(settings)).dump_python(settings, mode="json")
    return plain


def load(cls: type[S], payload: Mapping[str, Any]) -> S:
    """The reverse of `dump`; raises pydantic's ValidationError for a payload that is not ``cls``."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls).validate_python(dict(payload))
