"""Desired state survives everything but its own loss, and is never half written."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.control.clusters import GIB, SPEC, deployment, slot, worker
from xinfer.catalog.spec import Dtype, EmbeddingTraits, HubSource, RerankTraits, WheelSource
from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.ids import KeyId, ModelUid, WorkerId
from xinfer.cluster.keys import Action, Grant, Key
from xinfer.cluster.snapshot import Snapshot
from xinfer.errors import ConfigError, StoreError
from xinfer.store import store as module
from xinfer.store.migrations import VERSION
from xinfer.store.store import EPOCHS_PER_BLOCK, Store

RICH = replace(
    deployment("rich-1.0_x", Demand(3 * GIB, 2, slot("a", 0, 1), fixed_bytes=True), Demand(GIB, worker_id="b")),
    spec=SPEC.model_copy(
        update={
            "rerank": RerankTraits(activation="sigmoid", instruction="größer"),
            "embedding": EmbeddingTraits(prompts={"query": "q: "}),
            "sources": (HubSource(kind="huggingface", repo="a/b"), WheelSource(package="p", version="1", path="x/y")),
        }
    ),
    ordinals=(0, 4),
    next_ordinal=9,
    created_at=2.5,
    options={"max_batch_ms": 40.0, "flags": ["a", None, True]},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "state.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store.open(path)
    yield opened
    opened.close()


def having(*deployments: Deployment, workers: str = "", expected: str = "", next_epoch: int = 1) -> Snapshot:
    return Snapshot(
        deployments={d.uid: d for d in deployments},
        workers={WorkerId(w): worker(w) for w in workers},
        expected=frozenset(WorkerId(w) for w in expected),
        next_epoch=next_epoch,
    )


def reopened(store: Store, path: Path) -> Store:
    store.close()
    return Store.open(path)


def test_deployments_come_back_equal_in_order_of_creation(store: Store, path: Path) -> None:
    store.save(having(), having(RICH, deployment("m")))
    again = reopened(store, path)
    assert again.load().deployments == (deployment("m"), RICH)
    again.close()


def test_save_writes_the_difference_only(store: Store) -> None:
    first = having(RICH, deployment("m"), workers="ab")
    store.save(having(), first)
    changed = replace(deployment("m"), demands=(Demand(2 * GIB),))
    store.save(first, having(changed, workers="b", expected="c"))
    assert store.load().deployments == (changed,)
    assert store.load().workers == {"b", "c"}


def test_a_deployment_that_is_being_stopped_is_off_the_disk_at_once(store: Store) -> None:
    before = having(deployment("m"))
    store.save(having(), before)
    store.save(before, having(replace(deployment("m"), demands=(), ordinals=())))
    assert store.load().deployments == ()


def test_nothing_is_written_when_nothing_differs(store: Store, path: Path) -> None:
    store.next_epoch()
    one = having(RICH, workers="a")
    store.save(having(), one)
    wal = Path(f"{path}-wal")
    size = wal.stat().st_size
    store.save(one, replace(one, version=7, workers={w: replace(v, last_seen=9.0) for w, v in one.workers.items()}))
    assert wal.stat().st_size == size


def test_epochs_are_never_given_out_twice(store: Store, path: Path) -> None:
    first = store.next_epoch()
    assert first == 1
    store.save(having(next_epoch=first + 1), having(next_epoch=first + 3 * EPOCHS_PER_BLOCK))
    again = reopened(store, path)
    second = again.next_epoch()
    assert second > first + 3 * EPOCHS_PER_BLOCK
    assert again.next_epoch() > second + EPOCHS_PER_BLOCK - 1
    again.close()


def test_the_reserve_grows_before_it_is_used_up(store: Store) -> None:
    first = store.next_epoch()
    for given in range(first, first + 5 * EPOCHS_PER_BLOCK, EPOCHS_PER_BLOCK // 4):
        store.save(having(next_epoch=given), having(next_epoch=given + 1))
    reserved = store._db.execute("SELECT reserved FROM epochs").fetchone()[0]
    assert reserved > first + 5 * EPOCHS_PER_BLOCK - EPOCHS_PER_BLOCK // 4


def test_a_failed_write_changes_nothing_and_says_so(store: Store) -> None:
    before = having(deployment("m"), workers="a")
    store.save(having(), before)
    store._db.execute("CREATE TRIGGER full BEFORE INSERT ON workers BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    with pytest.raises(StoreError, match=r"disk is full.*Nothing was changed"):
        store.save(before, having(RICH, workers="b"))
    assert store.load().deployments == (deployment("m"),)
    assert store.load().workers == {"a"}
    store._db.execute("DROP TRIGGER full")
    store.save(before, having(RICH, workers="b"))
    assert store.load().deployments == (RICH,)


def test_a_second_process_is_refused_until_the_first_lets_go(store: Store, path: Path) -> None:
    with pytest.raises(ConfigError, match="Another supervisor"):
        Store.open(path)
    reopened(store, path).close()


def _write_and_die(path: Path) -> None:
    opened = Store.open(path)
    opened.next_epoch()
    opened.save(having(), having(RICH, workers="a"))
    os._exit(9)  # no close, no checkpoint: what is on disk is what a kill -9 leaves


def test_a_killed_process_leaves_its_writes_and_no_lock(path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(path,))
    child.start()
    child.join(60)
    assert child.exitcode == 9
    assert Path(f"{path}-wal").stat().st_size > 0
    again = Store.open(path)
    assert again.load().deployments == (RICH,)
    assert again.next_epoch() > EPOCHS_PER_BLOCK
    again.close()


def test_a_newer_file_is_refused_and_untouched(path: Path) -> None:
    Store.open(path).close()
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {VERSION + 1}")
    newer.commit()
    newer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    newer.close()
    content = path.read_bytes()
    with pytest.raises(StoreError, match=f"version {VERSION + 1}.*newer xinfer"):
        Store.open(path)
    assert path.read_bytes() == content
    with pytest.raises(StoreError):  # and the lock was given back
        Store.open(path)


@pytest.mark.parametrize("damage", ["text", "short", "pages"])
def test_a_damaged_file_is_refused_and_untouched(store: Store, path: Path, damage: str) -> None:
    store.save(having(), having(*(deployment(f"m{i}") for i in range(200))))
    store.close()
    content = bytearray(path.read_bytes())
    if damage == "text":
        content = bytearray(b"these are not the bytes you are looking for" * 100)
    elif damage == "short":
        content = content[:60]
    else:
        content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        Store.open(path)
    assert path.read_bytes() == content


def test_a_row_that_cannot_be_read_is_named(store: Store) -> None:
    store.save(having(), having(deployment("m")))
    store._db.execute("UPDATE deployments SET body = json_remove(body, '$.spec.engine')")
    with pytest.raises(StoreError, match=r"'m'.*spec.engine"):
        store.load()


def test_a_file_of_the_first_version_grows_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Store.open(path)
    first.save(having(), having(RICH))
    first.close()
    shutil.copy(path, path.with_suffix(".old"))
    later = ("CREATE TABLE later (id TEXT PRIMARY KEY) STRICT",)
    monkeypatch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, *later))
    monkeypatch.setattr(module, "VERSION", VERSION + 1)
    second = Store.open(path)
    assert second.load().deployments == (RICH,)
    assert second._db.execute("SELECT count(*) FROM later").fetchone() == (0,)
    second.close()
    monkeypatch.undo()
    with pytest.raises(StoreError, match="newer xinfer"):
        Store.open(path)


def test_an_empty_file_is_a_new_one(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()
    opened = Store.open(path)
    assert opened.load().deployments == ()
    opened.close()


def test_no_other_user_can_read_it_nor_could_once_it_is_opened_again(path: Path) -> None:
    path.parent.mkdir()
    path.touch(0o644)
    Store.open(path).close()
    store = Store.open(path)
    store.next_epoch()
    files = [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
    assert {file.suffix for file in files} >= {".sqlite3", ".sqlite3-wal", ".sqlite3-shm"}
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in files} == {file.name: "0o600" for file in files}
    store.close()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="--home"):
        Store.open(tmp_path / "file" / "state.sqlite3")


def test_measurements_are_remembered_by_model_dtype_and_device(store: Store, path: Path) -> None:
    half = SPEC.model_copy(update={"dtype": Dtype.BFLOAT16})
    store.figures.record(SPEC, "H100", 5 * GIB)
    store.figures.record(SPEC, "H100", 4 * GIB)
    again = reopened(store, path)
    assert (again.figures.measured(SPEC, "H100"), again.figures.measured(SPEC, "CPU"), again.figures.measured(half, "H100")) == (
        4 * GIB,
        None,
        None,
    )
    again.close()


def test_the_uid_is_only_data(store: Store) -> None:
    odd = replace(deployment("m"), uid=ModelUid("x'); DROP TABLE deployments; --"))
    store.save(having(), having(odd))
    assert store.load().deployments == (odd,)


def test_workers_that_are_being_drained_are_remembered_until_that_is_undone(path: Path) -> None:
    one, both = (replace(having(workers="ab"), draining=frozenset(map(WorkerId, names))) for names in ("a", "ab"))
    store = Store.open(path)
    store.save(having(workers="ab"), one)
    store.save(one, both)
    store.save(both, one)
    store.close()
    again = Store.open(path)
    assert again.load().draining == {"a"}
    again.close()


def test_keys_come_back_and_a_revoked_one_stays_as_such(path: Path) -> None:
    root = Key(KeyId("1"), "root", "digest", admin=True, created_at=1.5)
    user = Key(KeyId("2"), "ci", "other", grants=(Grant(Action.INFER, "ce"), Grant(Action.STOP)), expires_at=9.0)
    one, two = (replace(having(), keys={key.id: key for key in keys}) for keys in ((root,), (root, user)))
    revoked = replace(two, keys={**two.keys, root.id: replace(root, revoked_at=3.0)})
    store = Store.open(path)
    for before, after in ((having(), one), (one, two), (two, revoked)):
        store.save(before, after)
    store.close()
    again = Store.open(path)
    assert again.load().keys == revoked.keys
    again._db.execute("UPDATE keys SET body = '{}' WHERE id = '2'")
    with pytest.raises(StoreError, match="holds key '2' with a bad field id"):
        again.load()
    again.close()
