"""A collection kept open for questions: what a service imports, and the command too.

from ragctl import open_collection

with open_collection("docs") as docs:
    for hit in docs.search("how long is hourly data kept?", limit=3):
        print(hit.source, hit.text)
"""

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from os import PathLike
from os import environ as os_environ
from pathlib import Path
from typing import Any

from ragctl.catalog import BackendConfig, Catalog, RerankerRow
from ragctl.collection.conditions import Condition, Where
from ragctl.embedding import Embedder
from ragctl.embedding.catalogs import user_catalog
from ragctl.errors import StoreError, UsageError
from ragctl.pipeline import COLLECTION, default_store, read_pipeline
from ragctl.records import Hit
from ragctl.rerank.reranker import Reranker, connect_reranker
from ragctl.search.ask import Expand, FusionKind, Mode, SearchOptions
from ragctl.search.find import BATCH, SearchOutcome, embedder_of, search_many
from ragctl.search.opened import Opened
from ragctl.search.where import parse_where, undeclared
from ragctl.stores import is_server, open_store
from ragctl.stores.base import Collection, Store

Filter = str | Condition | Sequence[str | Condition]
"""Conditions as `--where` has them, or as values of ragctl.stores.base; all must hold."""

_AT_ONCE = 4  # searches of many, side by side on a server


def open_collection(
    name: str | None = None,
    *,
    store: str | PathLike[str] | None = None,
    pipeline: str | PathLike[str] | None = None,
    backend: str | None = None,
    base_url: str | None = None,
    environ: Mapping[str, str] | None = None,
    backends: Sequence[BackendConfig] = (),
) -> "Searcher":
    """Open a collection for questions; the model is the one that made it.

    name       "docs", or the pipeline's own
    store      a folder, or the URL of a Qdrant server; else the pipeline's, $RAGCTL_HOME,
               or the platform's folder for application data
    pipeline   a pipeline file to take store, collection, backends and rows from
    backend, base_url    who runs the model, instead of who made the collection;
               `backends`: several, in order
    environ    variables with keys; else those of this process

    Raises UsageError when there is no such collection, StoreError when the store cannot
    be reached. The embedding backend is connected with the first question that needs it.
    """
    variables = os_environ if environ is None else environ
    told = read_pipeline(Path(pipeline), variables) if pipeline is not None else None
    if told is not None:
        variables = told.environ
    location = str(store) if store is not None else None
    place = open_store(
        location or (told.store if told else default_store(variables)), environ=variables
    )
    chosen = tuple(backends) or (
        (BackendConfig(backend, base_url),)
        if backend or base_url
        else told.embedding.backends
        if told
        else ()
    )
    try:
        return Searcher(
            place,
            name or (told.collection if told else COLLECTION),
            environ=variables,
            backends=chosen,
            catalog=told.catalog if told else None,
            threshold=told.embedding.canary if told else None,
            rerankers=told.rerankers if told else None,
        )
    except BaseException:
        place.close()
        raise


