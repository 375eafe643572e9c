"""Shard keys: the shard of a Qdrant server that holds the documents of a tenant.

Each tenant that is listed has a shard of its own. All other documents, those without the tenant
field included, are in the shard of FALLBACK_KEY. The list is fixed when the collection is
created, so the shard of a document follows from its metadata alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragctl.collection.conditions import AllOf, Match, Where
from ragctl.collection.server_options import FALLBACK_KEY, ServerOptions
from ragctl.collection.settings import META_PREFIX
from ragctl.errors import StoreError


@dataclass(frozen=True, slots=True)
class ShardKeys:
    """The shard keys of a collection. `field`: the tenant field. `tenants`: those listed."""

    field: str
    tenants: tuple[str, ...]

    @classmethod
    def of_options(cls, options: ServerOptions) -> "ShardKeys | None":
        """Return the shard keys of a collection; None if it has none."""
        if options.tenant is None or options.shard_keys is None:
            return None
        return cls(options.tenant, options.shard_keys)

    @property
    def every(self) -> list[str]:
        """All shard keys."""
        return [*self.tenants, FALLBACK_KEY]

    def besides(self, key: str) -> list[str]:
        """Return all other shard keys."""
        return [other for other in self.every if other != key]

    def of(self, payload: Mapping[str, Any]) -> str:
        """Return the shard key of a point. Raises StoreError for a document of several tenants."""
        meta = payload.get("meta")
        if not isinstance(meta, Mapping):
            return FALLBACK_KEY
        if fault := self.fault_of(meta):
            raise StoreError(f"document {payload.get('source')!r}: {fault}")
        value = meta.get(self.field)
        return self._of_value(value[0] if isinstance(value, list) and value else value)

    def fault_of(self, meta: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a document that names several tenants; None if it does not."""
        value = meta.get(self.field)
        if not isinstance(value, list) or len(value) <= 1:
            return None
        return (
            f"its field {self.field!r} has {len(value)} values; in a collection with shard keys a "
            "document belongs to one tenant"
        )

    def reached(self, where: Where) -> list[str] | None:
        """Return the shard keys that points with these conditions can have; None: any."""
        for condition in where:
            if isinstance(condition, Match) and condition.key == f"{META_PREFIX}{self.field}":
                return sorted(set(map(self._of_value, condition.values)))
            if isinstance(condition, AllOf) and (keys := self.reached(condition.of)) is not None:
                return keys
        return None

    def _of_value(self, value: object) -> str:
        return value if isinstance(value, str) and value in self.tenants else FALLBACK_KEY
