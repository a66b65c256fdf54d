"""Keys as desired state: the first, the last, names, and that routes carry them."""

from __future__ import annotations

import pytest

from tests.unit.control.clusters import Cluster, worker
from xinfer.cluster.ids import Epoch, KeyId
from xinfer.cluster.keys import Key
from xinfer.cluster.routes_of import only_keys, route_table
from xinfer.control.events import KeyMade, KeyRevoked
from xinfer.control.restore import restore
from xinfer.errors import AlreadyExists, InvalidRequest, KeyNotFound


def key(name: str, number: int = 0, **fields: object) -> Key:
    return Key(KeyId(f"{number or ord(name[0]):08x}"), name, f"digest of {name}", **fields)  # type: ignore[arg-type]


@pytest.fixture
def cluster() -> Cluster:
    """With an admin's key."""
    made = Cluster(worker("a"))
    made.do(KeyMade(key("root", admin=True)))
    return made


def names(cluster: Cluster, valid: bool = True) -> list[str]:
    return [each.name for each in cluster.snapshot.keys.values() if each.valid(cluster.now) is valid]


def test_the_first_key_must_be_an_admins() -> None:
    cluster = Cluster(worker("a"))
    with pytest.raises(InvalidRequest, match="first key") as error:
        cluster.do(KeyMade(key("ci")))
    assert error.value.param == "admin"
    assert cluster.snapshot.keys == {}
    cluster.do(KeyMade(key("root", admin=True)))
    cluster.do(KeyMade(key("ci")))
    assert names(cluster) == ["root", "ci"]


def test_a_change_of_keys_is_a_new_table_and_comes_with_the_routes(cluster: Cluster) -> None:
    before = cluster.snapshot.version
    cluster.do(KeyMade(key("ci")))
    assert cluster.snapshot.version == before + 1
    cluster.do(KeyRevoked("ci"))
    assert cluster.snapshot.version == before + 2
    for table in (route_table(cluster.snapshot), only_keys(cluster.snapshot)):
        assert {each.name: each.revoked_at for each in table.keys.values()} == {"root": None, "ci": cluster.now}
    assert only_keys(cluster.snapshot).version == -1
    cluster.beat()
    cluster.tick()
    assert cluster.snapshot.version == before + 2, "nothing has changed since"


def test_names_are_taken_until_they_are_revoked(cluster: Cluster) -> None:
    cluster.do(KeyMade(key("ci", 1, expires_at=cluster.now + 5)))
    with pytest.raises(AlreadyExists, match="A key ci exists"):
        cluster.do(KeyMade(key("ci", 2)), after=10)
    with pytest.raises(AlreadyExists, match="taken"):
        cluster.do(KeyMade(key("other", 1)))
    cluster.do(KeyRevoked("ci"))
    cluster.do(KeyMade(key("ci", 2)))
    assert cluster.snapshot.keys[KeyId("00000002")].valid(cluster.now)


def test_by_id_too_but_not_twice_and_not_the_unknown(cluster: Cluster) -> None:
    cluster.do(KeyMade(key("ci", 7)))
    cluster.do(KeyRevoked("00000007"))
    for name in ("00000007", "ci", "nobody"):
        with pytest.raises(KeyNotFound, match=name):
            cluster.do(KeyRevoked(name))


def test_the_last_admin_stays(cluster: Cluster) -> None:
    cluster.do(KeyMade(key("ci")))
    cluster.do(KeyMade(key("old", admin=True, expires_at=cluster.now + 5)))
    with pytest.raises(InvalidRequest, match="root is the last key of an admin"):
        cluster.do(KeyRevoked("root"), after=10)
    cluster.do(KeyRevoked("old"))
    cluster.do(KeyRevoked("ci"))
    cluster.do(KeyMade(key("new", admin=True)))
    cluster.do(KeyRevoked("root"))
    assert names(cluster) == ["new"]
    assert len(cluster.snapshot.keys) == 4, "revoked keys stay known"


def test_keys_outlive_the_supervisor(cluster: Cluster) -> None:
    again = restore([], (), Epoch(9), cluster.now, cluster.timings, keys=cluster.snapshot.keys)
    assert again.keys == cluster.snapshot.keys
    assert restore([], (), Epoch(9), cluster.now, cluster.timings).keys == {}
