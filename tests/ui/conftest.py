"""Chromium on a real server with two workers of four simulated GPUs each. Skipped, and counted, where it cannot be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import BIN, Cluster
from xinfer.web.static import DIST

UI = Path(__file__).parents[2] / "xinfer" / "web" / "ui"
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
PATIENCE = float(os.environ.get("XINFER_UI_PATIENCE", "1"))
"""Times as long as people would wait is still no failure: for machines that do other things too."""

Flow = Callable[..., str]


def missing() -> str:
    """What a browser test needs and is not here."""
    if CHROMIUM is None:
        return "no Chromium (Debian: apt install chromium)"
    if shutil.which("node") is None or not (UI / "node_modules" / "playwright-core").is_dir():
        return "no Node.js or no packages: run scripts/pages"
    return "" if (DIST / "index.html").is_file() else "the pages are not built: run scripts/pages"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    for item in items:
        if "/ui/" in str(item.path) and reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("ui") / "home")
    made.supervisor()
    for _ in range(2):
        made.worker("--simulate-gpus", "4x24GiB")
    yield made
    made.end()


@pytest.fixture
def flow(tmp_path: Path, reranker_onnx: Path) -> Flow:
    """Runs one flow of ``xinfer/web/ui/browser`` and returns what it printed."""

    def run(name: str, cluster: Cluster, **more: Any) -> str:
        context = {
            "url": cluster.url,
            "xinfer": str(BIN / "xinfer"),
            "python": sys.executable,
            "env": cluster.env,
            "model": str(reranker_onnx),
            "chromium": CHROMIUM,
            "out": str(tmp_path),
            "patience": PATIENCE,
            "shots": os.environ.get("XINFER_UI_SHOTS", ""),
            **more,
        }
        file = tmp_path / "context.json"
        file.write_text(json.dumps(context))
        done = subprocess.run(
            ["node", str(UI / "browser" / "run.mjs"), name, str(file)], capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}\npicture: {tmp_path / name}.png"
        return done.stdout.strip()

    return run
