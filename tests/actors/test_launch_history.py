"""What the supervisor notes of a launch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.actors.conftest import Stage
from xinfer.errors import AlreadyExists
from xinfer.schemas.launch import LaunchRequest


async def test_a_launch_is_noted_as_it_was_asked_with_the_type_that_was_found(stage: Stage, minilm_embedding: Path) -> None:
    asked = {"model_path": str(minilm_embedding), "model_uid": "e", "gpu_idx": [1]}
    await stage.supervisor.launch(LaunchRequest.model_validate(asked))
    with pytest.raises(AlreadyExists):
        await stage.supervisor.launch(LaunchRequest.model_validate(asked))
    (noted,) = await stage.supervisor.launches(10)
    assert noted.uid == "e"
    assert json.loads(noted.body) == {**asked, "model_type": "embedding"}
    await stage.supervisor.stop(noted.uid)
