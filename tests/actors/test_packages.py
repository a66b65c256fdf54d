"""Two models in one cluster: the replica of one sees a package of its own, that of the other the worker's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.actors.conftest import Stage
from tests.actors.test_hosting import only
from tests.support.wheels import copy_of, make_wheel
from xinfer.cluster.ids import ModelUid, ReplicaId
from xinfer.cluster.replica import Phase
from xinfer.schemas.launch import LaunchRequest

SAYS = "import sys; sys.stderr.write(f'annotated_types of {__file__}\\n')"


@pytest.fixture(autouse=True)
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    for version in ("98.0", "99.0"):
        make_wheel(folder, "annotated-types", version, copy_of("annotated_types", SAYS))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def request(model: Path, uid: str, *packages: str) -> LaunchRequest:
    return LaunchRequest(model_path=str(model), model_type="rerank", model_uid=uid, model_engine="onnxruntime", packages=list(packages))


async def test_one_model_sees_its_package_and_the_other_the_workers(stage: Stage, reranker_onnx: Path, tmp_path: Path) -> None:
    await stage.supervisor.launch(request(reranker_onnx, "with", "annotated-types>=99"))
    await stage.supervisor.launch(request(reranker_onnx, "plain"))
    assert await stage.supervisor.wait_ready(ModelUid("with"), 120)
    assert await stage.supervisor.wait_ready(ModelUid("plain"), 60)
    tail = (await stage.supervisor.written(ModelUid("with"), "0", 1000, None)).text
    # The last to import it was the replica itself, not the probe: the probe's line comes with the build's.
    assert tail.count(f"annotated_types of {tmp_path / 'home' / 'environments'}") == 2
    assert "annotated_types of" not in (await stage.supervisor.written(ModelUid("plain"), "0", 1000, None)).text
    replicas = (await stage.snapshot()).replicas
    assert {r.phase for r in replicas.values()} == {Phase.READY}


async def test_two_versions_of_one_package_serve_at_once(stage: Stage, reranker_onnx: Path, tmp_path: Path) -> None:
    for version in ("98", "99"):
        await stage.supervisor.launch(request(reranker_onnx, f"v{version}", f"annotated-types=={version}.*"))
    for version in ("98", "99"):
        assert await stage.supervisor.wait_ready(ModelUid(f"v{version}"), 120)
        replica = (await stage.snapshot()).replicas[ReplicaId(f"v{version}-0")]
        assert replica.pid is not None
        folder = Path(psutil.Process(replica.pid).cmdline()[0]).parents[1]
        assert [info.name for info in folder.rglob("annotated_types-*.dist-info")] == [f"annotated_types-{version}.0.dist-info"]
        tail = (await stage.supervisor.written(ModelUid(f"v{version}"), "0", 1000, None)).text
        assert tail.count(f"annotated_types of {folder}") == 2  # the probe's and the replica's
    assert {r.phase for r in (await stage.snapshot()).replicas.values()} == {Phase.READY}


async def test_a_restart_uses_what_was_built(stage: Stage, reranker_onnx: Path) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx, "with", "annotated-types>=99"))
    assert await stage.supervisor.wait_ready(uid, 120)
    replica = await only(stage, Phase.READY)
    assert replica.pid is not None
    psutil.Process(replica.pid).kill()
    while (await only(stage, Phase.READY)).restarts == 0:
        pass
    tail = (await stage.supervisor.written(uid, replica.id, 1000, None)).text
    assert tail.count("packages: building") == 1


async def test_a_package_that_does_not_exist_fails_the_launch_with_its_reason(stage: Stage, reranker_onnx: Path) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx, "with", "no-such-package-at-all"))
    replica = await only(stage, Phase.FAILED)
    assert replica.error == "packages cannot be installed: No matching distribution found for no-such-package-at-all."
    assert replica.error_code == "launch_failed"
    assert "ERROR: No matching distribution" in replica.stderr_tail
    assert "ERROR: No matching distribution" in (await stage.supervisor.written(uid, replica.id, 100, None)).text


async def test_installing_is_a_phase_and_a_stop_ends_it(stage: Stage, reranker_onnx: Path, tmp_path: Path) -> None:
    uid = await stage.supervisor.launch(request(reranker_onnx, "with", "annotated-types>=99"))
    await only(stage, Phase.INSTALLING)
    environments = tmp_path / "home" / "environments"
    while not list(environments.glob("*/bin/python")):
        await asyncio.sleep(0.01)
    await stage.supervisor.stop(uid)
    assert not (await stage.snapshot()).replicas
    assert not [path for path in environments.iterdir() if path.is_dir()]  # nothing half made
