"""The replicas of a collection's shards, as a cluster describes them."""

from collections.abc import Mapping
from dataclasses import dataclass

from ragctl.stores.server_http import QdrantHttp, collection_path
from ragctl.stores.server_info import read_shards

_ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """The replicas of one shard. `states`: "active", "dead" …, by the id of the node."""

    shard: int
    states: Mapping[int, str]

    @property
    def active(self) -> int:
        """The number of replicas that the cluster reads from."""
        return sum(state == _ACTIVE for state in self.states.values())

    @property
    def leader_active(self) -> bool:
        """Whether the replica of the highest id, which orders strong writes, is active."""
        return self.states[max(self.states)] == _ACTIVE

    @property
    def has_quorum(self) -> bool:
        """Whether more than half of the replicas are active."""
        return 2 * self.active > len(self.states)

    def __str__(self) -> str:
        peers = ", ".join(f"peer {peer} {state}" for peer, state in sorted(self.states.items()))
        return f"shard {self.shard} ({peers})"


def read_replicas(
    client: QdrantHttp, name: str, *, within: float | None = None
) -> list[ReplicaSet]:
    """Return the replicas of each shard, in order of number. Raises as QdrantHttp.send.

    `within`: limit in seconds, instead of the client's timeout.
    """
    states: dict[int, dict[int, str]] = {}
    path = collection_path(name, "cluster")
    for row in client.send("GET", path, read=read_shards, within=within):
        states.setdefault(row.number, {})[row.node] = row.state
    return [ReplicaSet(number, of) for number, of in states.items()]
