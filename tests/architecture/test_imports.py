"""What the light processes import: no torch, no transformers, no engine library."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "sentence_transformers", "onnxruntime", "tokenizers")
PROBE = """
import importlib, json, sys
from xinfer.processes import bootstrap
importlib.import_module(sys.argv[1])
heavy = [m for m in sys.argv[2:] if sys.modules.get(m) is not None]
print(json.dumps(heavy))
"""


@pytest.mark.parametrize(
    "module", ["xinfer.actors.control_main", "xinfer.api.main", "xinfer.actors.worker_main", "xinfer.actors.replica_main"]
)
def test_a_process_entry_imports_no_engine_library(module: str) -> None:
    code = "import sys; sys.modules['torch'] = None\n" + PROBE
    done = subprocess.run([sys.executable, "-c", code, module, *HEAVY], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("module", ["xinfer", "xinfer.cli.main"])
def test_the_client_side_starts_light(module: str) -> None:
    heavy = [*HEAVY, "xoscar", "fastapi", "numpy"]
    code = PROBE.replace("from xinfer.processes import bootstrap\n", "")
    done = subprocess.run([sys.executable, "-c", code, module, *heavy], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == []
