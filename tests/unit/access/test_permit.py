"""What a caller may do, as a pure function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.nouns import deployment, replica, snapshot
from xinfer.access import permit
from xinfer.access.callers import EVERYONE, HOST, NOBODY, Caller, Role
from xinfer.access.grants import parse, written
from xinfer.cluster.keys import EVERY, Action, Grant
from xinfer.errors import Forbidden, InvalidRequest, Unauthorized

MODELS = ["ce", "emb", "m-3"]
ADMIN = Caller(Role.ADMIN, "1", "root")
GRANTS = st.lists(st.builds(Grant, st.sampled_from(Action), st.sampled_from([*MODELS, EVERY])), max_size=5).map(tuple)
USERS = GRANTS.map(lambda grants: Caller(Role.USER, "2", "ci", grants))


def user(*texts: str) -> Caller:
    return Caller(Role.USER, "2", "ci", parse(texts))


@given(USERS, st.sampled_from(Action), st.sampled_from(MODELS))
def test_a_key_may_what_was_granted_and_nothing_else(caller: Caller, action: Action, model: str) -> None:
    granted = Grant(action, model) in caller.grants or Grant(action, EVERY) in caller.grants
    assert permit.may(caller, action, model) is granted
    assert permit.sees(caller, model) is any(permit.may(caller, each, model) for each in Action)
    if granted:
        permit.demand(caller, action, model)
    else:
        with pytest.raises(Forbidden, match="The key ci may not"):
            permit.demand(caller, action, model)


@given(USERS, GRANTS, st.sampled_from(Action), st.sampled_from(MODELS))
def test_another_grant_never_takes_anything_away(caller: Caller, more: tuple[Grant, ...], action: Action, model: str) -> None:
    richer = Caller(caller.role, caller.key_id, caller.name, caller.grants + more)
    assert permit.may(richer, action, model) >= permit.may(caller, action, model)
    assert permit.sees(richer, model) >= permit.sees(caller, model)


@given(USERS)
def test_no_grants_make_an_admin(caller: Caller) -> None:
    for refused in (lambda: permit.demand_admin(caller, "drain workers"), lambda: permit.demand_keys(caller)):
        with pytest.raises(Forbidden, match="admin"):
            refused()
    with pytest.raises(Forbidden, match="trust_remote_code must be false") as error:
        permit.demand_launch(caller, "ce", remote_code=True)
    assert error.value.param == "trust_remote_code"
    with pytest.raises(Forbidden, match="packages must be left out") as error:
        permit.demand_launch(caller, "ce", remote_code=False, packages=True)
    assert error.value.param == "packages"


@given(GRANTS)
def test_grants_as_they_are_written_read_the_same(grants: tuple[Grant, ...]) -> None:
    assert parse(written(grants)) == tuple(dict.fromkeys(grants))


@pytest.mark.parametrize("caller", [ADMIN, EVERYONE])
def test_admins_and_everyone_on_a_server_without_keys_may_do_all(caller: Caller) -> None:
    for action in Action:
        permit.demand(caller, action, "ce")
    permit.demand_launch(caller, None, remote_code=True, packages=True)
    permit.demand_view(caller)
    permit.demand_admin(caller, "drain workers")


@pytest.mark.parametrize("caller", [HOST, NOBODY])
def test_the_host_makes_keys_and_nothing_else_and_nobody_not_even_that(caller: Caller) -> None:
    for action in Action:
        assert not permit.may(caller, action, "ce")
    for refused in (permit.demand_view, lambda c: permit.demand_admin(c, "x"), lambda c: permit.demand_launch(c, "ce", remote_code=False)):
        with pytest.raises(Forbidden):
            refused(caller)
    if caller is HOST:
        permit.demand_keys(caller)
    else:
        with pytest.raises(Forbidden):
            permit.demand_keys(caller)


def test_without_keys_no_stranger_makes_the_first_one() -> None:
    with pytest.raises(Unauthorized, match="xinfer key create"):
        permit.demand_keys(EVERYONE)
    permit.demand_keys(ADMIN)


def test_a_launch_without_a_name_needs_leave_for_every_name() -> None:
    permit.demand_launch(user("launch"), None, remote_code=False)
    permit.demand_launch(user("launch:ce"), "ce", remote_code=False)
    with pytest.raises(Forbidden, match=r"model_uid must be given.*it may launch or change ce, emb") as error:
        permit.demand_launch(user("launch:emb,ce"), None, remote_code=False)
    assert error.value.param == "model_uid"
    with pytest.raises(Forbidden, match="may not launch or change emb"):
        permit.demand_launch(user("launch:ce"), "emb", remote_code=False)


@pytest.mark.parametrize(
    ("texts", "may"),
    [(["read"], True), (["launch"], False), (["read:ce"], False), (["infer"], False), (["stop"], False)],
)
def test_the_cluster_is_shown_to_those_who_read_all(texts: list[str], may: bool) -> None:
    if may:
        permit.demand_view(user(*texts))
    else:
        with pytest.raises(Forbidden, match="may not look at the cluster"):
            permit.demand_view(user(*texts))


def test_models_of_others_are_not_there() -> None:
    every = snapshot([], [replica("ce"), replica("emb")], [deployment("ce"), deployment("emb")])
    mine = permit.visible(user("infer:ce", "stop:gone"), every)
    assert (set(mine.deployments), set(mine.replicas)) == ({"ce"}, {"ce-0"})
    for caller in (ADMIN, EVERYONE, user("read")):
        assert permit.visible(caller, every) is every
    assert permit.visible(HOST, every).deployments == {}


@pytest.mark.parametrize(
    ("text", "grants"),
    [
        ("infer", [Grant(Action.INFER, EVERY)]),
        ("infer:*", [Grant(Action.INFER, EVERY)]),
        ("infer,stop: ce,emb", [Grant(a, m) for a in (Action.INFER, Action.STOP) for m in ("ce", "emb")]),
    ],
)
def test_short_hands(text: str, grants: list[Grant]) -> None:
    assert list(parse([text, text])) == grants


@pytest.mark.parametrize("text", ["", "all", "Infer", "infer:", "infer:a/b", "infer:ce,", "infer,:ce", "launch:" + "x" * 129, ":ce"])
def test_a_grant_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^allow must") as error:
        parse([text])
    assert error.value.param == "allow"
