"""The REST port under requests made out of its own OpenAPI document, right ones and wrong ones.

``XINFER_OPENAPI_EXAMPLES=200 scripts/test tests/e2e/test_openapi.py`` asks for longer; ``XINFER_OPENAPI_SEED`` for something else.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import httpx

from tests.support.cluster import BIN, Cluster, Command
from tests.support.openapi_checks import __file__ as checks

EXAMPLES = os.environ.get("XINFER_OPENAPI_EXAMPLES", "3")
SEED = os.environ.get("XINFER_OPENAPI_SEED", "1")
PHASES = "examples,coverage,fuzzing" if int(EXAMPLES) < 20 else "examples,coverage,fuzzing,stateful"


def test_no_request_that_the_document_allows_or_forbids_ends_in_500(cluster: Cluster, reranker_onnx: Path) -> None:
    command = cluster.serve("--simulate-gpus", "2x24GiB")
    cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce")
    before = pids(command)
    # fmt: off
    argv = [
        str(BIN / "schemathesis"), "run", f"{cluster.url}/openapi.json",
        "--checks", "no_fault_of_the_server", "--phases", PHASES, "--max-examples", EXAMPLES, "--seed", SEED,
        "--request-timeout", "60", "--no-shrink", "--generation-database", "none", "--warnings", "off", "--continue-on-failure",
    ]
    # fmt: on
    env = {**cluster.env, "SCHEMATHESIS_HOOKS": checks}
    done = subprocess.run(argv, env=env, cwd=cluster.home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert httpx.get(f"{cluster.url}/readyz", timeout=30).status_code == 200
    assert pids(command) == before, "a process ended"


def pids(command: Command) -> dict[str, int]:
    return {mark: command.child(mark).pid for mark in ("control_main", "worker_main", "api.main")}
