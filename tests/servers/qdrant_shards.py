"""Custom sharding: the points of a collection in shards that each have a key.

What this follows, as in Qdrant's source code (a cluster of one node or more is needed):

- A collection with custom sharding begins without shards; each key gets shards of its own.
- A write must name its shards; a read that names none reaches all.
- A point is replaced within its shard only: another shard may hold the same id. Reads of points
  return such an id once, from one of the shards; counts and facets count it twice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import models
from qdrant_client.local.qdrant_local import QdrantLocal

from tests.servers.qdrant_limits import Problem


@dataclass
class Shards:
    """The shards of the collections of one server. `local`: holds each as a collection.

    `keys`: shard keys, by collection with custom sharding. `reached`: the keys of the shards
    that reads of such collections reached, in order.
    """

    local: QdrantLocal
    keys: dict[str, list[str]] = field(default_factory=dict)
    reached: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, name: str, key: str, prepare: Callable[[str], None]) -> bool:
        """Create a key. `prepare`: called with the name of its local collection."""
        if name not in self.keys:
            raise Problem(400, "Bad request: Shard Key cannot be created with Auto sharding method")
        if key in self.keys[name]:
            raise Problem(
                400, f"Bad request: Sharding key {key} already exists for collection {name}"
            )
        config = self.local.collections[name].config
        self.local.create_collection(
            _part(name, key),
            vectors_config=config.vectors,
            sparse_vectors_config=config.sparse_vectors,
        )
        prepare(_part(name, key))
        self.keys[name].append(key)
        return True

    def drop(self, name: str) -> None:
        for part in [each for each in self.local.collections if each.startswith(f"{name}#")]:
            self.local.delete_collection(part)
        self.keys.pop(name, None)

    def parts(self, name: str) -> list[str]:
        """Return the names of the local collections that hold the points of a collection."""
        return [_part(name, key) for key in self.keys[name]] if name in self.keys else [name]

    def to_write(self, name: str, selector: Any) -> list[str]:
        """Return the local collections that a write reaches."""
        if selector is None and name in self.keys:
            raise Problem(400, "Wrong input: Shard key not specified")
        if selector is None:
            return [name]
        self._forget_views(name)
        return [_part(name, key) for key in self._existing(name, selector, "Wrong input")]

    def to_read(self, name: str, selector: Any) -> list[str]:
        """Return the local collections that a read reaches."""
        if selector is None and name not in self.keys:
            return [name]
        keys = self.keys[name]
        if selector is not None:
            keys = self._existing(name, selector, "Bad request")
        self.reached.append(tuple(sorted(keys)))
        return [_part(name, key) for key in keys]

    def view(self, name: str, selector: Any) -> str:
        """Return a local collection with the points that a read reaches, each id once."""
        parts = self.to_read(name, selector)
        if len(parts) == 1:
            return parts[0]
        view = "#".join([name, "", *sorted(part.rpartition("#")[2] for part in parts)])
        if view not in self.local.collections:
            config = self.local.collections[name].config
            self.local.create_collection(
                view,
                vectors_config=config.vectors,
                sparse_vectors_config=config.sparse_vectors,
            )
            points = {point.id: point for part in parts for point in self._points(part)}
            if points:
                self.local.upsert(view, list(points.values()))
        return view

    def key_of(self, name: str, point_id: Any, selector: Any) -> str | None:
        """Return the shard key of a point that a read reached; None without custom sharding."""
        if selector is None or isinstance(selector, list):
            keys: list[str] = selector or self.keys.get(name, [])
            for key in keys:
                if self.local.retrieve(_part(name, key), [point_id], with_payload=False):
                    return key
            return None
        return str(selector)

    def _existing(self, name: str, selector: Any, kind: str) -> list[str]:
        listed: Sequence[str] = selector if isinstance(selector, list) else [selector]
        for key in listed:
            if key not in self.keys.get(name, ()):
                raise Problem(400, f"{kind}: Shard key {key} not found")
        return list(listed)

    def _points(self, part: str) -> Iterator[models.PointStruct]:
        records, _ = self.local.scroll(part, limit=10**9, with_vectors=True)
        for record in records:
            vector: Any = record.vector or {}
            yield models.PointStruct(id=record.id, payload=record.payload, vector=vector)

    def _forget_views(self, name: str) -> None:
        for view in [each for each in self.local.collections if each.startswith(f"{name}##")]:
            self.local.delete_collection(view)


def _part(name: str, key: str) -> str:
    return f"{name}#{key}"
