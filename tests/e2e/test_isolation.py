"""A model's own packages and what its replicas wrote, through the command line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import psutil

from tests.support.cluster import BIN, Cluster, until
from tests.support.wheels import copy_of, make_wheel


def test_packages_are_installed_beside_the_others_and_logs_outlive_the_model(cluster: Cluster, reranker_onnx: Path, tmp_path: Path) -> None:
    for version in ("98.0", "99.0"):
        make_wheel(tmp_path / "wheels", "annotated-types", version, copy_of("annotated_types"))
    cluster.extra_env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels")}
    cluster.serve("--simulate-gpus", "4x24GiB")
    model = ("-t", "rerank", "-mp", str(reranker_onnx))
    for version in ("98", "99"):
        cluster.launch(*model, "-u", f"v{version}", "--packages", f"annotated-types=={version}.*")
    cluster.launch(*model, "-u", "plain")
    for uid in ("v98", "v99", "plain"):
        answer = httpx.post(f"{cluster.url}/v1/rerank", json={"model": uid, "query": "q", "documents": ["a", "b"]}, timeout=30)
        assert answer.status_code == 200
    pythons = [psutil.Process(cluster.replicas(uid)[0]["pid"]).cmdline()[0] for uid in ("v98", "v99", "plain")]
    assert len(set(pythons)) == 3
    assert cluster.get("/v1/models/v98")["packages"] == ["annotated-types==98.*"]

    following = subprocess.Popen([str(BIN / "xinfer"), "logs", "v99", "0", "-f"], env=cluster.env, stdout=subprocess.PIPE, text=True)
    try:
        assert following.stdout is not None
        assert following.stdout.readline()
        psutil.Process(cluster.replicas("v99")[0]["pid"]).kill()
        until(lambda: cluster.replicas("v99")[0]["restarts"] == 1 and cluster.replicas("v99")[0]["phase"] == "ready", "restarted", 60)
        starts = 0
        while starts < 2:  # the first life's, then that of the one that took its place
            starts += "calibrat" in following.stdout.readline()
    finally:
        following.kill()
        following.wait()

    refused = cluster.run("launch", *model, "-u", "bad", "--packages", "no-such-package-at-all", ok=False)
    assert refused.returncode != 0
    assert "No matching distribution found for no-such-package-at-all" in refused.stderr
    environments = cluster.home / "environments"
    assert len([path for path in environments.iterdir() if path.is_dir()]) == 2
    assert "ERROR: No matching distribution" in cluster.run("logs", "bad", "0").stdout

    cluster.run("stop", "v98")
    assert "packages: building" in cluster.run("logs", "v98", "0", "--tail", "500").stdout
    assert cluster.run("logs", "v98", "3", ok=False).returncode == 4
