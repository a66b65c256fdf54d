"""Nobody without the token gets in, and no process listens to the world without one."""

from __future__ import annotations

import os
import pickle
import socket
import stat
import struct
from pathlib import Path

import psutil

from tests.support.cluster import Cluster, until


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.path),))


def frames(bomb: bytes) -> list[bytes]:
    """Ways to push a pickle at an actor port: raw, length-prefixed, and as the transport's unauthenticated frame."""
    return [
        bomb,
        struct.pack("<Q", len(bomb)) + bomb,
        struct.pack("<BQQ", 0, 1, len(bomb)) + bomb,
        struct.pack(">I", len(bomb)) + bomb,
        b"\x00" * 64,
    ]


def test_a_raw_client_without_the_token_runs_nothing_on_any_internal_port(cluster: Cluster, reranker_onnx: Path, tmp_path: Path) -> None:
    command = cluster.serve("--cpu-slots", "2")
    cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce", "-r", "2")
    ports = {
        c.laddr.port
        for p in command.tree()
        for c in p.net_connections(kind="tcp")
        if c.status == psutil.CONN_LISTEN and c.laddr.port != cluster.port
    }
    assert len(ports) >= 5  # control, API, worker, two replicas
    mark = tmp_path / "ran"
    for port in ports:
        for frame in frames(pickle.dumps(Bomb(mark))):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
                link.settimeout(10)
                link.sendall(frame)
                link.shutdown(socket.SHUT_WR)
                while link.recv(65536):
                    pass
    assert not mark.exists()
    assert len(cluster.replicas("ce")) == 2
    assert all(r["phase"] == "ready" for r in cluster.replicas("ce"))


def test_the_loopback_token_is_private(cluster: Cluster) -> None:
    cluster.supervisor()
    token = cluster.home / "cluster.token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text().strip()) >= 32


def test_a_bind_that_is_not_loopback_needs_a_token_and_says_how(cluster: Cluster) -> None:
    for argv in (
        ["supervisor", "--supervisor-host", "192.0.2.1", "--port", str(cluster.port)],
        ["worker", "-e", cluster.url, "--host", "192.0.2.1"],
    ):
        done = cluster.run(*argv, ok=False, timeout=30)
        assert done.returncode != 0
        assert "XINFER_CLUSTER_TOKEN" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_worker_with_another_token_does_not_join(cluster: Cluster, tmp_path: Path) -> None:
    cluster.supervisor()
    other = Cluster(tmp_path / "other", port=cluster.port, extra_env={"XINFER_CLUSTER_TOKEN": "x" * 40})
    try:
        command = other.begin("xinfer-worker", "-e", cluster.url, "--cpu-slots", "1")
        until(lambda: "cluster token" in command.log.read_text(), "the worker turned away, and told why", 30)
        assert cluster.n_workers() == 0
    finally:
        other.end()
