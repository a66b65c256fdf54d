"""Settings: resolving the home, and the way into a child process and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from xinfer.settings import Home, Limits, ServerSettings, SimulatedGpus, Timings, Tls, WorkerSettings, dump, load

HOME = Home.from_env({"HOME": "/h"})


@pytest.mark.parametrize(
    "settings",
    [
        ServerSettings(HOME, host="0.0.0.0", api_processes=3, timings=Timings(lost=1.5), limits=Limits(documents=7)),
        ServerSettings(HOME, tls=Tls(Path("/c"), Path("/k")), model_roots=(Path("/a"), Path("/b"))),
        WorkerSettings(HOME, port_range=(24000, 24100), simulate_gpus=SimulatedGpus(4, 24 << 30), simulate_workers=9, ca_file=Path("/ca")),
        WorkerSettings(HOME, control_address="[::1]:24000"),
    ],
)
def test_settings_survive_the_way_into_a_child(settings: ServerSettings | WorkerSettings) -> None:
    assert load(type(settings), json.loads(json.dumps(dump(settings)))) == settings


def test_a_payload_without_a_home_is_refused() -> None:
    with pytest.raises(ValidationError, match="home"):
        load(ServerSettings, {"port": 1})


def test_home_prefers_the_flag_over_the_environment_over_the_default() -> None:
    env = {"HOME": "/h", "XINFER_HOME": "/x", "XINFER_MODEL_CACHE": "/cache"}
    assert Home.from_env(env, "/flag") == Home(Path("/flag"), Path("/cache"))
    assert Home.from_env(env).root == Path("/x")
    assert Home.from_env({"HOME": "/h"}) == Home(Path("/h/.xinfer"), Path("/h/.xinfer/models"))
