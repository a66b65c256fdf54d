"""Typed identifiers. They are compared and passed on, never parsed."""

from __future__ import annotations

from typing import NewType

WorkerId = NewType("WorkerId", str)
"""Stable across restarts: a file under the worker's home."""

DeviceUuid = NewType("DeviceUuid", str)
"""What the driver calls the device (``GPU-…``, ``MIG-…``) or, for CPU slots and simulated GPUs, derived from the worker id."""

ModelUid = NewType("ModelUid", str)
"""What the user calls a deployment."""

ReplicaId = NewType("ReplicaId", str)
"""One place in a deployment; lives on across restarts, which differ by epoch."""

KeyId = NewType("KeyId", str)
"""Of an API key; not secret, and part of what its holder sends."""

Epoch = NewType("Epoch", int)
"""Grows with every life of a supervisor, worker or replica; late news of an older one is dropped."""

Address = NewType("Address", str)
"""``ip:port`` of an actor pool."""
