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
- A node that hangs takes requests and does not answer; whoever needs its answer waits.
- Shard keys need a cluster, which may have one node (`distributed`).

A collection of a cluster has one shard, or one for each shard key. Its replicas are on the first
nodes. On a single node it has as many shards as it was made with.
"""

import copy
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

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


class HangingError(Exception):
    """A node that does not answer is needed. `then`: the answer when the server gives up."""

    def __init__(self, then: Problem) -> None:
        super().__init__(str(then))
        self.then = then


@dataclass(frozen=True)
class Request:
    """A request to one node. `names`: the parts of its path."""

    node: int
    route: Route
    names: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes

    @property
    def collection(self) -> str:
        return self.names["name"]

    def to(self, engine: Engine) -> Answer:
        """Let a replica answer. Raises Problem."""
        return engine.answer(self.route, self.names, self.query, self.body)


class Cluster:
    """The nodes of one cluster. Calls must not overlap.

    Args:
        engines: the replicas, one for each of the first nodes.
        nodes: all nodes, those without a replica included.
        write_consistency: replicas that must take a write.
        distributed: whether a single node runs as a cluster.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        nodes: int = 1,
        write_consistency: int = 1,
        distributed: bool = False,
    ) -> None:
        self.engines = list(engines)
        self.write_consistency = write_consistency
        self.up = [True] * max(nodes, len(self.engines))
        self.hanging: set[int] = set()
        self.dead: set[tuple[str, int]] = set()  # (collection, replica)
        self._distributed = distributed or len(self.up) > 1

    def answer(self, access: Access, request: Request) -> Answer:
        """Carry out a request sent to a node that is up. Raises Problem, HangingError."""
        first, name = self.engines[0], request.route.name
        for engine in self.engines:
            engine.version, engine.limits, engine.access = first.version, first.limits, access
        if request.route.needs_collection and "name" in request.names:
            asked = request.collection
            named = {**request.names, "name": first.aliases.get(asked, asked)}
            request = replace(request, names=named)
        if name == f"GET {COLLECTION}/cluster":
            request.to(first)
            return self._info(request.node, request.collection)
        if name == f"PUT {COLLECTION}/shards" and not self._distributed:
            raise Problem(405, "Qdrant is running in standalone mode")
        if len(self.engines) == 1:
            return request.to(first)
        if name in _WRITES:
            return self._write(request)
        if name in _READS:
            return self._read(request)
        answers = [request.to(engine) for engine in self.engines]
        if name == f"GET {COLLECTION}":
            params = answers[0]["config"]["params"]
            params["replication_factor"] = len(self.engines)
            params["write_consistency_factor"] = self.write_consistency
        return answers[0]

    def start(self, node: int) -> None:
        """Bring a node back. Its dead replicas are copied from another one."""
        self.up[node] = True
        self.hanging.discard(node)
        for name, replica in sorted(self.dead):
            if replica != node:
                continue
            sources = [i for i in self._active(name) if self._answers(i)]
            if sources:
                source, target = self.engines[sources[0]], self.engines[node]
                for part in source.shards.parts(name):
                    held = source._local.collections[part]
                    target._local.collections[part] = copy.deepcopy(held)
                self.dead.discard((name, replica))

    def _answers(self, node: int) -> bool:
        return self.up[node] and node not in self.hanging

    def _active(self, name: str) -> list[int]:
        return [i for i in range(len(self.engines)) if (name, i) not in self.dead]

    def _write(self, request: Request) -> Answer:
        if not request.route.name.endswith("/batch"):
            return self._replicate(request)
        answers: list[Json] = []
        for operation in json.loads(request.body)["operations"]:
            one = json.dumps({"operations": [operation]}).encode()
            answers += self._replicate(replace(request, body=one))
        return answers

    def _replicate(self, request: Request) -> Answer:
        name, ordering = request.collection, request.query.get("ordering", "weak")
        active = self._active(name)
        leader = {"weak": request.node, "medium": max(active)}.get(ordering, len(self.engines) - 1)
        if not self._answers(leader):
            raise self._lost(
                [leader],
                f"Failed to apply update with {ordering.title()} ordering "
                f"via leader peer {_peer(leader)}: Service internal error: transport error",
            )
        done = [request.to(self.engines[i]) for i in active if self._answers(i)]
        failed = [i for i in active if not self._answers(i)]
        if not done:
            raise self._lost(
                failed,
                f"The replica set for shard 0 on peer {_peer(request.node)} has no active replica",
            )
        if failed and len(done) < min(self.write_consistency, len(active)):
            raise self._lost(
                failed,
                "1 out of 1 shards failed to apply operation. First error captured: Service "
                f"internal error: Failed to connect to http://node-{_peer(failed[0])}:6335/, "
                "error: transport error",
            )
        if failed and 2 * sum(map(self._answers, range(len(self.up)))) <= len(self.up):
            raise self._lost(
                failed,
                "Some replica of shard 0 failed to apply operation and deactivation timed out "
                "after 30s. Consistency of this update is not guaranteed. Please retry. Failed "
                f"peer: {_peer(failed[0])}, error: transport error",
            )
        self.dead |= {(name, i) for i in failed}
        return done[0]

    def _read(self, request: Request) -> Answer:
        total, level = len(self.engines), request.query.get("consistency")
        active = self._active(request.collection)
        required = {None: 1, "majority": total, "all": total, "quorum": total // 2 + 1}.get(level)
        if required is None:
            required = max(1, min(int(str(level)), total))
        if len(active) < required:
            peer = _peer(request.node)
            raise self._lost(
                [],
                f"The replica set for shard 0 on peer {peer} does not have enough active replicas",
            )
        # A node without a replica asks any of the others.
        asked = sorted(
            active, key=lambda i: (not self._answers(i), i != request.node, random.random())
        )
        answers = [request.to(self.engines[i]) for i in asked if self._answers(i)][:required]
        if len(answers) < required:
            lost = [i for i in active if not self._answers(i)]
            raise self._lost(
                lost,
                f"{len(lost)} of {len(lost) + len(answers)} read operations failed:"
                "\n  Service internal error: Failed to connect: transport error",
            )
        votes = required // 2 + 1 if level == "majority" else required
        return _resolved(request.route, answers, votes)

    def _lost(self, nodes: Sequence[int], message: str) -> Exception:
        """Return the error about nodes that do not answer; it is late if one hangs."""
        problem = Problem(500, f"Service internal error: {message}")
        return HangingError(problem) if self.hanging.intersection(nodes) else problem

    def _info(self, node: int, name: str) -> Json:
        """Return the shards as the cluster describes them; points are counted where they are."""
        engine = self.engines[min(node, len(self.engines) - 1)]
        per_key = engine.configs[name].params["shard_number"] if len(self.engines) == 1 else 1
        keys: list[str | None] = [*engine.shards.keys.get(name, [None])]
        replicas: list[Json] = [
            {
                "shard_id": number,
                **({} if key is None else {"shard_key": key}),
                "peer_id": _peer(i),
                "state": "Dead" if (name, i) in self.dead else "Active",
            }
            for number, key in enumerate(key for key in keys for _ in range(per_key))
            for i in range(len(self.engines))
        ]
        parts = engine.shards.parts(name)
        counts = {k: engine.count_of(name, [part]) for k, part in zip(keys, parts, strict=True)}
        local = [
            {**each, "points_count": counts[each.get("shard_key")] // per_key}
            for each in replicas
            if each["peer_id"] == _peer(node)
        ]
        for each in local:
            del each["peer_id"]
        return {
            "peer_id": _peer(node),
            "shard_count": len(keys) * per_key,
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
