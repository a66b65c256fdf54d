"""Who is who: keys right, wrong, expired, revoked, none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xinfer.access import secret
from xinfer.access.callers import EVERYONE, HOST, Caller, Role, authenticate, bearer
from xinfer.cluster.keys import Action, Grant, Key
from xinfer.errors import Unauthorized

TOKEN = "a cluster token, long enough"
NOW = 1_000.0
ADMIN_ID, ADMIN = secret.make(bytes(range(36)))
USER_ID, USER = secret.make(bytes(range(100, 136)))
GRANTS = (Grant(Action.INFER, "ce"),)
KEYS = {
    ADMIN_ID: Key(ADMIN_ID, "root", secret.digest(ADMIN), admin=True),
    USER_ID: Key(USER_ID, "ci", secret.digest(USER), grants=GRANTS, expires_at=NOW + 10),
}


def who(given: str | None, now: float = NOW, keys: dict[object, Key] = KEYS) -> Caller:  # type: ignore[assignment]
    return authenticate(keys, given, TOKEN, now)  # type: ignore[arg-type]


def test_a_good_key_is_its_caller() -> None:
    assert who(ADMIN) == Caller(Role.ADMIN, ADMIN_ID, "root")
    assert who(USER) == Caller(Role.USER, USER_ID, "ci", GRANTS)


def test_without_keys_whatever_comes_is_taken() -> None:
    assert [who(given, keys={}) for given in (None, "any", USER)] == [EVERYONE] * 3


REFUSED = {
    "none": (None, NOW, "is needed"),
    "empty": ("", NOW, "is needed"),
    "other": ("any", NOW, "not known"),
    "unknown": (secret.make(bytes(36))[1], NOW, "not known"),
    "nearly": (USER[:-1] + ("A" if USER[-1] != "A" else "B"), NOW, "not known"),
    "another's id": (USER.replace(USER_ID, ADMIN_ID), NOW, "not known"),
    "expired": (USER, NOW + 10, "ci has expired"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_nobody_else_comes_in_and_no_sentence_repeats_what_came(case: str) -> None:
    given, now, sentence = REFUSED[case]
    with pytest.raises(Unauthorized, match=sentence) as error:
        who(given, now)
    assert error.value.param == "Authorization"
    assert not given or given not in str(error.value)


def test_a_revoked_key_is_not_taken_and_the_last_one_leaves_no_open_door() -> None:
    revoked = {USER_ID: replace(KEYS[USER_ID], revoked_at=NOW - 1)}
    with pytest.raises(Unauthorized, match="ci was revoked"):
        who(USER, keys=revoked)  # type: ignore[arg-type]
    with pytest.raises(Unauthorized, match="is needed"):
        who(None, keys=revoked)  # type: ignore[arg-type]


def test_the_host_proves_itself_with_and_without_keys() -> None:
    assert who(secret.proof(TOKEN, NOW)) == who(secret.proof(TOKEN, NOW), keys={}) == HOST
    for bad in (secret.proof("another token", NOW), secret.proof(TOKEN, NOW - 3600), "xhost-"):
        with pytest.raises(Unauthorized, match="cluster token"):
            who(bad, keys={})


@pytest.mark.parametrize(
    ("authorization", "x_api_key", "key"),
    [
        ("Bearer k", None, "k"),
        ("bearer  k ", None, "k"),
        ("Bearer k", "other", "k"),
        (None, " k ", "k"),
        ("Basic abc", "k", "k"),
        ("Bearer", None, None),
        ("Bearer ", None, None),
        ("k", None, None),
        (None, "", None),
        (None, None, None),
    ],
)
def test_where_clients_put_their_key(authorization: str | None, x_api_key: str | None, key: str | None) -> None:
    assert bearer(authorization, x_api_key) == key
