"""Who may start with which token."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from xinfer.errors import ConfigError
from xinfer.processes.token import is_loopback, resolve
from xinfer.settings import Home

LONG = "a-token-of-some-length"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", tmp_path / "models")


def test_on_loopback_one_is_made_once_and_kept_private(home: Home) -> None:
    token = resolve({}, None, home, ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
    assert len(token) == 64
    assert home.token.stat().st_mode & 0o777 == 0o600
    assert resolve({}, None, home, ["127.0.0.1"]) == token
    assert [entry.name for entry in home.root.iterdir()] == [home.token.name]


def test_all_that_start_at_once_agree(home: Home) -> None:
    barrier, tokens = threading.Barrier(8), []

    def one() -> None:
        barrier.wait()
        tokens.append(resolve({}, None, home, []))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 8
    assert len(set(tokens)) == 1


@pytest.mark.parametrize("bind", ["10.0.0.1", "fd00::1", "worker-7"])
def test_beyond_loopback_a_token_is_needed_and_the_message_says_how(home: Home, bind: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({}, None, home, ["127.0.0.1", bind])
    assert "export XINFER_CLUSTER_TOKEN=$(openssl rand -hex 32)" in caught.value.message
    assert "--cluster-token-file" in caught.value.message
    assert not home.token.exists()
    assert resolve({"XINFER_CLUSTER_TOKEN": LONG + "\n"}, None, home, [bind]) == LONG


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "[::]", "", "*"])
def test_actors_need_a_concrete_address(home: Home, bind: str) -> None:
    with pytest.raises(ConfigError, match="must be a concrete address"):
        resolve({"XINFER_CLUSTER_TOKEN": LONG}, None, home, [bind])


def test_the_file_wins_over_the_environment(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-the-file-0123\n")
    file.chmod(0o600)
    assert resolve({"XINFER_CLUSTER_TOKEN": LONG}, file, home, ["10.0.0.1"]) == "from-the-file-0123"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(home: Home, tmp_path: Path, mode: int) -> None:
    file = tmp_path / "token"
    file.write_text(LONG)
    file.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        resolve({}, file, home, [])


def test_the_kept_one_is_refused_too_once_others_may_read_it(home: Home) -> None:
    resolve({}, None, home, [])
    home.token.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        resolve({}, None, home, [])


@pytest.mark.parametrize("token", ["short", "fifteen-letters", "a token with spaces in it", "zwölf-Boxkämpfer-jagen"])
def test_poor_tokens_are_refused(home: Home, token: str) -> None:
    with pytest.raises(ConfigError, match="XINFER_CLUSTER_TOKEN must hold"):
        resolve({"XINFER_CLUSTER_TOKEN": token}, None, home, [])


def test_a_missing_file_and_an_impossible_home_are_sentences(home: Home, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        resolve({}, tmp_path / "nowhere", home, [])
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match="XINFER_HOME must be writable"):
        resolve({}, None, Home(blocked / "home", blocked), [])


def test_loopback_is_judged_by_address() -> None:
    assert [is_loopback(host) for host in ("127.8.8.8", "[::1]", "localhost", "128.0.0.1", "example.org")] == [
        True,
        True,
        True,
        False,
        False,
    ]
