"""What a server says about a collection: `GET /collections/NAME`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragctl.collection.server_options import FALLBACK_KEY
from ragctl.stores.base import Shard


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """The state and the configuration of a collection on a server.

    Attributes:
        status: green (all is indexed), yellow (the server is optimising), grey (optimisations
            are pending, until the next write) or red (an error).
        optimizer_error: what made the status red.
        points: number of points; approximate.
        indexed_vectors: vectors in an HNSW graph; the server's count is approximate.
        config: the whole configuration.
        payload_schema: payload indexes by key.
    """

    status: str
    optimizer_error: str | None
    points: int
    indexed_vectors: int
    config: Mapping[str, Any]
    payload_schema: Mapping[str, Any]

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> "CollectionInfo":
        """Return the information in an answer's result."""
        config = result["config"]
        if not isinstance(config["params"], dict):
            raise TypeError("config.params is no object")
        optimizer = result.get("optimizer_status")
        return cls(
            status=str(result["status"]),
            optimizer_error=str(optimizer["error"]) if isinstance(optimizer, dict) else None,
            points=int(result.get("points_count") or 0),
            indexed_vectors=int(result.get("indexed_vectors_count") or 0),
            config=config,
            payload_schema=result.get("payload_schema") or {},
        )

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The collection's metadata; empty without any."""
        return self.config.get("metadata") or {}

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters fixed at creation, most of them."""
        return self.config["params"]  # type: ignore[no-any-return]

    @property
    def hidden_shard(self) -> dict[str, str]:
        """The keys of a request that choose the shard of the hidden point; {}: no choice."""
        custom = self.params.get("sharding_method") == "custom"
        return {"shard_key": FALLBACK_KEY} if custom else {}

    @property
    def strict_mode(self) -> Mapping[str, Any]:
        """The settings of strict mode; empty without any."""
        return self.config.get("strict_mode_config") or {}


def read_shards(result: Mapping[str, Any]) -> tuple[Shard, ...]:
    """Return the replicas of all shards, from the result of `GET /collections/NAME/cluster`."""
    own = [{**each, "peer_id": result["peer_id"]} for each in result["local_shards"]]
    replicas = [
        Shard(int(each["shard_id"]), int(each["peer_id"]), str(each["state"]).lower())
        for each in (*own, *result["remote_shards"])
    ]
    return tuple(sorted(replicas, key=lambda shard: (shard.number, shard.node)))
