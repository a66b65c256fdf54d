"""Rows about launches that are given up, or whose client is."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil

from scripts.fault_suite.ground import BACK, GONE, facts, wait_gone
from scripts.fault_suite.grounds import Pair, Serve
from scripts.fault_suite.row import Row
from tests.support.cluster import Command, until

NAME = "ms-marco-MiniLM-L-6-v2"
GIVEN_UP = "given-up"


def cancelled_download(ground: Serve) -> str:
    """Nothing of it is left but the part of the file that is there; the next launch fetches the rest."""
    cache = Path(ground.cluster.extra_env["XINFER_MODEL_CACHE"])
    for uid in ground.models():
        ground.cluster.run("stop", uid)
    until(lambda: not ground.models() and not ground.reserved(), "nothing runs", BACK)
    ground.hub.go_on.clear()
    before = set(ground.command.tree())
    ground.cluster.run("launch", "-n", NAME, "-f", "onnx", "-q", "none", "-u", GIVEN_UP, "--no-wait")
    until(lambda: ground.hub.waiting, "the download half-way", BACK)
    started = sorted(set(ground.command.tree()) - before, key=lambda process: process.pid)
    assert len(started) >= 2, f"a replica and its download: {started}"
    began = time.monotonic()
    ground.cluster.run("stop", GIVEN_UP)
    _no_ghost(ground, started)
    gone = time.monotonic() - began
    assert not list(cache.glob("*/*.json")), "half a download counts as whole"
    ground.hub.go_on.set()
    ground.cluster.run("launch", "-n", NAME, "-f", "onnx", "-q", "none", "-u", GIVEN_UP)
    resumed = [start for name, start in ground.hub.ranges if name.endswith(".onnx") and start > 0]
    assert resumed, f"fetched from the beginning: {ground.hub.ranges}"
    ground.cluster.run("stop", GIVEN_UP)
    return f"{facts(nothing_left_after=gone)}; the next launch went on at byte {resumed[0]:,}"


def cancelled_load(ground: Pair) -> str:
    """A launch that is given up while the model is loaded leaves nothing, and nobody notices."""
    before = {process for command in ground.workers.values() for process in command.tree()}
    reserved = ground.reserved()
    with ground.load():
        ground.cluster.run("launch", "-t", "rerank", "-mp", str(ground.model), "-u", GIVEN_UP, "--no-wait")
        until(lambda: {each.phase for each in ground.replicas(GIVEN_UP)} & {"loading", "warming"}, "the model loading", BACK)
        started = sorted({process for command in ground.workers.values() for process in command.tree()} - before, key=lambda p: p.pid)
        assert started, "no process was started"
        began = time.monotonic()
        ground.cluster.run("stop", GIVEN_UP)
        _no_ghost(ground, started, reserved)
        gone = time.monotonic() - began
    return facts(nothing_left_after=gone)


def client_killed(ground: Pair) -> str:
    """The launch goes on without it."""
    uid = "left-alone"
    with ground.load():
        client = ground.cluster.begin("xinfer", "launch", "-t", "rerank", "-mp", str(ground.model), "-u", uid)
        until(lambda: uid in ground.models(), "the launch under way", BACK)
        assert not ground.ready(uid), "ready before the client could be killed"
        _killed(client)
        took = ground.wait_ready(1, uid)
    ground.cluster.run("stop", uid)
    return f"{facts(ready_after=took)}"


def _killed(client: Command) -> None:
    os.kill(client.pid, signal.SIGKILL)
    assert client.process.wait(GONE) == -signal.SIGKILL, "the client had ended by itself"


def _no_ghost(ground: Pair | Serve, started: list[psutil.Process], reserved: dict[str, int] | None = None) -> None:
    wait_gone(started, "every process of the launch")
    until(lambda: GIVEN_UP not in ground.models(), "the model gone from ps", GONE)
    assert GIVEN_UP not in ground.cluster.run("ps", "--json").stdout, "ps still shows it"
    until(lambda: ground.reserved() == (reserved or {}), f"the slots free again: {ground.reserved()}", GONE)


ROWS = (
    Row("cancelled-download", "launch cancelled in mid-download", "serve", cancelled_download),
    Row("cancelled-load", "launch cancelled in mid-load", "pair", cancelled_load),
    Row("client-killed", "client killed while it waits for a launch", "pair", client_killed),
)
