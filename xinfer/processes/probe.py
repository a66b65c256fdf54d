"""Run by path in a new environment before any replica is: does it import what a replica needs, in versions that xinfer can use?

Its one argument is JSON: ``packages`` of the engine, the file that ``xinfer`` must come from, and ``path``, what the builder sees.
A reason goes to stdout. Only the standard library is imported before the packages that are to be tried.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any


def _main(wanted: dict[str, Any]) -> str:
    """What is wrong, or ""."""
    sys.path += [entry for entry in wanted["path"] if entry not in sys.path]
    # As in a replica: xoscar would import torch if it could.
    sys.modules["torch"] = None  # type: ignore[assignment]
    broken = _first_broken(("xoscar", "xinfer", "xinfer.actors.replica_main"))
    if broken:
        return broken
    here = str(Path(str(sys.modules["xinfer"].__file__)).resolve())
    if here != wanted["xinfer"]:
        return f"they bring an xinfer of their own, {here}, and a replica must run its worker's"
    broken = _unfit(wanted["packages"])
    if broken:
        return broken
    del sys.modules["torch"]
    return _first_broken(wanted["packages"])


def _first_broken(modules: Any) -> str:
    for name in modules:
        try:
            import_module(name)
        except BaseException as error:  # noqa: BLE001 - whatever a foreign package does while it is imported
            return f"{name} cannot be imported ({type(error).__name__}: {error})"
    return ""


def _unfit(packages: list[str]) -> str:
    """The first package that this environment brings itself in a version that xinfer does not take."""
    from packaging.requirements import Requirement

    try:
        declared = metadata.requires("xinfer-runtime") or []
    except metadata.PackageNotFoundError:
        return ""
    for requirement in map(Requirement, declared):
        extra = requirement.marker is not None and "extra" in str(requirement.marker)
        if extra and requirement.name.replace("-", "_").lower() not in packages:
            continue
        try:
            found = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        if Path(sys.prefix) not in Path(str(found.locate_file(""))).parents:
            continue
        if not requirement.specifier.contains(found.version, prereleases=True):
            return f"they bring {requirement.name} {found.version}, and xinfer needs {requirement.name}{requirement.specifier}"
    return ""


if __name__ == "__main__":
    verdict = _main(json.loads(sys.argv[1]))
    if verdict:
        sys.stdout.write(" ".join(verdict.split()) + "\n")
    sys.exit(1 if verdict else 0)
