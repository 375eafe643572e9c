"""The names on a server, and the collections to which they lead.

Generation N of the collection NAME is a collection of Qdrant's called NAME@N, its place. NAME is an
alias of the current one, so one request switches it. Without permission for aliases the place is
NAME itself, and there is one generation. A user may give a collection further aliases.

The stored settings say the place at which they were written. A restored snapshot can lie elsewhere,
so they are not believed: requests go to that place only if the server says that the name is an
alias of it. They go to the name otherwise, for example with a key that may not use NAME@N.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from ragctl.collection.payload import BM25, DENSE
from ragctl.collection.settings import FIELD_TYPES, META_PREFIX
from ragctl.errors import StoreError
from ragctl.stores.server_connection import Refusal, ServerConnection, collection_label
from ragctl.stores.server_failures import WriteNotAppliedError
from ragctl.stores.server_http import QdrantHttp, collection_path
from ragctl.stores.server_info import CollectionInfo
from ragctl.stores.server_points import HIDDEN, read_points

T = TypeVar("T")

SETTINGS_KEY = "ragctl"
"""Key of the settings in the collection's metadata, or in the hidden point's payload."""

PLACE_KEY = "place"
"""Key, beside the settings, of the name of the collection in which they were stored."""

METADATA_VERSION = (1, 16)
"""First server version with collection metadata, and with `update_filter`."""

MANAGE = "the right to manage collections (full access)"

_PLACE = re.compile(r"(.+)@([1-9][0-9]*)")


def generation_place(name: str, number: int) -> str:
    """Return the name on the server of a generation."""
    return f"{name}@{number}"


def split_place(place: str) -> tuple[str, int] | None:
    """Return the collection and the number of a generation's place; None for another name."""
    found = _PLACE.fullmatch(place)
    return (found[1], int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Found:
    """What a name leads to.

    Attributes:
        name: the name.
        address: the name that requests use.
        pinned: the address is the collection's own name; else it is an alias, which may lead
            elsewhere at any moment.
        info: what the server says about it.
        stored: the stored settings; None: none, so ragctl did not make it, or not completely.
    """

    name: str
    address: str
    pinned: bool
    info: CollectionInfo
    stored: Mapping[str, Any] | None

    @property
    def place(self) -> str | None:
        """The place at which the settings were stored."""
        place = None if self.stored is None else self.stored.get(PLACE_KEY)
        return place if isinstance(place, str) else None

    @property
    def owner(self) -> str:
        """The name of the collection that ragctl made; not `name` for an alias of a user's own."""
        split = split_place(self.place) if self.place is not None else None
        return self.name if self.place is None else split[0] if split else self.place


@dataclass(frozen=True, slots=True)
class Listing:
    """The names on a server that the key may see: collections, and their names by alias."""

    places: frozenset[str]
    aliases: Mapping[str, str]

    def current(self, name: str) -> str | None:
        """Return the place to which a name leads; None if there is none that the key may see."""
        place = self.aliases.get(name, name)
        return place if place in self.places else None

    def numbers(self, name: str) -> list[int]:
        """Return the numbers of the places of a collection's generations, in order."""
        split = filter(None, map(split_place, self.places))
        return sorted(number for owner, number in split if owner == name)


class ServerDirectory:
    """The collections and aliases of one server.

    `patience`: seconds for which a failing read is retried; None: as the connection does.
    """

    def __init__(self, connection: ServerConnection, *, patience: float | None = None) -> None:
        self._connection = connection
        self._patience = patience

    def find(self, name: str, generation: int | None = None) -> Found | None:
        """Return what a name leads to, or one generation of it; None if there is nothing."""
        if generation is not None:
            return self._find_generation(name, generation)
        info = self.info(name, name)
        if info is None:
            return None
        found = Found(name, name, False, info, self._stored(name, name, info))
        if found.place == name:
            return Found(name, name, True, info, found.stored)
        if found.place is not None and name in self._aliases_of(found.place):
            return Found(name, found.place, True, info, found.stored)
        return found

    def _find_generation(self, name: str, generation: int) -> Found | None:
        self._connection.check()
        place = generation_place(name, generation)
        info = self.ask(name, partial(_info, place))
        if isinstance(info, Refusal):
            # One generation without aliases, or a key that may use the name alone.
            current = self.find(name) if info.status in (403, 404) else None
            if current is not None and (current.stored or {}).get("generation") == generation:
                return current
            if info.status == 404:
                return None
            raise self._connection.error(collection_label(name), info)
        return Found(name, place, True, info, self._stored(name, place, info))

    def is_current(self, name: str, generation: int) -> bool:
        """Return whether a name leads to this generation."""
        found = self.find(name)
        if found is None:
            return False
        place = generation_place(name, generation)
        same = (found.stored or {}).get("generation") == generation
        return found.address == place or (same and found.address == name)

    def info(self, name: str, place: str) -> CollectionInfo | None:
        """Return what the server says about a place; None if there is no such collection."""
        self._connection.check()
        info = self.ask(name, partial(_info, place))
        if not isinstance(info, Refusal):
            return info
        if info.status == 404:
            return None
        raise self._connection.error(collection_label(name), info)

    def at(self, name: str, place: str) -> Found | None:
        """Return the collection of this place; None if there is none."""
        info = self.info(name, place)
        if info is None:
            return None
        return Found(name, place, True, info, self._stored(name, place, info))

    def listing(self) -> Listing:
        """Return the names on the server. Raises StoreError."""
        self._connection.check()
        places = self._call("", partial(_get, "/collections", _places))
        return Listing(places, self._call("", partial(_get, "/aliases", _aliases)))

    def _aliases_of(self, place: str) -> Mapping[str, str]:
        path = collection_path(place, "aliases")
        aliases = self._attempt("", partial(_get, path, _aliases))
        return {} if isinstance(aliases, Refusal) else aliases

    def _stored(self, name: str, place: str, info: CollectionInfo) -> Mapping[str, Any] | None:
        stored = info.metadata.get(SETTINGS_KEY)
        if stored is None and set(info.params.get("vectors") or ()) == {DENSE}:
            path, body = collection_path(place, "points"), {"ids": [HIDDEN], "with_payload": True}
            found = self.do(name, lambda client: client.send("POST", path, body, read=read_points))
            payload: Mapping[str, Any] = found[0].payload if found else {}
            stored = payload.get(SETTINGS_KEY)
        return stored if isinstance(stored, Mapping) else None

    def is_unfinished(self, found: Found) -> bool:
        """Return whether a run ended after it made this collection and before it stored settings.

        Servers with metadata store both at once. Such a collection is empty.
        """
        params = found.info.params
        return (
            found.stored is None
            and self._connection.version < METADATA_VERSION
            and set(params.get("vectors") or ()) == {DENSE}
            and set(params.get("sparse_vectors") or ()) == {BM25}
            and self.is_empty(found)
        )

    def is_empty(self, found: Found) -> bool:
        """Return whether the collection has no point but the hidden one."""
        body = {"filter": {"must_not": [{"has_id": [HIDDEN]}]}, "limit": 1, "with_payload": False}
        path = collection_path(found.address, "points", "scroll")
        return self.do(
            found.name,
            lambda client: client.send("POST", path, body, read=lambda page: not page["points"]),
        )

    def point(self, name: str, place: str, check: Callable[[], None]) -> Refusal | None:
        """Make a name an alias of a place, in one step, whatever it led to; return a refusal.

        Creating an alias replaces one of that name. A deletion before it would save the server's
        list of aliases twice, and a crash in between would lose the name.
        """
        create = {"create_alias": {"alias_name": name, "collection_name": place}}

        def send(client: QdrantHttp) -> None:
            check()
            body = {"actions": [create]}
            client.send("POST", "/collections/aliases", body, read=require_done)

        return self.ask(name, send)

    def delete(self, name: str, place: str, check: Callable[[], None]) -> None:
        """Delete the collection of a place, with its aliases. Raises StoreError."""

        def send(client: QdrantHttp) -> bool:
            check()
            return bool(client.send("DELETE", collection_path(place)))

        deleted = self.ask(name, send)
        if isinstance(deleted, Refusal):
            raise self._connection.error(collection_label(name), deleted, need=MANAGE)
        # False also answers a repeated request whose first answer was lost.
        if not deleted and self.info(name, place) is not None:
            raise StoreError(
                f"{collection_label(name)} at {self._connection.url} was not deleted: the server "
                f"answers that it has no collection {place!r}, only an alias"
            )

    def ask(self, name: str, request: Callable[[QdrantHttp], T]) -> T | Refusal:
        """Send a request about a collection and return its answer or refusal."""
        return self._attempt(collection_label(name), request)

    def do(self, name: str, request: Callable[[QdrantHttp], T]) -> T:
        """Send a request about a collection and return its answer. Raises StoreError."""
        return self._call(collection_label(name), request)

    def _attempt(self, what: str, request: Callable[[QdrantHttp], T]) -> T | Refusal:
        return self._connection.attempt(what, request, patience=self._patience)

    def _call(self, what: str, request: Callable[[QdrantHttp], T]) -> T:
        outcome = self._attempt(what, request)
        if isinstance(outcome, Refusal):
            raise self._connection.error(what, outcome)
        return outcome


def declared_fields(info: CollectionInfo) -> dict[str, str]:
    """Return the declared fields: the user's fields that have an index, with its type."""
    kinds = {key: index["data_type"] for key, index in info.payload_schema.items()}
    return {
        key.removeprefix(META_PREFIX): kind
        for key, kind in sorted(kinds.items())
        if key.startswith(META_PREFIX) and kind in FIELD_TYPES
    }


def require_done(result: Any) -> None:
    """Raise WriteNotAppliedError if a server answers that it has not done what it was asked."""
    if result is not True:
        raise WriteNotAppliedError(f"the server answers {result!r} instead of true")


def _get(path: str, read: Callable[[Any], T], client: QdrantHttp) -> T:
    return client.send("GET", path, read=read)


def _info(place: str, client: QdrantHttp) -> CollectionInfo:
    return client.send("GET", collection_path(place), read=CollectionInfo.read)


def _places(found: Any) -> frozenset[str]:
    return frozenset(str(each["name"]) for each in found["collections"])


def _aliases(found: Any) -> dict[str, str]:
    return {str(each["alias_name"]): str(each["collection_name"]) for each in found["aliases"]}
