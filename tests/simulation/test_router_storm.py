"""Replicas die and return, refuse, fail and slow down, callers hang up: nothing is lost, doubled or left over."""

from __future__ import annotations

import random

import pytest

from tests.simulation.router_sim import Simulation, correct, cpu, documents, nothing_left
from xinfer.cluster.ids import ReplicaId
from xinfer.errors import EngineError, ReplicaBusy, ReplicaLost
from xinfer.routing.pending import PendingRequest


class Storm:
    """Faults by seed, over 40 simulated seconds."""

    def __init__(self, seed: int) -> None:
        self.dice = dice = random.Random(seed)
        self.names = ["0", "1", "2"]
        self.processes = dice.choice([1, 1, 2, 3])
        self.sim = Simulation([cpu(name, budget=dice.choice([512, 2048])) for name in self.names], seed, self.processes)
        self.epoch = 1
        self.submitted: list[PendingRequest] = []
        self.gone: list[PendingRequest] = []

    def enter(self) -> None:
        lengths = documents(self.dice, self.dice.choice([1, 2, 20, 90]))
        self.submitted.append(self.sim.submit(lengths, key=self.dice.choice("abc"), process=self.dice.randrange(self.processes)))

    def hang_up(self) -> None:
        waiting = [request for request in self.submitted if not request.settled]
        if waiting:
            request = self.dice.choice(waiting)
            for router in self.sim.routers:
                if request in router.queue.requests or any(i.request is request for f in router.flights for i in f.items):
                    router.drop(request)
            self.gone.append(request)

    def die_and_return(self) -> None:
        sim, name = self.sim, self.dice.choice(self.names)
        dead = sim.replicas.pop(ReplicaId(name), None)
        if dead is None:
            return
        self.epoch += 1
        born = dead.reborn(self.epoch)
        for shard in dead.held:
            shard.answer = lambda result: None
        for router in sim.routers:
            for flight in list(router.flights):  # its calls break, or nobody notices but the routes
                if flight.load.route == dead.route and self.dice.random() < 0.7:
                    sim.land(router, flight, ReplicaLost("died"))
        sim.at(sim.now + self.dice.uniform(0, 0.5), lambda: sim.set_routes(starting=1))

        def back() -> None:
            sim.replicas[ReplicaId(name)] = born
            sim.set_routes()

        sim.at(sim.now + self.dice.uniform(0.6, 3), back)

    def fault(self) -> None:
        for replica in self.sim.replicas.values():
            replica.faults = [ReplicaBusy("full")]
            replica.slow = self.dice.choice([1.0, 1.0, 4.0])
        if self.sim.replicas:
            self.dice.choice(list(self.sim.replicas.values())).faults = [EngineError("bad luck")]


@pytest.mark.parametrize("seed", range(16))
def test_nothing_is_lost_or_doubled_in_a_storm(seed: int) -> None:
    """Every request is answered once and rightly, unless its caller has gone."""
    storm = Storm(seed)
    sim, dice = storm.sim, storm.dice
    for _ in range(150):
        sim.at(dice.uniform(0, 40), storm.enter)
    for when in (5, 12, 21, 30):
        sim.at(when + dice.random(), storm.die_and_return)
    for when in range(3, 40, 4):
        sim.at(when + dice.random(), storm.fault)
        sim.at(when + dice.random(), storm.hang_up)
    sim.run()
    stayed = [request for request in storm.submitted if request not in storm.gone]
    assert len(storm.submitted) == 150
    assert set(sim.finished) == set(stayed)
    unlucky = [request for request in stayed if request.error is not None]  # a suspect alone at its second death
    assert len(unlucky) <= 2
    assert all(request.error.details["crashes"] == 2 for request in unlucky if request.error is not None)
    assert all(correct(request, sim) for request in stayed if request not in unlucky)
    assert nothing_left(sim)


def test_a_replica_drops_what_a_caller_that_hung_up_was_waiting_for() -> None:
    sim = Simulation([cpu("0", budget=512)])
    gone = sim.submit([200] * 40)
    stays = sim.submit([150] * 2)
    sim.at(0.03, lambda: sim.router.drop(gone))  # the small one is running, the first of the other waits at the replica
    sim.run()
    (replica,) = sim.replicas.values()
    assert correct(stays, sim)
    assert replica.documents == 2
    assert nothing_left(sim)
