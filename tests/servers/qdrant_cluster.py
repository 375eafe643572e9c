"""Replicas: the nodes of a Qdrant cluster, each with a copy of every collection.

What this follows, as seen on Qdrant 1.18.3 and in its source code:

- A write goes to every replica that is not marked as dead. If enough of them take it
  (`write_consistency_factor`), the others are marked as dead, which needs a majority of the
  nodes; else it is refused, and stays applied where it was applied.
- A strong write goes through the replica of the highest peer id, a medium one through the
  highest that is not dead.
- A plain read is answered by the node that is asked. `majority` and `all` need every replica,
  `quorum` more than half, a number that many; only what they agree on is returned.
- A dead replica is copied from another one when its node is back.

Every collection of a cluster has one shard. Its replicas are on the first nodes. On a single node
it has as many as it was made with.
"""

import copy
import json
import random
from collections.abc import Callable, Mapping, Sequence

from tests.servers.qdrant_engine import COLLECTION, Answer, Engine, Json, Route
from tests.servers.qdrant_limits import Problem
from tests.servers.qdrant_rights import Access

_POINTS = f"{COLLECTION}/points"
_WRITES = (f"POST {_POINTS}/batch", f"PUT {_POINTS}")
_READS = (
    f"POST {_POINTS}",
    f"POST {_POINTS}/scroll",
    f"POST {_POINTS}/count",
    f"POST {_POINTS}/query",
    f"POST {_POINTS}/query/batch",
    f"POST {COLLECTION}/facet",
)


