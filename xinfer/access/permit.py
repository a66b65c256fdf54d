"""What a caller may do. Every decision about a permission is made here."""

from __future__ import annotations

from dataclasses import replace

from xinfer.access.callers import Caller, Role
from xinfer.cluster.keys import EVERY, Action
from xinfer.cluster.snapshot import Snapshot
from xinfer.errors import Forbidden, Unauthorized

_DO = {
    Action.INFER: "send requests to",
    Action.LAUNCH: "launch or change",
    Action.STOP: "stop",
    Action.READ: "see",
}


def may(caller: Caller, action: Action, model: str) -> bool:
    """Whether the caller may do that with the model of that uid."""
    return caller.free or any(grant.action is action and grant.model in (EVERY, model) for grant in caller.grants)


def sees(caller: Caller, model: str) -> bool:
    """Whether the model exists for the caller: who may do anything with it may see it."""
    return caller.free or any(grant.model in (EVERY, model) for grant in caller.grants)


def demand(caller: Caller, action: Action, model: str) -> None:
    """Refuse what the caller may not do.

    Raises:
        Forbidden.
    """
    if not may(caller, action, model):
        raise Forbidden(f"{_whose(caller)} may not {_DO[action]} {model[:128]}; {_it_may(caller, action)}.", param="model")


def demand_launch(caller: Caller, model: str | None, *, remote_code: bool, packages: bool = False) -> None:
    """Refuse a launch, or its plan, under that uid; None = under the model's own name. Installing packages runs their code.

    Raises:
        Forbidden.
    """
    if packages and not caller.free:
        raise Forbidden(
            f"packages must be left out: {_whose(caller, 'the')} is no admin's, and only an admin may have packages installed.",
            param="packages",
        )
    if remote_code and not caller.free:
        raise Forbidden(
            f"trust_remote_code must be false: {_whose(caller, 'the')} is no admin's, and only an admin may run a model's own code.",
            param="trust_remote_code",
        )
    if model:
        demand(caller, Action.LAUNCH, model)
    elif not may(caller, Action.LAUNCH, EVERY):
        raise Forbidden(
            f"model_uid must be given: {_whose(caller, 'the')} may not launch under any name; {_it_may(caller, Action.LAUNCH)}.",
            param="model_uid",
        )


def demand_view(caller: Caller) -> None:
    """Refuse a look at the whole cluster: workers, devices, figures.

    Raises:
        Forbidden.
    """
    if not may(caller, Action.READ, EVERY):
        raise Forbidden(f"{_whose(caller)} may not look at the cluster: that takes `read` for all models, or an admin's key.")


def demand_admin(caller: Caller, what: str) -> None:
    """Refuse what only admins do, ``what`` for people.

    Raises:
        Forbidden.
    """
    if not caller.free:
        raise Forbidden(f"{_whose(caller)} may not {what}: that takes an admin's key.")


def demand_keys(caller: Caller) -> None:
    """Refuse the making, listing and revoking of keys. Without keys it takes the host's proof, so no stranger makes the first.

    Raises:
        Unauthorized, Forbidden.
    """
    if caller.role is Role.EVERYONE:
        raise Unauthorized(
            "There are no API keys yet, and the first is made on the server's host: run `xinfer key create NAME --admin` there, "
            "as the user who runs the server or with its XINFER_CLUSTER_TOKEN.",
            param="XINFER_CLUSTER_TOKEN",
        )
    if caller.role is not Role.HOST:
        demand_admin(caller, "see, make or revoke keys")


def visible(caller: Caller, snapshot: Snapshot) -> Snapshot:
    """The cluster as if the models that the caller does not see were not there."""
    if caller.free or any(grant.model == EVERY for grant in caller.grants):
        return snapshot
    deployments = {uid: it for uid, it in snapshot.deployments.items() if sees(caller, uid)}
    replicas = {key: it for key, it in snapshot.replicas.items() if sees(caller, it.model_uid)}
    return replace(snapshot, deployments=deployments, replicas=replicas)


def _whose(caller: Caller, the: str = "The") -> str:
    return f"{the} key {caller.name}" if caller.name else f"{the} {caller.role.value}"


def _it_may(caller: Caller, action: Action) -> str:
    models = sorted(grant.model for grant in caller.grants if grant.action is action)
    return f"it may {_DO[action]} {', '.join(models)}" if models else f"it may not {_DO[action]} any model"
