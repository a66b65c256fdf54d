"""What replicas measured and chose comes back for the same model, options and device, and for no other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.control.clusters import SPEC, deployment
from xinfer.catalog.spec import Dtype
from xinfer.cluster.calibration import StoredCalibration
from xinfer.cluster.snapshot import Snapshot
from xinfer.errors import StoreError
from xinfer.store import migrations
from xinfer.store import store as module
from xinfer.store.store import Store

FOUND = StoredCalibration("Intel Xeon", 1, 512, 5_000.5, 0.001, 2e-4, ((128, 0.027), (512, 0.1)))
BF16 = SPEC.in_dtype(Dtype.BFLOAT16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store.open(path)
    yield opened
    opened.close()


def test_a_calibration_comes_back_equal_after_a_restart(store: Store, path: Path) -> None:
    store.figures.calibrate(SPEC, {"max_batch_ms": 40.0, "x": [1]}, "CPU", FOUND)
    store.close()
    again = Store.open(path)
    assert again.figures.calibration(SPEC, {"x": [1], "max_batch_ms": 40.0}, "CPU") == FOUND
    again.close()


def test_a_calibration_is_bound_to_model_dtype_length_options_and_device(store: Store) -> None:
    store.figures.calibrate(SPEC, {}, "CPU", FOUND)
    longer = SPEC.model_copy(update={"max_tokens": 1024})
    engine = SPEC.model_copy(update={"engine": "onnxruntime"})
    for spec, options, device in ((BF16, {}, "CPU"), (longer, {}, "CPU"), (engine, {}, "CPU"), (SPEC, {"a": 1}, "CPU"), (SPEC, {}, "GPU")):
        assert store.figures.calibration(spec, options, device) is None
    assert store.figures.calibration(SPEC, {}, "CPU") == FOUND


def test_a_calibration_that_cannot_be_read_is_none(store: Store) -> None:
    store.figures.calibrate(SPEC, {}, "CPU", FOUND)
    store._db.execute("UPDATE calibrations SET body = '{\"budget\": 1}'")
    assert store.figures.calibration(SPEC, {}, "CPU") is None


def test_a_choice_of_dtype_is_found_whatever_dtype_is_asked_with(store: Store) -> None:
    assert store.figures.chosen(SPEC, "CPU") is None
    store.figures.choose(BF16, "CPU", "measured 1.7× float32")
    assert store.figures.chosen(SPEC, "CPU") == store.figures.chosen(BF16, "CPU") == (Dtype.BFLOAT16, "measured 1.7× float32")
    assert store.figures.chosen(SPEC, "GPU") is None
    store.figures.choose(SPEC, "CPU", "again")
    assert store.figures.chosen(BF16, "CPU") == (Dtype.FLOAT32, "again")


def test_what_is_known_is_not_written_again(store: Store, path: Path) -> None:
    def write() -> int:
        store.figures.calibrate(SPEC, {}, "CPU", FOUND)
        store.figures.choose(SPEC, "CPU", "why")
        store.figures.record(SPEC, "CPU", 5)
        return Path(f"{path}-wal").stat().st_size

    assert write() == write()


def test_a_file_of_the_version_before_keeps_what_it_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIGRATIONS", migrations.MIGRATIONS[:1])
    monkeypatch.setattr(module, "VERSION", 1)
    old = Store.open(path)
    old.save(Snapshot(), Snapshot(deployments={deployment("m").uid: deployment("m")}))
    old.figures.record(SPEC, "H100", 7)
    with pytest.raises(StoreError):
        old.figures.choose(SPEC, "CPU", "no such table yet")
    # As the version before wrote it: without what has come since.
    for field in ("dtype_open", "dtype_why"):
        old._db.execute(f"UPDATE deployments SET body = json_remove(body, '$.{field}')")
    old._db.execute("UPDATE deployments SET body = json_remove(body, '$.spec.auto_dtypes')")
    old.close()
    monkeypatch.undo()
    new = Store.open(path)
    assert new.load().deployments == (deployment("m"),)
    assert new.figures.measured(SPEC, "H100") == 7
    new.figures.calibrate(SPEC, {}, "CPU", FOUND)
    assert new.figures.calibration(SPEC, {}, "CPU") == FOUND
    new.close()
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA user_version").fetchone()[0] == migrations.VERSION
