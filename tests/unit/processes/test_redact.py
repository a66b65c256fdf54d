"""No secret in a line of the log, however it came there."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from xinfer.access import secret
from xinfer.processes import logs
from xinfer.processes.child import Child
from xinfer.processes.redact import HIDDEN, redacted, redactor

KEY = secret.make(bytes(range(200, 236)))[1]
PROOF = secret.proof("a cluster token, long enough", 1e9)
HUB = "hf_" + "aB3" * 10
ENV = {
    "XOSCAR_AUTH_KEY": "c0ffee-token-of-this-cluster",
    "AWS_SECRET": "pass.word(1)",
    "MY_TOKEN": "short",
    "XINFER_HOME": "/home/of/xinfer",
}


@pytest.mark.parametrize("word", [KEY, PROOF, HUB, ENV["XOSCAR_AUTH_KEY"], ENV["AWS_SECRET"]])
def test_secrets_are_hidden_wherever_they_stand(word: str) -> None:
    hide = redactor(ENV)
    for text in (word, f"key={word}", f'"{word}"', f"https://user:{word}@host/x", f"Authorization: Bearer {word}", f"a\n{word}\nb {word}"):
        assert word not in hide(text)
        assert HIDDEN in hide(text)


def test_what_others_wrote_is_read_without_our_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOME_TOKEN", "of-this-very-process")
    text = f"Looking in indexes: https://me:pass@host/simple\n{KEY} of-this-very-process http://host:80/a@b"
    assert redacted(text) == f"Looking in indexes: https://{HIDDEN}@host/simple\n{HIDDEN} {HIDDEN} http://host:80/a@b"
    (tmp_path / "log").write_text(text)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        child = Child("it", process, os.open(os.devnull, os.O_RDONLY), tmp_path / "log", 0)
        assert child.stderr_tail() == redacted(text)


def test_a_bearer_of_any_shape_is_hidden_and_all_else_stays() -> None:
    hide = redactor(ENV)
    assert hide("authorization: bearer other-servers-key-1, next") == f"authorization: bearer {HIDDEN}, next"
    for text in ("xk-00000000 is revoked", "short", "home /home/of/xinfer", "the bearer of news", "hf_hub 1.0"):
        assert hide(text) == text


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As it was, afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    yield
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("as_json", ["0", "1"])
def test_neither_ours_nor_a_librarys_line_nor_a_traceback_tells_a_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_json: str
) -> None:
    monkeypatch.setenv("XINFER_LOG_JSON", as_json)
    logs.configure_logging("debug")
    structlog.get_logger("ours").warning("asked", key=KEY, nested={"token": ENV["XOSCAR_AUTH_KEY"]})
    logging.getLogger("theirs").warning("GET %s", f"https://hub/?token={HUB}")
    try:
        raise RuntimeError(f"refused: Bearer {PROOF}")
    except RuntimeError:
        logging.getLogger("theirs").exception("failed")
    text = capsys.readouterr().err
    assert "asked" in text
    assert "RuntimeError" in text
    for word in (KEY, PROOF, HUB, ENV["XOSCAR_AUTH_KEY"]):
        assert word not in text
