"""The same for asyncio: each call runs in a thread, and the loop goes on meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from ragctl.errors import StoreError
from ragctl.records import Hit
from ragctl.search.find import BATCH, SearchOutcome
from ragctl.search.library import Searcher, open_collection

T = TypeVar("T")

_THREADS = 8  # searches at once


async def open_collection_async(name: str | None = None, **options: Any) -> "AsyncSearcher":
    """As `open_collection`, without blocking the loop."""
    opening = asyncio.ensure_future(asyncio.to_thread(open_collection, name, **options))
    try:
        return AsyncSearcher(await asyncio.shield(opening))
    except asyncio.CancelledError:
        opening.add_done_callback(_close_unwanted)
        raise


def _close_unwanted(opening: "asyncio.Future[Searcher]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


class AsyncSearcher:
    """A Searcher for asyncio; close it, or use it in an `async with`.

    A call that is cancelled returns at once; what it had begun ends in its thread and is
    dropped. `close` waits for that.
    """

    def __init__(self, searcher: Searcher, *, threads: int = _THREADS) -> None:
        """Takes `searcher` over."""
        self._searcher = searcher
        self._pool = ThreadPoolExecutor(threads, "ragctl")
        self._closed = False

    async def search(self, text: str, **options: Any) -> list[Hit]:
        """As Searcher.search, with its options."""
        return await self._run(partial(self._searcher.search, text, **options))

    async def search_many(
        self, texts: Iterable[str], **options: Any
    ) -> AsyncIterator[SearchOutcome]:
        """As Searcher.search_many, with its options."""
        outcomes = self._searcher.search_many(texts, **options)
        while some := await self._run(partial(_some, outcomes)):
            for outcome in some:
                yield outcome

    async def close(self) -> None:
        """Close it when the calls under way have ended; those that wait get StoreError."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._pool.shutdown(wait=True)
        self._searcher.close()

    async def _run(self, call: Callable[[], T]) -> T:
        if self._closed:
            raise self._was_closed()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, call)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task is not None and task.cancelling()):
                raise self._was_closed() from None  # it had to wait for a thread
            raise

    def _was_closed(self) -> StoreError:
        return StoreError(f"the collection {self._searcher.name!r} was closed")

    async def __aenter__(self) -> "AsyncSearcher":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _some(outcomes: Iterator[SearchOutcome]) -> list[SearchOutcome]:
    return list(islice(outcomes, BATCH))
