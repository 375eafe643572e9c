"""Making a collection on a server, or its next generation.

A first generation is made at its place, with the hidden point, the indexes and the creating run's
lease, and the name becomes its alias last: no reader finds a part of it. What a run leaves that is
killed before that is empty, is no collection to anybody, and is replaced by the next creation.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from ragctl.collection.payload import FILTERABLE_FIELDS
from ragctl.collection.server_options import FALLBACK_KEY
from ragctl.collection.settings import Settings
from ragctl.collection.shard_keys import ShardKeys
from ragctl.errors import Locked, StoreError
from ragctl.records import ignore
from ragctl.stores.locks import LockWait
from ragctl.stores.server_connection import (
    Refusal,
    ServerConnection,
    collection_label,
    require_applied,
)
from ragctl.stores.server_directory import (
    MANAGE,
    METADATA_VERSION,
    PLACE_KEY,
    SETTINGS_KEY,
    Found,
    ServerDirectory,
    generation_place,
    require_done,
)
from ragctl.stores.server_http import QdrantHttp, collection_path
from ragctl.stores.server_limits import BatchLimits
from ragctl.stores.server_locks import ServerLocks
from ragctl.stores.server_points import HIDDEN
from ragctl.stores.server_schema import (
    check_version,
    collection_config,
    index_schema,
    needed_indexes,
)
from ragctl.stores.server_writes import shard_choice

NOTES_KEY = "notes"
"""Key of the notes in the hidden point's payload."""

CONFLICT = 409
STANDALONE = 405
"""Status of requests that only a cluster answers."""

CLEANUP_PATIENCE_SECONDS = 5.0
"""The deletion of what a failed creation has made is retried so long."""

CREATION_POLL_SECONDS = 0.1
"""Interval between checks of a collection that another run is making."""


