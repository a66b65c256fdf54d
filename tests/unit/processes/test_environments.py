"""Environments of single models: keys, what is removed when, and real builds from wheels that the test makes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.support.cluster import until
from tests.support.wheels import copy_of, make_wheel
from xinfer.errors import LaunchFailed, ReplicaLost
from xinfer.processes.building import prune
from xinfer.processes.child import Child
from xinfer.processes.environments import KEEP_UNUSED, SECRETS, Base, Place, build_spec, key_of, sweep, unused
from xinfer.processes.spawn import ProcessSpec, spawn

BASE = Base("/venv", "3.11.7", ("/venv/lib",), {"xoscar": "0.12.2", "torch": "2.13"})
VERSION = "import annotated_types as a, json, sys; print(json.dumps([getattr(a, 'MARK', 'base'), sys.prefix, 'xinfer' in sys.modules]))"


def test_the_key_names_all_that_matters_and_nothing_else() -> None:
    key = key_of(["einops"], BASE)
    assert key == key_of(("einops",), replace(BASE, paths=("/elsewhere",), versions=dict(reversed(BASE.versions.items()))))
    others = [
        key_of(["einops", "tqdm"], BASE),
        key_of(["einops"], replace(BASE, prefix="/other")),
        key_of(["einops"], replace(BASE, python="3.12.0")),
        key_of(["einops"], replace(BASE, versions={"xoscar": "0.12.3", "torch": "2.13"})),
        key_of([], BASE),
    ]
    assert len({key, *others}) == 6


def test_a_month_without_a_start_makes_an_environment_unused() -> None:
    now = 1e9
    assert unused({"a": now, "b": now - KEEP_UNUSED - 1, "c": now - KEEP_UNUSED, "d": 0.0}, now) == ["b", "d"]


def test_what_is_unused_or_never_finished_goes_and_what_is_running_stays(tmp_path: Path) -> None:
    made = {name: Place(tmp_path, name) for name in ("fresh", "old", "running", "building", "broken")}
    for name, place in made.items():
        place.folder.mkdir()
        if name not in ("building", "broken"):
            place.finish({})
    now = made["fresh"].last_used + 10
    for name in ("old", "running"):
        os.utime(made[name].folder / "environment.json", (0, now - KEEP_UNUSED - 60))
    held = made["running"].hold()
    with made["building"].locked(alone=True):
        assert prune(tmp_path, now) == ["broken", "old"]
    os.close(held)
    assert {folder.name for folder in tmp_path.iterdir() if folder.is_dir()} == {"fresh", "running", "building"}
    assert prune(tmp_path, now) == ["building", "running"]


def test_what_was_removed_cannot_be_held(tmp_path: Path) -> None:
    place = Place(tmp_path, "key")
    with pytest.raises(ReplicaLost, match="was removed"):
        place.hold()
    place.folder.mkdir()
    place.finish({})
    with place.locked(alone=True), pytest.raises(ReplicaLost, match="was removed"):
        place.hold()
    os.close(place.hold())


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip finds what lies here, and nothing else."""
    folder = tmp_path / "wheels"
    make_wheel(folder, "annotated-types", "99.0", copy_of("annotated_types", "MARK = 'overlay'"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    return folder


Build = Callable[..., Child]


@pytest.fixture
def build(tmp_path: Path, wheels: Path) -> Build:
    def start(*requirements: str) -> Child:
        return spawn(build_spec(tmp_path / "envs", requirements, ("onnxruntime",), "packages of m-0", (), tmp_path / "log"))

    return start


async def built(child: Child, tmp_path: Path) -> Place:
    facts = await child.ready(120)
    assert await child.wait() == 0
    return Place(tmp_path / "envs", facts["key"])


def folders(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "envs").iterdir() if path.is_dir()]


def seen_in(python: str) -> str:
    return subprocess.run([python, "-P", "-c", VERSION], capture_output=True, text=True, check=True).stdout


async def test_the_overlay_stands_before_the_base_and_the_base_behind_it(build: Build, tmp_path: Path) -> None:
    place = await built(build("annotated-types==99.*"), tmp_path)
    assert json.loads(seen_in(str(place.python)))[:2] == ["overlay", str(place.folder)]
    # Everything else is the base's, and it was not touched.
    code = "import pydantic, xinfer, xoscar; print(pydantic.__file__)"
    done = subprocess.run([place.python, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert str(place.folder) not in done.stdout
    assert not (tmp_path / "elsewhere").exists()
    record = json.loads((place.folder / "environment.json").read_text())
    assert record["requirements"] == ["annotated-types==99.*"]


async def test_a_process_of_the_overlay_sees_it_and_another_does_not(build: Build, tmp_path: Path) -> None:
    place = await built(build("annotated-types"), tmp_path)  # the base has it: nothing to install
    assert not list(place.packages.glob("annotated_types*"))
    place = await built(build("annotated-types>=99"), tmp_path)
    marks = []
    for python in (place.python, None):
        child = spawn(ProcessSpec("tests.unit.processes.targets:mark", {}, "marked", python=python))
        marks.append((await child.ready(30))["mark"])
        await child.wait()
    assert marks == ["overlay", "base"]


async def test_two_at_once_build_once_and_a_third_finds_it(build: Build, tmp_path: Path) -> None:
    first, second = build("annotated-types>=99"), build("annotated-types>=99")
    places = await asyncio.gather(built(first, tmp_path), built(second, tmp_path))
    assert places[0] == places[1]
    assert (tmp_path / "log").read_text().count("packages: building") == 1
    os.utime(places[0].folder / "environment.json", (0, 0))
    await built(build("annotated-types>=99"), tmp_path)
    assert (tmp_path / "log").read_text().count("packages: building") == 1
    assert places[0].last_used > 0  # used now


async def test_what_does_not_exist_is_refused_with_the_reason_of_pip(build: Build, tmp_path: Path) -> None:
    child = build("no-such-package-at-all")
    with pytest.raises(
        LaunchFailed, match="packages cannot be installed: No matching distribution found for no-such-package-at-all"
    ) as why:
        await child.ready(120)
    assert "ERROR: Could not find a version" in why.value.details["stderr_tail"]
    assert folders(tmp_path) == []


async def test_a_build_that_was_killed_leaves_no_process_and_no_environment(build: Build, tmp_path: Path) -> None:
    child = build("annotated-types>=99")
    await asyncio.to_thread(until, lambda: list((tmp_path / "envs").glob("*/bin/python")), "the build begun", 60)
    await asyncio.to_thread(until, lambda: psutil.Process(child.pid).children(), "pip begun", 60)
    below = psutil.Process(child.pid).children(recursive=True)
    os.kill(child.pid, 9)
    with pytest.raises(LaunchFailed) as why:
        await child.ready(30)
    assert why.value.details["exit_code"] == -9
    for process in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.wait(10)
    (folder,) = [p for p in (tmp_path / "envs").iterdir() if p.is_dir()]
    assert not Place(tmp_path / "envs", folder.name).built
    assert (await built(build("annotated-types>=99"), tmp_path)).folder == folder


@pytest.mark.parametrize(
    ("name", "version", "files", "reason"),
    [
        (
            "xoscar",
            "0.12.99",
            {"xoscar/__init__.py": "raise ValueError('three wheels')"},
            r"xoscar cannot be imported \(ValueError: three wheels\)",
        ),
        ("onnxruntime", "99.0", {"onnxruntime/__init__.py": "import os; os._exit(3)"}, "the probe ended with exit status 3"),
        ("structlog", "1.0", copy_of("structlog"), "they bring structlog 1.0, and xinfer needs structlog>=24.4"),
        (
            "xinfer-runtime",
            "99.0",
            {"xinfer/__init__.py": "", "xinfer/actors/__init__.py": ""},
            "xinfer.actors.replica_main cannot be imported",
        ),
    ],
)
async def test_what_breaks_a_replica_is_refused_before_there_is_one(
    build: Build, wheels: Path, tmp_path: Path, name: str, version: str, files: dict[str, str], reason: str
) -> None:
    make_wheel(wheels, name, version, files)
    with pytest.raises(LaunchFailed, match=f"packages break what a replica needs: {reason}"):
        await build(f"{name}=={version}").ready(120)
    assert folders(tmp_path) == []


async def test_no_secret_is_shown_to_a_package(wheels: Path, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for secret in SECRETS:
        monkeypatch.setenv(secret, "open sesame")
    spy = "import os, sys; sys.stderr.write(f'saw {sorted(v for v in os.environ.values() if v == \"open sesame\")}\\n')"
    make_wheel(wheels, "annotated-types", "100.0", copy_of("annotated_types", spy))
    await built(build("annotated-types==100.0"), tmp_path)
    assert "saw []" in (tmp_path / "log").read_text()


async def test_pythonpath_is_part_of_the_base_and_does_not_stand_before_the_overlay(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    (outer / "annotated_types.py").write_text("MARK = 'outer'\n")
    (outer / "only_there.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(outer))
    place = await built(build("annotated-types>=99"), tmp_path)
    child = spawn(ProcessSpec("tests.unit.processes.targets:mark", {"also": "only_there"}, "marked", python=place.python))
    assert (await child.ready(30))["mark"] == "overlay"
    await child.wait()


def test_an_environment_that_was_not_finished_is_swept_away_unless_it_is_being_built(tmp_path: Path) -> None:
    sweep(tmp_path / "none")
    made = {name: Place(tmp_path, name) for name in ("whole", "building", "broken")}
    for place in made.values():
        place.folder.mkdir()
    made["whole"].finish({})
    with made["building"].locked(alone=True):
        sweep(tmp_path)
    assert {folder.name for folder in tmp_path.iterdir() if folder.is_dir()} == {"whole", "building"}


def test_a_sweep_waits_for_what_is_left_of_a_killed_build_to_end(tmp_path: Path) -> None:
    place = Place(tmp_path, "killed")
    place.folder.mkdir()
    with place.locked(alone=True) as lock:
        # Stands for pip, which holds the lock too and ends a moment after its parent.
        held = subprocess.Popen(["sh", "-c", f"read gone; touch {place.folder}/late"], pass_fds=(lock,), stdin=subprocess.PIPE)
    with held:
        sweep(tmp_path, 0.1)
        assert place.folder.is_dir(), "it still writes"
        with ThreadPoolExecutor(1) as pool:
            swept = pool.submit(sweep, tmp_path, 60.0)
            assert held.stdin is not None
            held.stdin.close()
            swept.result(timeout=60)
    assert not place.folder.exists()
