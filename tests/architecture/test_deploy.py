"""What deploy/ starts exists: commands, flags, environment variables, volumes; and nothing in it is a secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from xinfer.cli.main import cli

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def instruction(name: str) -> str:
    """The last one of that name in the Dockerfile, its lines joined."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE.replace("\\\n", " "), re.MULTILINE)[-1]


def words(text: str) -> list[str]:
    return [str(word) for word in yaml.safe_load(text)]


def parsed(arguments: list[str]) -> dict[str, Any]:
    """The parameters of ``xinfer ARGUMENTS``, by the commands' own parsers; nothing runs."""
    with click.Context(cli) as top:
        command = cli.get_command(top, arguments[0])
        assert command is not None, f"no command {arguments[0]}"
        return command.make_context(arguments[0], arguments[1:], parent=top).params


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_starts_a_command_with_flags_that_exist(name: str) -> None:
    assert parsed(words(str(SERVICES[name]["command"])))


def test_the_images_own_command_listens_where_its_healthcheck_asks() -> None:
    flags = parsed(words(instruction("CMD")))
    assert flags["host"] == "0.0.0.0"
    health = words(instruction("HEALTHCHECK").partition("CMD ")[2])
    assert health[-2:] == ["rest", str(flags["port"])]
    assert words(instruction("ENTRYPOINT")) == ["xinfer"]


def test_a_flag_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(click.NoSuchOption):
        parsed(["worker", "--endpont", "http://supervisor:9997"])


def test_workers_ask_the_supervisor_and_are_asked_on_their_own_port() -> None:
    control = parsed(SERVICES["supervisor"]["command"])
    assert control["supervisor_host"] == SERVICES["supervisor"]["networks"]["actors"]["ipv4_address"]
    workers = [service for name, service in SERVICES.items() if name.startswith("worker")]
    assert len(workers) == 2
    for worker in workers:
        flags = parsed(worker["command"])
        assert flags["endpoint"] == f"http://supervisor:{control['port']}"
        assert worker["healthcheck"]["test"][-2:] == ["actor", str(flags["worker_port"])]


def test_each_worker_has_one_gpu_and_a_home_of_its_own() -> None:
    workers = [service for name, service in SERVICES.items() if name.startswith("worker")]
    devices = [worker["deploy"]["resources"]["reservations"]["devices"] for worker in workers]
    assert sorted(ids for (only,) in devices for ids in only["device_ids"]) == ["0", "1"]
    homes = [volume.partition(":")[0] for worker in workers for volume in worker["volumes"] if volume.endswith(":/var/lib/xinfer")]
    assert len(set(homes)) == 2
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert used == set(COMPOSE["volumes"])


def test_the_folders_of_the_image_are_those_of_the_volumes() -> None:
    environment = dict(pair.split("=", 1) for pair in instruction("ENV").split())
    targets = {volume.partition(":")[2] for service in SERVICES.values() for volume in service["volumes"]}
    assert targets == {environment["XINFER_HOME"], environment["XINFER_MODEL_CACHE"]}


def test_every_variable_that_deploy_names_is_read_by_the_code() -> None:
    code = "\n".join(file.read_text() for file in (ROOT / "xinfer").rglob("*.py"))
    named = {name for file in DEPLOY.iterdir() if file.is_file() for name in re.findall(r"\bXINFER_[A-Z_]+", file.read_text())}
    assert {"XINFER_HOME", "XINFER_MODEL_CACHE", "XINFER_CLUSTER_TOKEN"} <= named
    assert {name for name in named if f'"{name}"' not in code} == set()


def test_the_image_has_no_root_and_no_secret() -> None:
    assert instruction("USER") == "10001"
    assert not re.search(r"TOKEN|PASSWORD|SECRET|API_KEY", DOCKERFILE)
    assert all(service["env_file"] == ["token.env"] for service in SERVICES.values())
    assert "deploy/token.env" in (ROOT / ".gitignore").read_text().splitlines()
    extras = (ROOT / "setup.cfg").read_text()
    assert f"\n{SERVICES['supervisor']['build']['args']['EXTRA']} =" in extras


def test_every_command_of_the_readme_exists() -> None:
    text = (DEPLOY / "README.md").read_text()
    named = set(re.findall(r"(?:`|supervisor )xinfer ([a-z]+)", text))
    assert named >= {"launch", "slots", "drain", "serve"}
    with click.Context(cli) as top:
        assert all(cli.get_command(top, name) is not None for name in named)
