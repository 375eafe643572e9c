"""The replicas of a collection's shards, as a cluster describes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragctl.stores.server_http import QdrantHttp, collection_path


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard. `replicas`: the state of each ("Active", "Dead" …), by the id of its peer."""

    number: int
    replicas: Mapping[int, str]

    @property
    def active(self) -> int:
        """The number of replicas that the cluster reads from."""
        return sum(state == "Active" for state in self.replicas.values())

    def __str__(self) -> str:
        peers = ", ".join(f"peer {peer} {state}" for peer, state in sorted(self.replicas.items()))
        return f"shard {self.number} ({peers})"


def read_shards(client: QdrantHttp, name: str) -> list[Shard]:
    """Return the shards of a collection, in order of number. Raises as QdrantHttp.send."""
    return client.send("GET", collection_path(name, "cluster"), read=_shards)


def _shards(found: Mapping[str, Any]) -> list[Shard]:
    states: dict[int, dict[int, str]] = {}
    for replica in found["local_shards"]:
        states.setdefault(replica["shard_id"], {})[found["peer_id"]] = str(replica["state"])
    for replica in found["remote_shards"]:
        states.setdefault(replica["shard_id"], {})[replica["peer_id"]] = str(replica["state"])
    return [Shard(number, replicas) for number, replicas in sorted(states.items())]
