"""`serve`, `supervisor`, `worker`: flags become settings and roles; what cannot work is refused before anything starts."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import make_certificate
from tests.unit.cli.conftest import run
from xinfer.cli import greeting, roles
from xinfer.processes.launcher import Announced, Role
from xinfer.processes.spawn import ProcessSpec
from xinfer.settings import Home, Limits, ServerSettings, SimulatedGpus, Tls, WorkerSettings, load

CONTROL = {"control": {"address": "127.0.0.1:24000"}}
WORKER = {"worker": {"address": "127.0.0.1:24002", "devices": ["0: CPU", "1: CPU"], "workers": 1}}


@dataclass
class Started:
    """What a command would have run."""

    roles: list[Role] = field(default_factory=list)
    listening: bool = False

    def spec(self, name: str, announced: Announced) -> ProcessSpec:
        (role,) = [role for role in self.roles if role.name == name]
        return role.make_spec(announced)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Started:
    """Instead of running, remember the roles and greet."""
    seen = Started()

    def fake_run(every: Sequence[Role], log_level: str, greet: Any) -> int:
        seen.roles = list(every)
        for role in every:
            for fd in role.make_spec({**CONTROL, **WORKER}).pass_fds[:1]:
                with socket.socket(fileno=os.dup(fd)) as sock:
                    seen.listening = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        greet({**CONTROL, **WORKER})
        return 0

    monkeypatch.setattr(roles, "run", fake_run)
    monkeypatch.setenv("XINFER_HOME", str(tmp_path / "home"))
    for name in ("XINFER_CLUSTER_TOKEN", "XINFER_MODEL_CACHE", "XINFER_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return seen


def server_settings(spec: ProcessSpec) -> ServerSettings:
    return load(ServerSettings, spec.payload["settings"])


def worker_settings(spec: ProcessSpec) -> WorkerSettings:
    return load(WorkerSettings, spec.payload["settings"])


def test_serve_starts_control_worker_api_in_this_order(started: Started, tmp_path: Path) -> None:
    result = run("serve", "-p", "0", "--api-processes", "2", "--cpu-slots", "2", "--log-level", "debug")
    assert result.exit_code == 0, result.stderr
    assert [role.name for role in started.roles] == ["control", "worker", "api-0", "api-1"]
    assert started.listening
    settings = server_settings(started.spec("control", {}))
    assert settings.home == Home.from_env({}, str(tmp_path / "home"))
    assert (settings.host, settings.control_host, settings.api_processes, settings.log_level) == ("127.0.0.1", "127.0.0.1", 2, "debug")
    worker = worker_settings(started.spec("worker", CONTROL))
    assert (worker.control_address, worker.cpu_slots, worker.host, worker.log_level) == ("127.0.0.1:24000", 2, "127.0.0.1", "debug")


def test_every_child_gets_the_token_the_home_and_a_name(started: Started, tmp_path: Path) -> None:
    run("serve", "-p", "0", "--home", str(tmp_path / "other"))
    token = (tmp_path / "other" / "cluster.token").read_text().strip()
    targets = []
    for role in started.roles:
        env = role.make_spec({**CONTROL}).env
        assert (env["XOSCAR_AUTH_KEY"], env["XINFER_HOME"]) == (token, str(tmp_path / "other"))
        targets.append(env["XINFER_PROCESS"])
    assert targets == [roles.CONTROL_TARGET, roles.WORKER_TARGET, roles.API_TARGET]


def test_a_restarted_control_process_gets_its_old_port(started: Started) -> None:
    run("supervisor", "-p", "0")
    assert "port" not in started.spec("control", {}).payload
    assert started.spec("control", CONTROL).payload["port"] == 24000


def test_api_processes_know_the_socket_and_the_control_process(started: Started) -> None:
    run("supervisor", "-p", "0")
    spec = started.spec("api-0", CONTROL)
    assert spec.pass_fds == (spec.payload["fd"],)
    assert spec.payload["control"] == "127.0.0.1:24000"


@pytest.mark.parametrize(
    ("flags", "actors"),
    [
        ([], "127.0.0.1"),
        (["-H", "0.0.0.0"], "127.0.0.1"),
        (["-H", "localhost"], "127.0.0.1"),
        (["-H", "127.0.0.1", "--supervisor-host", "127.0.0.2"], "127.0.0.2"),
    ],
)
def test_actors_listen_on_the_rest_host_where_it_is_an_address(started: Started, flags: list[str], actors: str) -> None:
    result = run("supervisor", "-p", "0", "--supervisor-port", "24000", *flags)
    assert result.exit_code == 0, result.stderr
    settings = server_settings(started.spec("control", {}))
    assert (settings.control_host, settings.control_port) == (actors, 24000)


def test_rest_on_all_addresses_needs_no_token_but_says_who_can_join(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("supervisor", "-p", "0", "-H", "0.0.0.0")
    assert result.exit_code == 0
    assert "--supervisor-host" in result.stderr
    assert "--supervisor-host" not in run("supervisor", "-p", "0").stderr
    monkeypatch.setenv("XINFER_CLUSTER_TOKEN", "x" * 40)
    assert "Note" not in run("supervisor", "-p", "0", "-H", "0.0.0.0", "--supervisor-host", "192.0.2.1").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["supervisor", "-p", "0", "--supervisor-host", "192.0.2.1"],
        ["supervisor", "-p", "0", "-H", "192.0.2.1"],
        ["serve", "-p", "0", "--supervisor-host", "192.0.2.1"],
        ["worker", "-H", "192.0.2.1"],
    ],
)
def test_actors_beyond_loopback_need_a_token(started: Started, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "XINFER_CLUSTER_TOKEN" in result.stderr
    assert started.roles == []


@pytest.mark.parametrize("arguments", [["worker", "-H", "0.0.0.0"], ["supervisor", "-p", "0", "--supervisor-host", "::"]])
def test_actors_need_a_concrete_address(started: Started, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setenv("XINFER_CLUSTER_TOKEN", "x" * 40)
    result = run(*arguments)
    assert result.exit_code == 2
    assert "concrete address" in result.stderr


def test_a_token_file_goes_before_the_environment(started: Started, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XINFER_CLUSTER_TOKEN", "e" * 40)
    file = tmp_path / "token"
    file.write_text("f" * 40)
    file.chmod(0o600)
    run("worker", "--cluster-token-file", str(file))
    assert started.spec("worker", {}).env["XOSCAR_AUTH_KEY"] == "f" * 40


def test_worker_flags(started: Started) -> None:
    result = run(
        "worker", "-e", "http://127.0.0.1:9", "--worker-port", "24002", "--port-range", "24000-24100",
        "--simulate-gpus", "4x24GiB", "--simulate-workers", "3",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    settings = worker_settings(started.spec("worker", {}))
    assert (settings.endpoint, settings.control_address, settings.host) == ("http://127.0.0.1:9", "", "127.0.0.1")
    assert (settings.port, settings.port_range, settings.simulate_workers) == (24002, (24000, 24100), 3)
    assert settings.simulate_gpus == SimulatedGpus(4, 24 << 30)
    assert settings.cpu_slots == 0


@pytest.mark.parametrize(
    "flags",
    [
        ["--port-range", "5-4"],
        ["--port-range", "x"],
        ["--port-range", "1-70000"],
        ["--simulate-gpus", "lots"],
        ["--cpu-slots", "0"],
        ["--cpu-slots", "2", "--simulate-gpus", "1x1GiB"],
        ["--log-level", "loud"],
    ],
)
def test_wrong_flags_are_usage_errors(started: Started, flags: list[str]) -> None:
    result = run("worker", *flags)
    assert result.exit_code == 2
    assert flags[0] in result.stderr
    assert started.roles == []


def test_a_taken_port_is_one_line(started: Started) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        result = run("serve", "-p", str(other.getsockname()[1]))
    assert result.exit_code == 2
    assert "in use" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_start_lines_say_where_what_and_what_next(started: Started, tmp_path: Path) -> None:
    lines = run("serve", "-p", "0").stderr.splitlines()
    assert lines[0].endswith(f", 2 slots (2 × CPU), home {tmp_path / 'home'}")
    assert "ready at http://127.0.0.1:" in lines[0]
    assert lines[1].startswith("Next: xinfer launch -n ms-marco-MiniLM-L-12-v2 -r 2 -e http://127.0.0.1:")
    lines = run("worker", "-e", "http://127.0.0.1:9997").stderr.splitlines()
    assert "worker 127.0.0.1:24002 offers 2 slots (2 × CPU) to http://127.0.0.1:9997" in lines[0]
    assert lines[1] == "Next: xinfer slots"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"devices": ["0: NVIDIA H100"], "workers": 1}, "1 slot (NVIDIA H100)"),
        ({"devices": ["0: A: b", "1: A: b", "2: C"], "workers": 1}, "3 slots (2 × A: b, C)"),
        ({"devices": ["0: A"], "workers": 100}, "1 slot on each of 100 workers (A)"),
    ],
)
def test_devices_in_words(facts: dict[str, Any], words: str) -> None:
    assert greeting.devices(facts) == words


def test_run_greets_once_when_the_last_role_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    greeted: list[Announced] = []

    class Instead:
        def __init__(self, every: Sequence[Role], on_ready: Any, *, alone: bool) -> None:
            assert alone
            self.on_ready = on_ready

        async def run(self) -> int:
            self.on_ready("a", {"n": 1})
            assert greeted == []
            self.on_ready("a", {"n": 2})  # restarted before the other was there
            self.on_ready("b", {"n": 3})
            self.on_ready("b", {"n": 4})
            return 7

    monkeypatch.setattr(roles, "Launcher", Instead)

    def never(_: Announced) -> ProcessSpec:
        raise AssertionError("nothing is spawned here")

    assert roles.run([Role("a", never), Role("b", never)], "info", lambda announced: greeted.append(dict(announced))) == 7
    assert greeted == [{"a": {"n": 2}, "b": {"n": 3}}]


@pytest.mark.parametrize("command", ["serve", "supervisor"])
def test_what_requests_may_and_how_they_come(started: Started, tmp_path: Path, command: str) -> None:
    pair = make_certificate(tmp_path)
    result = run(
        command, "-p", "0", "--max-body", "2MiB", "--max-documents", "7", "--model-root", "/a", "--model-root", "/b",
        "--ssl-certfile", str(pair.certfile), "--ssl-keyfile", str(pair.keyfile),
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "https://127.0.0.1:" in result.stderr
    for role in ("control", "api-0"):
        settings = server_settings(started.spec(role, CONTROL))
        assert (settings.limits.body_bytes, settings.limits.documents) == (2 << 20, 7)
        assert settings.model_roots == (Path("/a"), Path("/b"))
        assert settings.tls == Tls(pair.certfile, pair.keyfile)


def test_without_flags_it_is_plain_http_with_the_usual_limits(started: Started) -> None:
    run("serve", "-p", "0")
    settings = server_settings(started.spec("control", {}))
    assert (settings.limits, settings.tls, settings.model_roots) == (Limits(), None, ())


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--max-body", "lots"], "--max-body"),
        (["--max-body", "1B"], "at least 1KiB"),
        (["--max-documents", "0"], "--max-documents"),
        (["--model-root", "models"], "must be absolute"),
        (["--ssl-certfile", "/nowhere.crt"], "--ssl-keyfile must be given too"),
        (["--ssl-certfile", "/nowhere.crt", "--ssl-keyfile", "/nowhere.key"], "/nowhere.crt cannot be read"),
    ],
)
def test_what_cannot_be_served_with_is_refused(started: Started, flags: list[str], sentence: str) -> None:
    for command in ("serve", "supervisor"):
        result = run(command, "-p", "0", *flags)
        assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr
    assert started.roles == []


def test_a_worker_knows_whom_to_trust(started: Started, tmp_path: Path) -> None:
    pair = make_certificate(tmp_path)
    run("worker", "-e", "https://127.0.0.1:9", "--ca-file", str(pair.certfile))
    assert worker_settings(started.spec("worker", {})).ca_file == pair.certfile
    result = run("worker", "-e", "https://127.0.0.1:9", "--ca-file", "/nowhere")
    assert (result.exit_code, "--ca-file /nowhere cannot be read" in result.stderr) == (2, True)