class ServerCreation:
    """Makes collections and generations on one server."""

    def __init__(
        self, connection: ServerConnection, directory: ServerDirectory, locks: ServerLocks
    ) -> None:
        self._connection = connection
        self._directory = directory
        self._locks = locks

    def create(self, name: str, settings: Settings, *, plain: bool) -> Found:
        """Make a collection, or take over what an interrupted creation has left.

        `plain`: without an alias.
        """
        self._check_version(name, settings)
        if plain:
            return self._make(name, name, settings)
        place, check = generation_place(name, 1), partial(self._locks.check, name)
        made = self._make(name, place, settings)
        refused = self._directory.point(name, place, check)
        lease = self._locks.lease(name)
        if refused is None:
            if lease is not None:
                lease.readdress(name)
            return made
        if "doesn't exist" in refused.reason or refused.status == CONFLICT:
            raise self.taken(name)
        # Aliases are not permitted.
        self._directory.delete(name, place, check)
        if lease is not None:
            lease.forget()
        return self._make(name, name, settings)

    def create_generation(self, name: str, settings: Settings) -> Found:
        """Make a generation to which no name leads."""
        self._check_version(name, settings)
        return self._make(name, generation_place(name, settings.generation), settings)

    def index_missing(self, found: Found, settings: Settings) -> None:
        """Make the payload indexes that a collection lacks, if the key may."""
        indexes = needed_indexes(settings)
        if not BatchLimits.of(found.info).unindexed:
            indexes = {**FILTERABLE_FIELDS, **indexes}
        schema = found.info.payload_schema
        missing = {key: kind for key, kind in indexes.items() if key not in schema}
        self.index(found.name, found.address, missing)

    def index(self, name: str, place: str, fields: Mapping[str, str]) -> Refusal | None:
        """Make payload indexes, types by payload key; return the refusal of a key that may not.

        Raises StoreError.
        """
        for field, kind in sorted(fields.items()):
            body = {
                "field_name": field,
                "field_schema": index_schema(kind, self._connection.version),
            }
            made = self._directory.ask(name, partial(_put, collection_path(place, "index"), body))
            if isinstance(made, Refusal):
                if made.status in (401, 403):
                    return made
                raise self._connection.error(collection_label(name), made)
        return None

    def _make(self, name: str, place: str, settings: Settings) -> Found:
        stored = {**settings.to_json(), PLACE_KEY: place}
        keeps_metadata = self._connection.version >= METADATA_VERSION
        config = collection_config(settings)
        if keeps_metadata:
            config["metadata"] = {SETTINGS_KEY: stored}
        made = self._put(name, place, config)
        if not made and not self._is_this_creation(name, place, stored):
            if not self._is_abandoned(name, place):
                raise self.taken(name)
            self._directory.delete(name, place, partial(self._locks.check, name))
            made = self._put(name, place, config)
        try:
            shards = ShardKeys.of_options(settings.server)
            for key in () if shards is None else shards.every:
                self._make_shard_key(name, place, key)
            hidden = {} if keeps_metadata else {SETTINGS_KEY: stored}
            self._insert_hidden(name, place, hidden, shards)
            found = self._directory.at(name, place)
            if found is None:
                raise self.taken(name)
            self.index_missing(found, settings)
            if settings.generation == 1:
                self._acquire_lease(name, place)
            found = self._directory.at(name, place)
        except StoreError:
            self._remove_failed(name, place, stored, made=made)
            raise
        if found is None or not _is_of(found, stored):
            raise self.taken(name)
        return found

    def _remove_failed(
        self, name: str, place: str, stored: Mapping[str, Any], *, made: bool
    ) -> None:
        """Delete what a failed creation has made; leave it if the server does not answer.

        `made`: the server has confirmed that it made this collection.
        """
        directory = ServerDirectory(self._connection, patience=CLEANUP_PATIENCE_SECONDS)
        with suppress(StoreError, Locked):
            found = directory.at(name, place)
            if found is None:
                return
            if not _is_of(found, stored) and not (made and directory.is_unfinished(found)):
                return
            directory.delete(name, place, partial(self._locks.check, name))
            if (lease := self._locks.lease(name)) is not None:
                lease.forget()

    def _make_shard_key(self, name: str, place: str, key: str) -> None:
        """Create the shards of a key, unless they exist. Raises StoreError."""
        made = self._directory.ask(name, partial(_create_shard_key, place, key))
        if not isinstance(made, Refusal) or "already exists" in made.reason:
            return
        if made.status == STANDALONE:
            raise StoreError(
                f"{collection_label(name)} at {self._connection.url}: server.shard_keys needs a "
                "Qdrant that runs as a cluster, of one node or more: set cluster.enabled there, "
                f"or leave shard_keys out ({made.reason})"
            )
        raise self._connection.error(collection_label(name), made, need=MANAGE)

    def _insert_hidden(
        self, name: str, place: str, stored: Mapping[str, Any], shards: ShardKeys | None
    ) -> None:
        """Create the hidden point; leave alone one that is there already, if the server can."""
        body: dict[str, Any] = {
            "points": [{"id": HIDDEN, "vector": {}, "payload": {NOTES_KEY: {}, **stored}}],
            **shard_choice(None if shards is None else FALLBACK_KEY),
        }
        if self._connection.version >= METADATA_VERSION:
            body["update_filter"] = {"must": [{"has_id": []}]}
        self._directory.do(name, partial(_put, collection_path(place, "points"), body))

    def _acquire_lease(self, name: str, place: str) -> None:
        """Acquire the lease of a new collection for the run that holds the lock of its name."""
        lease = self._locks.lease(name)
        if lease is not None:
            lease.readdress(place)
            lease.acquire(lease.read(), LockWait(0.0, ignore))

    def _put(self, name: str, place: str, config: Mapping[str, Any]) -> bool:
        """Make the collection of a place; return False if there is one already."""
        made = self._directory.ask(name, partial(_create, place, config))
        if not isinstance(made, Refusal):
            return True
        if made.status == CONFLICT or "already exists" in made.reason:
            return False
        raise self._connection.error(collection_label(name), made, need=MANAGE)

    def _is_this_creation(self, name: str, place: str, stored: Mapping[str, Any]) -> bool:
        """Return whether the collection of this place was made by this creation.

        That is so after a lost answer.
        """
        return _is_of(self._directory.at(name, place), stored)

    def _is_abandoned(self, name: str, place: str) -> bool:
        """Return whether the collection of this place was left by a creation that ended.

        A run that holds the lock of the name waits for the life of a lease before it says so.
        """
        end = time.monotonic() + (self._locks.seconds if self._locks.lease(name) else 0.0)
        while True:
            found = self._directory.at(name, place)
            if found is None or not self._is_part(found, name):
                return False
            if place != name and self._directory.info(name, name) is not None:
                return False
            if time.monotonic() >= end:
                return True
            time.sleep(CREATION_POLL_SECONDS)

    def _is_part(self, found: Found, name: str) -> bool:
        """Return whether this may be what an interrupted creation has left."""
        if found.stored is None or found.address == name:
            return self._directory.is_unfinished(found)
        return self._directory.is_empty(found)

    def taken(self, name: str) -> StoreError | Locked:
        """Return the error for a name that another run took."""
        label, url = collection_label(name), self._connection.url
        if self._locks.lease(name) is not None:
            return Locked(
                f"{label} at {url} was made by another run just now; "
                "wait for it to end, then run again"
            )
        return StoreError(f"{label} exists already at {url}")

    def _check_version(self, name: str, settings: Settings) -> None:
        version = self._connection.version
        lacking = check_version(settings, version)
        if lacking is not None:
            found, url = ".".join(map(str, version)), self._connection.url
            raise StoreError(f"{collection_label(name)}: Qdrant {found} at {url} {lacking}")


def _is_of(found: Found | None, stored: Mapping[str, Any]) -> bool:
    """Return whether a collection is the one that was made with these settings."""
    return found is not None and (found.stored or {}).get("made") == stored["made"]


def _put(path: str, body: Mapping[str, Any], client: QdrantHttp) -> None:
    client.send("PUT", path, body, read=require_applied, wait="true")


def _create(place: str, config: Mapping[str, Any], client: QdrantHttp) -> None:
    client.send("PUT", collection_path(place), config, read=require_done)


def _create_shard_key(place: str, key: str, client: QdrantHttp) -> None:
    client.send("PUT", collection_path(place, "shards"), shard_choice(key), read=require_done)
