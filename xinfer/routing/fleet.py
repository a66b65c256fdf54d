"""The replicas of one model as one API process sees them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xinfer.cluster.ids import ReplicaId
from xinfer.cluster.routes import Route
from xinfer.routing import standing
from xinfer.routing.load import Flight, ReplicaLoad
from xinfer.routing.speeds import speeds


class Fleet:
    """ReplicaLoads by id, following the route table."""

    def __init__(self) -> None:
        self.loads: dict[ReplicaId, ReplicaLoad] = {}
        self._quarantine: ReplicaLoad | None = None

    def update(self, routes: Iterable[Route]) -> list[Flight]:
        """Adopt new routes. A newer epoch is a new life with an empty record.

        Returns:
            Shards in flight at replicas that are no longer there.
        """
        listed = {route.replica_id: route for route in routes}
        gone: list[Flight] = []
        for replica_id, load in list(self.loads.items()):
            route = listed.get(replica_id)
            if route is None or route.epoch != load.route.epoch:
                for flight in load.flights:
                    flight.suspect = route is not None  # another life there means that this one has ended
                gone += load.flights
                del self.loads[replica_id]
        for replica_id, route in listed.items():
            known = self.loads.get(replica_id)
            if known is None:
                self.loads[replica_id] = ReplicaLoad(route)
            else:
                known.route = route
        return gone

    def live(self) -> list[ReplicaLoad]:
        """Replicas that are listed and not ejected."""
        return [load for load in self.loads.values() if not load.ejected]

    def willing(self, now: float) -> list[ReplicaLoad]:
        """Live replicas whose breaker lets work through; all of them if none does (fail open)."""
        live = self.live()
        return [load for load in live if load.breaker.allows(now)] or live

    def speed(self) -> float:
        """Tokens/s of all live replicas, 0 if nothing is known."""
        live = self.live()
        if any(load.speed > 0 for load in live):
            return sum(speeds(live))
        return sum(load.measured for load in live)

    def quarantine(self, willing: Sequence[ReplicaLoad], now: float) -> ReplicaLoad:
        """The one replica where suspects run, each alone, while the others carry the load."""
        ward = self._quarantine
        if ward is None or ward not in willing:
            ward = min(willing, key=lambda load: load.remaining(now))
            self._quarantine = ward
        return ward

    def release_quarantine(self) -> None:
        """No suspect is left."""
        self._quarantine = None

    def probes(self, now: float) -> list[ReplicaLoad]:
        """Ejected replicas that are still listed and due for a probe; each is returned once until its result is in."""
        return standing.probes(self.loads.values(), now)

    def wake_at(self, now: float) -> list[float]:
        """Times at which a replica changes by itself."""
        return standing.changes_at(self.loads.values(), now)