class Cluster:
    """The nodes of one cluster. Calls must not overlap.

    Args:
        engines: the replicas, one for each of the first nodes.
        nodes: all nodes, those without a replica included.
        write_consistency: replicas that must take a write.
    """

    def __init__(
        self, engines: Sequence[Engine], *, nodes: int = 1, write_consistency: int = 1
    ) -> None:
        self.engines = list(engines)
        self.write_consistency = write_consistency
        self.up = [True] * max(nodes, len(self.engines))
        self.dead: set[tuple[str, int]] = set()  # (collection, replica)

    def answer(
        self,
        node: int,
        access: Access,
        route: Route,
        names: Mapping[str, str],
        query: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        """Carry out a request sent to a node that is up. Raises Problem."""
        first = self.engines[0]
        first.access = access
        for engine in self.engines[1:]:
            engine.version, engine.limits = first.version, first.limits
            engine.access = access
        if route.needs_collection and "name" in names:
            names = {**names, "name": first.aliases.get(names["name"], names["name"])}
        if route.name == f"GET {COLLECTION}/cluster":
            first.answer(route, names, query, body)
            return self._info(node, names["name"])
        if len(self.engines) == 1:
            return first.answer(route, names, query, body)
        if route.name in _WRITES:
            return self._write(node, route, names, query, body)
        if route.name in _READS:
            return self._read(node, route, names, query, body)
        answers = [engine.answer(route, names, query, body) for engine in self.engines]
        if route.name == f"GET {COLLECTION}":
            params = answers[0]["config"]["params"]
            params["replication_factor"] = len(self.engines)
            params["write_consistency_factor"] = self.write_consistency
        return answers[0]

    def start(self, node: int) -> None:
        """Bring a node back. Its dead replicas are copied from another one."""
        self.up[node] = True
        for name, replica in sorted(self.dead):
            if replica != node:
                continue
            sources = [i for i in self._active(name) if self.up[i]]
            if sources:
                held = self.engines[sources[0]]._local.collections
                self.engines[node]._local.collections[name] = copy.deepcopy(held[name])
                self.dead.discard((name, replica))

    def _active(self, name: str) -> list[int]:
        return [i for i in range(len(self.engines)) if (name, i) not in self.dead]

    def _write(
        self,
        node: int,
        route: Route,
        names: Mapping[str, str],
        query: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        if not route.name.endswith("/batch"):
            return self._replicate(node, route, names, query, body)
        answers: list[Json] = []
        for operation in json.loads(body)["operations"]:
            one = json.dumps({"operations": [operation]}).encode()
            answers += self._replicate(node, route, names, query, one)
        return answers

    def _replicate(
        self,
        node: int,
        route: Route,
        names: Mapping[str, str],
        query: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        name, ordering = names["name"], query.get("ordering", "weak")
        active = self._active(name)
        leader = {"weak": node, "medium": max(active)}.get(ordering, len(self.engines) - 1)
        if not self.up[leader]:
            raise Problem(
                500,
                f"Service internal error: Failed to apply update with {ordering.title()} ordering "
                f"via leader peer {_peer(leader)}: Service internal error: transport error",
            )
        done = [self.engines[i].answer(route, names, query, body) for i in active if self.up[i]]
        failed = [i for i in active if not self.up[i]]
        if not done:
            raise Problem(
                500,
                "Service internal error: The replica set for shard 0 on peer "
                f"{_peer(node)} has no active replica",
            )
        if failed and len(done) < min(self.write_consistency, len(active)):
            raise Problem(
                500,
                "Service internal error: 1 out of 1 shards failed to apply operation. First error "
                "captured: Service internal error: Failed to connect to "
                f"http://node-{_peer(failed[0])}:6335/, error: transport error",
            )
        if failed and 2 * sum(self.up) <= len(self.up):
            raise Problem(
                500,
                "Service internal error: Some replica of shard 0 failed to apply operation and "
                "deactivation timed out after 30s. Consistency of this update is not guaranteed. "
                f"Please retry. Failed peer: {_peer(failed[0])}, error: transport error",
            )
        self.dead |= {(name, i) for i in failed}
        return done[0]

    def _read(
        self,
        node: int,
        route: Route,
        names: Mapping[str, str],
        query: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        total, level = len(self.engines), query.get("consistency")
        active = self._active(names["name"])
        required = {None: 1, "majority": total, "all": total, "quorum": total // 2 + 1}.get(level)
        if required is None:
            required = max(1, min(int(str(level)), total))
        if len(active) < required:
            raise Problem(
                500,
                "Service internal error: The replica set for shard 0 on peer "
                f"{_peer(node)} does not have enough active replicas",
            )
        # A node without a replica asks any of the others.
        asked = sorted(active, key=lambda i: (not self.up[i], i != node, random.random()))
        answers = [self.engines[i].answer(route, names, query, body) for i in asked if self.up[i]][
            :required
        ]
        if len(answers) < required:
            down = sum(not self.up[i] for i in active)
            raise Problem(
                500,
                f"Service internal error: {down} of {down + len(answers)} read operations failed:"
                "\n  Service internal error: Failed to connect: transport error",
            )
        votes = required // 2 + 1 if level == "majority" else required
        return _resolved(route, answers, votes)

    def _info(self, node: int, name: str) -> Json:
        shards = 1
        if len(self.engines) == 1:
            shards = self.engines[0].configs[name].params["shard_number"]
        replicas = [
            {
                "shard_id": shard,
                "peer_id": _peer(i),
                "state": "Dead" if (name, i) in self.dead else "Active",
            }
            for shard in range(shards)
            for i in range(len(self.engines))
        ]
        local = [
            {
                "shard_id": replica["shard_id"],
                "points_count": self.engines[node]._local.count(name).count // shards,
                "state": replica["state"],
            }
            for replica in replicas
            if replica["peer_id"] == _peer(node)
        ]
        return {
            "peer_id": _peer(node),
            "shard_count": shards,
            "local_shards": local,
            "remote_shards": [each for each in replicas if each["peer_id"] != _peer(node)],
            "shard_transfers": [],
        }


def _peer(node: int) -> int:
    return 1001 + node


def _resolved(route: Route, answers: Sequence[Json], votes: int) -> Json:
    """Return what enough of the replicas' answers agree on."""
    if len(answers) == 1 or route.name.endswith("/facet"):
        return answers[0]
    if route.name.endswith("/count"):
        counts = sorted(answer["count"] for answer in answers)
        return {"count": counts[0] if votes == len(counts) else counts[len(counts) // 2]}
    if route.name.endswith("/query/batch"):
        return [_agreed_page(pages, votes) for pages in zip(*answers, strict=True)]
    if route.name == f"POST {_POINTS}":
        return _agreed(answers, votes)
    return _agreed_page(answers, votes)


def _agreed_page(pages: Sequence[Json], votes: int) -> Json:
    """Resolve pages of a scroll or a query; one that lost a record is the last of its scroll."""
    points = _agreed([page["points"] for page in pages], votes)
    whole = len(points) == len(pages[0]["points"])
    following = pages[0].get("next_page_offset") if whole else None
    return {**pages[0], "points": points, "next_page_offset": following}


def _agreed(records: Sequence[Sequence[Json]], votes: int) -> list[Json]:
    key: Callable[[Json], str] = lambda record: json.dumps(record, sort_keys=True)  # noqa: E731
    held = [{key(record) for record in replica} for replica in records]
    listed = {key(record): record for replica in records for record in replica}
    return [
        record for text, record in listed.items() if sum(text in keys for keys in held) >= votes
    ]
