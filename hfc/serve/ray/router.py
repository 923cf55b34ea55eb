"""Ray Serve's request router by `routing`: in the process of the door, which all requests pass, so it knows every load."""

from __future__ import annotations

from collections import Counter

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from hfc.serve.ray.parts import Asked
from hfc.serve.ray.routing import ReadBeginnings, choose


class PrefixRouter(RequestRouter):
    """The first argument of every call is an Asked."""

    def initialize_state(self, spare: int = 4) -> None:
        """spare: as `choose` has it."""
        self._spare = spare
        self._known = ReadBeginnings()
        self._loads: Counter[ReplicaID] = Counter()

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The best one, then the others where that takes no more."""
        if pending_request is None or not candidate_replicas:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = (
            True  # as long as all are full; without it Serve asks them in a loop
        )
        asked = pending_request.args[0]
        assert isinstance(asked, Asked)
        by_name = {r.replica_id.unique_id: r for r in candidate_replicas}
        loads = {name: self._loads[r.replica_id] for name, r in by_name.items()}
        untried = {name: load for name, load in loads.items() if name not in asked.tried} or loads
        name = choose(self._known.holders(asked.beginnings, untried), untried, self._spare)
        self._known.note(asked.beginnings, name)
        others = [r for other, r in by_name.items() if other != name and other in untried]
        return [[by_name[name]], others] if others else [[by_name[name]]]

    def on_send_request(self, replica_id: ReplicaID) -> None:
        super().on_send_request(replica_id)
        self._loads[replica_id] += 1

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        super().on_request_completed(replica_id, internal_request_id)
        self._loads[replica_id] -= 1
        if self._loads[replica_id] <= 0:
            del self._loads[replica_id]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: object) -> None:
        pending_request.args[0].replica = replica_id.unique_id

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        super().on_replica_actor_died(replica_id)
        self._known.forget(replica_id.unique_id)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        gone = set(self.curr_replicas) - {r.replica_id for r in replicas}
        super().update_replicas(replicas)
        for replica_id in gone:
            self._known.forget(replica_id.unique_id)
