"""Reading what a server still has of a damaged collection.

Ids are listed without payloads and vectors, which a server keeps elsewhere, and then read in
groups. A group that fails is halved, down to the points that cannot be read. Where ids cannot be
listed, the listing goes on behind the gap, at growing distances.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ragctl.collection.payload import Point
from ragctl.errors import StoreError
from ragctl.stores.server_directory import ServerDirectory
from ragctl.stores.server_http import collection_path
from ragctl.stores.server_points import HIDDEN, read_points, server_id
from ragctl.text import counted

PATIENCE_SECONDS = 0.5
"""A read of a damaged collection is retried so long: damage does not pass."""

LISTED_IDS = 1000
READ_POINTS = 100
_LAST_ID = 2**128 - 1


class ServerSalvage:
    """Yields the readable points of the collection at an address, and says what is lost.

    `directory`: with a short patience. `lost`: gets a line for each part that could not be read.
    """

    def __init__(
        self, directory: ServerDirectory, name: str, address: str, lost: list[str]
    ) -> None:
        self._directory = directory
        self._name = name
        self._address = address
        self._lost = lost
        self._unread: dict[str, list[str]] = {}  # ids by the reason of the failure

    def points(self) -> Iterator[Point]:
        """Yield the points, with their vectors. `lost` is complete when they end."""
        try:
            for ids in self._listed():
                for first in range(0, len(ids), READ_POINTS):
                    yield from self._read(ids[first : first + READ_POINTS])
        finally:
            for reason, ids in self._unread.items():
                count = counted(len(ids), "point")
                self._lost.append(f"{count} ({ids[0]}{' …' if len(ids) > 1 else ''}): {reason}")

    def _listed(self) -> Iterator[list[str]]:
        offset: Any = None
        limit, step = LISTED_IDS, 1
        gap: tuple[Any, str] | None = None
        while True:
            try:
                ids, following = self._page(offset, limit)
            except StoreError as error:
                if limit > 1:
                    limit = max(1, limit // 10)
                    continue
                gap = gap or (offset, str(error))
                behind = _number(offset) + step
                step *= 2
                if behind > _LAST_ID:
                    self._close_gap(gap, "the end")
                    return
                offset = str(uuid.UUID(int=behind))
                continue
            if gap is not None:
                self._close_gap(gap, ids[0] if ids else "the end")
            gap, step, limit = None, 1, min(limit * 10, LISTED_IDS)
            yield [each for each in ids if each != HIDDEN]
            if following is None:
                return
            offset = following

    def _close_gap(self, gap: tuple[Any, str], end: str) -> None:
        begin = "the first id" if gap[0] is None else str(gap[0])
        self._lost.append(f"ids from {begin} to {end} cannot be listed: {gap[1]}")

    def _page(self, offset: Any, limit: int) -> tuple[list[str], Any]:
        body: dict[str, Any] = {"limit": limit, "with_payload": False, "with_vector": False}
        if offset is not None:
            body["offset"] = offset
        page = self._post("scroll", body, dict)
        return [str(each["id"]) for each in page["points"]], page.get("next_page_offset")

    def _read(self, ids: Sequence[str]) -> Iterator[Point]:
        body = {"ids": [*map(server_id, ids)], "with_payload": True, "with_vector": True}
        try:
            found = self._post("", body, read_points)
        except StoreError as error:
            if len(ids) > 1:
                half = len(ids) // 2
                yield from self._read(ids[:half])
                yield from self._read(ids[half:])
            else:
                self._unread.setdefault(str(error), []).append(ids[0])
            return
        yield from found
        missing = set(ids) - {point.id for point in found}
        if missing:
            self._unread.setdefault("listed, but not stored", []).extend(sorted(missing))

    def _post(self, path: str, body: object, read: Callable[[Any], Any]) -> Any:
        url = collection_path(self._address, "points", *filter(None, [path]))
        return self._directory.do(
            self._name, lambda client: client.send("POST", url, body, read=read)
        )


def _number(offset: Any) -> int:
    """Return the place of an id in the order of UUIDs; ids that are numbers come before all."""
    return uuid.UUID(offset).int if isinstance(offset, str) else 0
