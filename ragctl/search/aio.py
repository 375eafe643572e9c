"""The Python interface for asyncio: each call runs in a thread, without blocking the loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from itertools import islice
from typing import Any, ParamSpec, TypeVar

from ragctl.errors import StoreError
from ragctl.records import Hit
from ragctl.search.find import QUESTION_BATCH, SearchOutcome
from ragctl.search.library import Searcher, open_collection
from ragctl.search.options import SearchOptions, takes_options

P = ParamSpec("P")
T = TypeVar("T")

SEARCH_THREADS = 8  # concurrent calls of one AsyncSearcher


class AsyncSearcher:
    """A Searcher for asyncio; close it, or use it in an `async with` statement.

    A cancelled call returns at once; the search it started finishes in its thread and is
    discarded. `close` waits for that.
    """

    def __init__(self, searcher: Searcher, *, threads: int = SEARCH_THREADS) -> None:
        """Take ownership of `searcher`; at most `threads` calls run at once."""
        self._searcher = searcher
        self._pool = ThreadPoolExecutor(threads, "ragctl")
        self._closed = False

    @takes_options
    async def search(self, text: str, options: SearchOptions) -> list[Hit]:
        """Do the same as Searcher.search, with the same keyword arguments."""
        (outcome,) = await self._run(lambda: list(self._searcher.answers([text], options)))
        if not isinstance(outcome, list):
            raise outcome
        return outcome

    @takes_options
    async def search_many(
        self, texts: Iterable[str], options: SearchOptions
    ) -> AsyncIterator[SearchOutcome]:
        """Do the same as Searcher.search_many, with the same keyword arguments."""
        outcomes = await self._run(partial(self._searcher.answers, texts, options))
        while batch := await self._run(partial(_next_batch, outcomes)):
            for outcome in batch:
                yield outcome

    async def close(self) -> None:
        """Close the searcher when running calls have finished; waiting calls raise StoreError."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._finish)

    def _finish(self) -> None:
        self._pool.shutdown(wait=True)
        self._searcher.close()

    async def _run(self, call: Callable[[], T]) -> T:
        if self._closed:
            raise self._closed_error()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, call)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task is not None and task.cancelling()):
                raise self._closed_error() from None  # it was waiting for a thread
            raise

    def _closed_error(self) -> StoreError:
        return StoreError(f"the collection {self._searcher.name!r} was closed")

    async def __aenter__(self) -> "AsyncSearcher":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _next_batch(outcomes: Iterator[SearchOutcome]) -> list[SearchOutcome]:
    return list(islice(outcomes, QUESTION_BATCH))


def _for_asyncio(
    open_searcher: Callable[P, Searcher],
) -> Callable[P, Coroutine[Any, Any, AsyncSearcher]]:
    @wraps(open_searcher)
    async def open_async(*args: P.args, **kwargs: P.kwargs) -> AsyncSearcher:
        opening = asyncio.ensure_future(asyncio.to_thread(open_searcher, *args, **kwargs))
        try:
            return AsyncSearcher(await asyncio.shield(opening))
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unused)
            raise

    return open_async


def _close_unused(opening: "asyncio.Future[Searcher]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


open_collection_async = _for_asyncio(open_collection)
"""Do the same as `open_collection`, with the same arguments, without blocking the loop."""
