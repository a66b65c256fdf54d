"""Clusters for end-to-end tests: real command lines on loopback, in a home of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Nothing started yet; everything ended afterwards."""
    made = Cluster(tmp_path / "home")
    yield made
    made.end()


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for the tests of a file, where none of them breaks it."""
    made = Cluster(tmp_path_factory.mktemp("cluster") / "home")
    yield made
    made.end()
