"""`upgrade`."""

from __future__ import annotations

import json

from tests.unit.cli.conftest import ADDRESS, FakeServer, error, run
from xinfer.schemas.cluster import UpgradeReply

PATH = f"/v1/workers/{ADDRESS}/upgrade"
REPLY = UpgradeReply(worker_id="w1", address=ADDRESS, version_before="1.0", version="1.1", kept=["rr-0"], restarted=["rr-1"])


def test_it_says_which_code_runs_and_what_became_of_the_replicas(server: FakeServer) -> None:
    server.on("POST", PATH, REPLY)
    done = run("upgrade", ADDRESS)
    assert done.exit_code == 0
    assert f"{ADDRESS} runs 1.1, before 1.0; 1 replica kept." in done.stderr
    assert "Started again: rr-1." in done.stderr
    assert json.loads(run("upgrade", ADDRESS, "--json").stdout) == REPLY.model_dump()
    assert run("upgrade", ADDRESS, "-q").stdout == "w1\n"


def test_a_refusal_is_a_failure_with_its_reason(server: FakeServer) -> None:
    server.on("POST", PATH, (409, error("upgrade_refused", "The worker was not upgraded and goes on: SyntaxError")))
    done = run("upgrade", ADDRESS)
    assert done.exit_code == 1
    assert "goes on: SyntaxError" in done.stderr