class Searcher:
    """An open collection. Threads may share it; close it, or use it in a `with`.

    Other processes may index into the collection meanwhile: each search finds what is
    there by then. Before each search it is looked whether the collection was dropped
    and made anew, with another model perhaps: then the new one is searched, and while
    there is none, UsageError says so.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        environ: Mapping[str, str],
        backends: Sequence[BackendConfig] = (),
        catalog: Catalog | None = None,
        threshold: float | None = None,
        rerankers: Mapping[str, RerankerRow] | None = None,
    ) -> None:
        """Takes `store` over. Raises as `open_collection`."""
        self.name = name
        self._store = store
        self._environ = environ
        self._choices = backends
        self._catalog = catalog
        self._threshold = threshold
        self._rows = rerankers
        self._change = threading.RLock()
        self._open: Opened | None = None
        self._rerankers: dict[tuple[str, str | None], Reranker] = {}
        self._warned: set[str] = set()
        self._closed = False
        with self._used():
            pass

    @property
    def location(self) -> str:
        """Where the store is: a folder, or a URL."""
        return self._store.location

    def search(
        self,
        text: str,
        *,
        limit: int = 10,
        mode: Mode = "hybrid",
        where: Filter = (),
        offset: int = 0,
        fusion: FusionKind = "rrf",
        k: int | None = None,
        dense_weight: float | None = None,
        sparse_weight: float | None = None,
        exact: bool = False,
        ef: int | None = None,
        diversity: float | None = None,
        min_score: float | None = None,
        group: int | None = None,
        context: int = 0,
        expand: Expand | None = None,
        rerank: str | None = None,
        rerank_url: str | None = None,
        candidates: int | None = None,
        rescore: bool | None = None,
        oversampling: float | None = None,
    ) -> list[Hit]:
        """The best passages for a question, the best first.

        limit, offset   how many hits (with `group`: documents), after how many left out
        mode            "hybrid" (both fused), "dense" (meaning), "sparse" (words)
        where           conditions: "team=ops and year>=2024", as of `--where`
        fusion          "rrf" with `k`, `dense_weight`, `sparse_weight` (None: the model's
                        own); or "dbsf"
        exact, ef       without an approximate index; or candidates kept while walking it
        diversity       0 to 1, variety among the dense hits
        min_score       least score of a hit, in dense or sparse mode
        group           at most so many chunks of a document, documents by their best chunk
        context         neighbouring chunks on either side of a hit; or `expand` to its
                        "section", "page" or "document"
        rerank          NAME or NAME:MODEL of a reranker, at `rerank_url` if given, which
                        judges the best `candidates` (50)
        rescore         of a quantised collection: whether the best are scored again with
                        the whole vectors, `oversampling` (2) times as many as are wanted

        Raises UsageError for a question or an option that cannot be, BackendError where
        the embedding backend or the reranker fails, StoreError where the store does.
        """
        ask = self._ask(
            limit=limit,
            mode=mode,
            where=where,
            offset=offset,
            fusion=fusion,
            k=k,
            dense_weight=dense_weight,
            sparse_weight=sparse_weight,
            exact=exact,
            ef=ef,
            diversity=diversity,
            min_score=min_score,
            group=group,
            context=context,
            expand=expand,
            candidates=candidates,
            rescore=rescore,
            oversampling=oversampling,
        )
        (found,) = self.answers([text], ask, self.reranker(rerank, rerank_url))
        if not isinstance(found, list):
            raise found
        return found

    def search_many(
        self,
        texts: Iterable[str],
        *,
        rerank: str | None = None,
        rerank_url: str | None = None,
        **options: Any,
    ) -> Iterator[SearchOutcome]:
        """For each question in order its hits, or the error that says why it has none.

        `options` are those of `search`. Questions are embedded and searched in batches,
        and taken from `texts` as they are needed: memory does not grow with them. Raises
        what ends them all: BackendError, StoreError; UsageError for an option.
        """
        return self.answers(texts, self._ask(**options), self.reranker(rerank, rerank_url))

    def answers(
        self, texts: Iterable[str], ask: SearchOptions, reranker: Reranker | None = None
    ) -> Iterator[SearchOutcome]:
        """As `search_many`, told by an SearchOptions."""
        waiting = iter(texts)
        while some := list(islice(waiting, BATCH)):
            with self._used() as found:
                self._warn_of_fields(found.collection, ask.where)
                embedder = found.embedder() if ask.mode != "sparse" else None
                outcomes = list(
                    search_many(
                        found.collection,
                        some,
                        embedder=embedder,
                        ask=ask,
                        reranker=reranker,
                        at_once=_AT_ONCE if self._remote else 1,
                    )
                )
            yield from outcomes

    def reranker(self, name: str | None, base_url: str | None = None) -> Reranker | None:
        """The reranker NAME or NAME:MODEL, for `answers`; it is kept open, and closed with this.

        Raises UsageError for a name that nobody knows, BackendError where its key is missing.
        """
        if name is None:
            if base_url is not None:
                raise UsageError("a rerank URL goes with a reranker: name it with rerank")
            return None
        with self._change:
            self._check_open()
            known = self._rerankers.get((name, base_url))
            if known is None:
                known = connect_reranker(
                    name, environ=self._environ, base_url=base_url, rows=self._rows
                )
                self._rerankers[name, base_url] = known
            return known

    def close(self) -> None:
        """Close the store and all connections; searches under way end first where they can."""
        with self._change:
            self._closed = True
            if self._open is not None:
                self._open.retire()
                self._open = None
            for judge in self._rerankers.values():
                judge.close()
            self._rerankers.clear()
            self._store.close()

    def __enter__(self) -> "Searcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Searcher({self.name!r} in {self._store.location!r})"

    @property
    def _remote(self) -> bool:
        return is_server(self._store.location)

    def _ask(self, **options: Any) -> SearchOptions:
        return SearchOptions(**{**options, "where": conditions(options.get("where", ()))})

    @contextmanager
    def _used(self) -> Iterator[Opened]:
        """The collection as it is now, open for the length of the `with`."""
        with self._change:
            self._check_open()
        found = self._store.open(self.name)  # a request, for which no thread waits for another
        with self._change:
            current = self._current(found)
            current.users += 1
        try:
            yield current
        finally:
            current.release()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the collection {self.name!r} was closed")

    def _current(self, found: Collection | None) -> Opened:
        """The open collection, which becomes `found` where that is another by now."""
        if self._closed and found is not None:
            found.close()
        self._check_open()
        if found is None:
            if self._open is not None:
                self._open.retire()
                self._open = None
                raise UsageError(
                    f"the collection {self.name!r} in {self._store.location} was dropped since it "
                    "was opened; it can be searched again when it is made anew"
                )
            raise missing(self._store, self.name)
        if self._open is not None and self._open.is_same(found):
            found.close()
            return self._open
        if self._open is not None:
            self._open.retire()
        self._open = Opened(found, self._connected)
        return self._open

    def _connected(self, collection: Collection) -> Embedder:
        return embedder_of(
            collection,
            backends=self._choices,
            catalog=self._catalog or user_catalog(self._environ),
            environ=self._environ,
            remote=self._remote,
            threshold=self._threshold,
        )

    def _warn_of_fields(self, collection: Collection, where: Where) -> None:
        """Say once of each field that a filter on it reads every point."""
        if not where:
            return
        for name in undeclared(where, collection.settings.fields):
            if name not in self._warned:
                self._warned.add(name)
                warnings.warn(
                    f"{name} is not declared in [fields]: the filter reads every point",
                    stacklevel=4,
                )


def missing(store: Store, name: str) -> UsageError:
    """The error for a collection that there is not; it names those that there are."""
    names = store.names()
    there = f"there are: {', '.join(names)}" if names else "it is empty"
    return UsageError(
        f"no collection {name!r} in {store.location} ({there}); make one with: ragctl ingest FOLDER"
    )


def conditions(where: Filter) -> Where:
    """Conditions from text or values. Raises UsageError for text that cannot be read."""
    given = (where,) if isinstance(where, str | Condition) else tuple(where)
    texts = [part for part in given if isinstance(part, str)]
    return (*parse_where(texts), *(part for part in given if not isinstance(part, str)))
