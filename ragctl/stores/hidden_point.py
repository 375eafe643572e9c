"""The hidden point of a collection, read and written so that all replicas agree.

A collection on a cluster has replicas of each shard. A write goes to every replica that is not
marked as dead, and is acknowledged once `write_consistency_factor` of them took it and the
cluster marked the others as dead. A write that is refused stays where it was applied, so
replicas may disagree, and a plain read says what one of them holds.

Reading. `majority` returns what more than half of the replicas hold, and needs an answer from
all; `quorum` returns what more than half hold if those agree, and needs no answer from the
others. Any two such sets of replicas have one in common, so two reads never return different
values at once. If half of the replicas or more are marked as dead (one of two), neither read is
possible. Then those that are left hold every acknowledged write, because a write is acknowledged
only by them, or after the cluster, by a majority of its nodes, has taken a replica out. So a
read of all that are left, who must agree, is as good. A replica that does not answer but is not
marked as dead may hold something else: a write that changes nothing makes the cluster mark it,
or is refused, and then nothing can be written anyway.

Shard keys. In a collection with shard keys a write must name that of the point, which every read of
the point tells.

Writing. A strong write is ordered by one replica for good, a medium one by the replica of the
highest id that is alive, a weak one by none. The latter two are used when the former cannot be.
The order of two conditional writes may then differ between replicas; they disagree, and no
reader takes either for done.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from ragctl.stores.replicas import ReplicaSet, read_replicas
from ragctl.stores.server_connection import (
    Refusal,
    ServerConnection,
    require_all_applied,
)
from ragctl.stores.server_failures import ReplicasError, reason_of
from ragctl.stores.server_http import QdrantHttp, StatusError, collection_path
from ragctl.stores.server_info import CollectionInfo
from ragctl.stores.server_points import HIDDEN
from ragctl.stores.server_writes import (
    Operation,
    batch_body,
    encode_upsert,
    set_payload,
    shard_choice,
)

T = TypeVar("T")

REPLICAS_PATIENCE_SECONDS = 3.0
"""A run that begins waits so long for replicas that do not answer."""

QUICK_SECONDS = 2.0
"""Limit on a quick request. Whoever needs a node that hangs waits for it much longer."""

_SLOW = "no answer within"
_READ_FAILURES = ("read operations failed", "enough active replicas", _SLOW)
_LEADER_FAILURES = ("ordering via leader peer", "no leader could be selected")
_WRITE_FAILURES = (
    "failed to apply operation",
    "has no active replica",
    "at least one `Active` replica",
    _SLOW,
    *_LEADER_FAILURES,
)
_ORDERINGS = ("strong", "medium", "weak")
_SERVER_ERROR = 500
_ONE = "1"  # the answer of one replica
_PAIR = 2  # of two replicas a quorum is both


@dataclass(frozen=True, slots=True)
class Hidden:
    """The hidden point as it was read.

    `payload`: None if it does not exist; the selected keys. `agreed`: the replicas agree on
    them; if not, `payload` is the whole payload on one of them.
    """

    payload: Mapping[str, Any] | None
    agreed: bool = True


class HiddenPoint:
    """The hidden point of a collection.

    `name`: the collection's name or alias. `keys`: those to read. `label`: how errors name the
    collection. `need`: the right that writes need, for errors.
    """

    def __init__(
        self,
        connection: ServerConnection,
        name: str,
        keys: tuple[str, ...],
        label: str,
        *,
        need: str = "that right",
    ) -> None:
        self._name = name
        self._connection = connection
        self._label = label
        self._keys = list(keys)
        self._need = need
        self._short = False  # the last read lacked a replica
        self._shard: dict[str, Any] | None = None  # the choice of its shard; None: not known

    @property
    def name(self) -> str:
        """The collection's name or alias. It may be changed."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name, self._shard = name, None

    def read(self, patience: float | None, *, quick: bool) -> Hidden | Refusal:
        """Return the point. `quick`: wait only a few seconds for missing replicas."""
        return self._attempt(lambda client: self._read(client, self._keys, quick), patience, quick)

    def compare_and_set(
        self,
        key: str,
        expected: list[str],
        payload: Mapping[str, Any],
        patience: float | None,
        *,
        quick: bool,
    ) -> None:
        """Set keys of the payload if `key` is one of `expected` (empty: if there is no such key).

        Raises StoreError; the result must be read.
        """
        condition = {"key": key, "match": {"any": expected}} if expected else _empty(key)
        chosen = {"must": [{"has_id": [HIDDEN]}, condition]}
        self._write(lambda shard: set_payload(payload, filter=chosen, **shard), patience, quick)

    def insert(self, key: str, payload: Mapping[str, Any]) -> None:
        """Create the point unless it exists; for servers with `update_filter` only."""
        mine = {"must": [{"key": key, "match": {"value": payload[key]}}]}
        point = {"id": HIDDEN, "vector": {}, "payload": payload}
        self._write(lambda shard: encode_upsert([point], update_filter=mine, **shard), None, True)

    def set(self, payload: Mapping[str, Any], patience: float | None) -> None:
        """Set keys of the payload, whatever they are now."""
        self._write(lambda shard: set_payload(payload, points=[HIDDEN], **shard), patience, False)

    def overwrite(self, payload: Mapping[str, Any], patience: float | None) -> None:
        """Write the whole point, whatever it is now, on every replica."""
        point = {"id": HIDDEN, "vector": {}, "payload": payload}
        self._write(lambda shard: encode_upsert([point], **shard), patience, True)

    def whole(self) -> Mapping[str, Any]:
        """Return the whole payload, that on one replica if they disagree; {} without the point."""
        found = self._attempt(lambda client: self._read(client, True, True), None, True)
        if isinstance(found, Refusal):
            raise self._connection.error(self._label, found)
        return found.payload or {}

    def _attempt(
        self, request: Callable[[QdrantHttp], T], patience: float | None, quick: bool
    ) -> T | Refusal:
        return self._connection.attempt(
            self._label,
            request,
            patience=patience,
            replicas_patience=REPLICAS_PATIENCE_SECONDS if quick else None,
        )

    def _write(
        self,
        operation: Callable[[dict[str, Any]], Operation],
        patience: float | None,
        quick: bool,
    ) -> None:
        """Send the write that `operation` returns for a choice of the shard."""

        def write(client: QdrantHttp) -> None:
            body = batch_body([operation(self._shard_choice(client))])
            for ordering in self._orderings(client):
                try:
                    limit = REPLICAS_PATIENCE_SECONDS if quick and self._short else None
                    self._send(client, body, ordering, within=limit)
                except StatusError as error:
                    if _is(error, _LEADER_FAILURES) and ordering != "weak":
                        continue
                    if _is(error, _WRITE_FAILURES):
                        raise self._shortage(client, error) from None
                    raise
                return

        refused = self._attempt(write, patience, quick)
        if isinstance(refused, Refusal):
            raise self._connection.error(self._label, refused, need=self._need)

    def _orderings(self, client: QdrantHttp) -> tuple[str, ...]:
        """Return the orderings of a write, best first; without strong where its leader is dead."""
        if self._short and not all(
            shard.leader_active for shard in read_replicas(client, self.name)
        ):
            return _ORDERINGS[1:]
        return _ORDERINGS

    def _shard_choice(self, client: QdrantHttp) -> dict[str, Any]:
        if self._shard is None:  # the point was not read, or does not exist
            info = client.send("GET", collection_path(self.name), read=CollectionInfo.read)
            self._shard = info.hidden_shard
        return self._shard

    def _send(
        self,
        client: QdrantHttp,
        body: Mapping[str, Any],
        ordering: str,
        within: float | None = None,
    ) -> None:
        url = collection_path(self.name, "points", "batch")
        with _limited(within):
            client.send(
                "POST",
                url,
                body,
                read=require_all_applied,
                within=within,
                wait="true",
                ordering=ordering,
            )

    def _read(self, client: QdrantHttp, keys: list[str] | bool, quick: bool) -> Hidden:
        found = self._agreed(client, keys, QUICK_SECONDS if quick else None)
        if found is not None:
            return Hidden(found)
        whole = self._retrieve(client, True, _ONE)  # there is none, or its replicas disagree
        return Hidden(whole, agreed=whole is None)

    def _agreed(
        self, client: QdrantHttp, keys: list[str] | bool, within: float | None
    ) -> Mapping[str, Any] | None:
        try:
            found = self._retrieve(client, keys, "majority", within)
            self._short = False
            return found
        except StatusError as error:
            if not _is(error, _READ_FAILURES):
                raise
            failure = error
        self._short = True
        most = max(len(shard.states) for shard in self._replicas(client, failure))
        if most == 1:  # a slow server, not a missing replica
            self._short = False
            return self._retrieve(client, keys, "majority")
        if most > _PAIR:
            with contextlib.suppress(StatusError):
                return self._retrieve(client, keys, "quorum", within)
        level = str(self._replicas_left(client, failure))
        try:
            return self._retrieve(client, keys, level, within)
        except StatusError as error:
            raise self._shortage(client, error) from None

    def _replicas_left(self, client: QdrantHttp, failure: StatusError) -> int:
        """Return how many replicas are left of a shard that has lost half of them or more.

        Raises ReplicasError if no such shard is known, even after a write that changes nothing.
        """
        if all(shard.has_quorum for shard in self._replicas(client, failure)):
            chosen = {"must": [{"has_id": [HIDDEN]}, {"has_id": []}]}
            write = set_payload({self._keys[0]: None}, filter=chosen, **self._shard_choice(client))
            nothing = batch_body([write])
            try:
                self._send(client, nothing, "weak", within=REPLICAS_PATIENCE_SECONDS)
            except StatusError:
                raise self._shortage(client, failure) from None
        left = [s.active for s in self._replicas(client, failure) if not s.has_quorum]
        if not max(left, default=0):
            raise self._shortage(client, failure)
        return max(left)

    def _replicas(self, client: QdrantHttp, failure: StatusError) -> list[ReplicaSet]:
        try:
            return read_replicas(client, self.name, within=QUICK_SECONDS)
        except (StatusError, httpx.ReadTimeout):  # a key without that right, or the node hangs
            raise ReplicasError(reason_of(failure)) from None

    def _shortage(self, client: QdrantHttp, failure: StatusError) -> ReplicasError | StatusError:
        """Return the error that names the replicas that are needed; `failure` without replicas."""
        shards = self._replicas(client, failure)
        if all(len(shard.states) == 1 for shard in shards):
            return failure
        listed = "; ".join(map(str, shards[:4]))
        return ReplicasError(
            f"too few replicas answer ({reason_of(failure)[:160]}). Nothing is written until the "
            f"nodes of these are back: {listed}. Or lower write_consistency_factor of the "
            "collection. Searches work"
        )

    def _retrieve(
        self,
        client: QdrantHttp,
        payload: list[str] | bool,
        consistency: str,
        within: float | None = None,
    ) -> Mapping[str, Any] | None:
        body = {"ids": [HIDDEN], "with_payload": payload}
        url = collection_path(self.name, "points")
        with _limited(within):
            record = client.send(
                "POST", url, body, read=_first, within=within, consistency=consistency
            )
        if record is None:
            return None
        self._shard = shard_choice(record.get("shard_key"))
        return record.get("payload") or {}


@contextlib.contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """Raise StatusError for an answer that does not come within so many seconds."""
    try:
        yield
    except httpx.ReadTimeout:
        if seconds is None:
            raise
        raise StatusError(_SERVER_ERROR, f"{_SLOW} {seconds:g} s".encode(), None) from None


def _first(records: Any) -> Mapping[str, Any] | None:
    return records[0] if records else None


def _empty(key: str) -> dict[str, Any]:
    return {"is_empty": {"key": key}}


def _is(error: StatusError, failures: tuple[str, ...]) -> bool:
    text = error.content.decode("utf-8", "replace")
    return error.status == _SERVER_ERROR and any(words in text for words in failures)
