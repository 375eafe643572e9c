"""The Python interface: open a collection and search it.

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
from shlex import quote

from ragctl.catalog import BackendConfig, Catalog, RerankerRow
from ragctl.collection.conditions import Where
from ragctl.embedding import Embedder
from ragctl.embedding.catalogs import user_catalog
from ragctl.errors import GenerationDropped, OptionError, StoreError, UsageError
from ragctl.hosts.retry import SEARCH_PATIENCE
from ragctl.pipeline import DEFAULT_COLLECTION, default_store, read_pipeline
from ragctl.records import Hit, Notify, ignore
from ragctl.rerank.reranker import Reranker, connect_reranker
from ragctl.search.fields import describe_field, filter_keys
from ragctl.search.find import QUESTION_BATCH, SearchOutcome, search_many
from ragctl.search.foreign_options import ForeignOptions
from ragctl.search.options import SearchOptions, takes_options
from ragctl.search.query import embedder_of, query_backends
from ragctl.search.shared import SharedCollection
from ragctl.stores import is_server, open_store
from ragctl.stores.base import Collection, Store

RAGCTL_LAYOUT = ForeignOptions()
"""A collection of ragctl."""

PARALLEL_SEARCHES = 4  # of a batch, on a server

MAX_GENERATIONS = 3
"""Generations that a batch of questions tries, each deleted while it was searched."""


def open_collection(
    name: str | None = None,
    *,
    store: str | PathLike[str] | None = None,
    pipeline: str | PathLike[str] | None = None,
    backend: str | None = None,
    base_url: str | None = None,
    query_model: str | None = None,
    environ: Mapping[str, str] | None = None,
    backends: Sequence[BackendConfig] = (),
    foreign: ForeignOptions = RAGCTL_LAYOUT,
    notify: Notify = ignore,
) -> "Searcher":
    """Open a collection for searching, with the model that made it.

    Args:
        name: The collection; the pipeline's if not given, "docs" without a pipeline.
        store: A folder, or the URL of a Qdrant server; if not given, the pipeline's,
            $RAGCTL_HOME, or the user's folder for application data.
        pipeline: A pipeline file that provides store, collection, backends and catalogue rows.
        backend: Runs the model instead of the backend that made the collection.
        base_url: The address of that backend.
        query_model: Embeds the questions, instead of the model that made the collection: another
            member of its family, whose models share one vector space.
        environ: Variables with API keys and settings; those of this process if not given.
        backends: Several backends, tried in this order.
        foreign: Where the points of another program have their vectors and texts; with it a
            collection on a Qdrant server is searched that ragctl did not make. Warns, because
            nothing tells whether `foreign.model` made its vectors.
        notify: Gets a line when a backend or reranker does not answer and is tried again.

    Raises:
        UsageError: There is no such collection.
        StoreError: The store cannot be reached.

    The embedding backend is connected by the first question that needs it.
    """
    variables = os_environ if environ is None else environ
    settings = read_pipeline(Path(pipeline), variables) if pipeline is not None else None
    if settings is not None:
        variables = settings.environ
    location = str(store) if store is not None else None
    opened = open_store(
        location or (settings.store if settings else default_store(variables)),
        environ=variables,
        read_only=True,
    )
    chosen = tuple(backends)
    if not chosen and (backend or base_url):
        chosen = (BackendConfig(backend, base_url),)
    if settings is not None:
        query_model = query_model or settings.embedding.query_model
        chosen = chosen or query_backends(settings.embedding, settings.catalog, query_model)
    try:
        return Searcher(
            opened,
            name or (settings.collection if settings else DEFAULT_COLLECTION),
            environ=variables,
            backends=chosen,
            query_model=query_model,
            catalog=settings.catalog if settings else None,
            threshold=settings.embedding.canary if settings else None,
            patience=settings.embedding.patience if settings else None,
            rerankers=settings.rerankers if settings else None,
            foreign=foreign,
            notify=notify,
        )
    except BaseException:
        opened.close()
        raise


class Searcher:
    """An open collection. Threads may share it; close it, or use it in a `with` statement.

    Other processes may index into the collection meanwhile; each search sees what is stored by
    then. Before each search the settings are read again: a collection that was dropped and
    recreated, perhaps with another model, is reopened; while it does not exist, UsageError is
    raised.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        environ: Mapping[str, str],
        backends: Sequence[BackendConfig] = (),
        query_model: str | None = None,
        catalog: Catalog | None = None,
        threshold: float | None = None,
        patience: float | None = None,
        rerankers: Mapping[str, RerankerRow] | None = None,
        foreign: ForeignOptions = RAGCTL_LAYOUT,
        notify: Notify = ignore,
    ) -> None:
        """Take ownership of `store` and open the collection. Raises as `open_collection`."""
        self.name = name
        self._store = store
        self._environ = environ
        self._backends = backends
        self._query_model = query_model
        self._catalog = catalog
        self._threshold = threshold
        self._patience = SEARCH_PATIENCE if patience is None else SEARCH_PATIENCE.of(patience)
        self._reranker_rows = rerankers
        self._foreign = foreign
        self._notify = notify
        self._change = threading.RLock()
        self._shared: SharedCollection | None = None
        self._rerankers: dict[tuple[str, str | None], Reranker] = {}
        self._checked_fields: set[str] = set()
        self._closed = False
        with self._in_use() as shared:
            if foreign.model is not None:
                self._check_foreign(shared.collection, foreign.model)

    @property
    def location(self) -> str:
        """The folder or URL of the store."""
        return self._store.location

    @takes_options
    def search(self, text: str, options: SearchOptions) -> list[Hit]:
        """Return the best hits for a question, best first.

        The keyword arguments are the fields of `SearchOptions`, which are also the flags of
        `ragctl search`: `limit`, `mode`, `where` ("team=ops and year>=2024"), `rerank` and so on.

        Raises UsageError for a question that cannot be embedded or searched and (OptionError) for
        a wrong option; BackendError if the embedding backend or the reranker fails; StoreError
        if the store does.
        """
        (outcome,) = self.answers([text], options)
        if not isinstance(outcome, list):
            raise outcome
        return outcome

    @takes_options
    def search_many(self, texts: Iterable[str], options: SearchOptions) -> Iterator[SearchOutcome]:
        """Yield, for each question in order, its hits or the error that explains why it has none.

        The keyword arguments are those of `search`. Questions are taken from `texts` as they are
        needed, and embedded and searched in batches: memory does not grow with their number.

        Raises OptionError for a wrong option, and the errors that end all searches:
        BackendError, StoreError.
        """
        return self.answers(texts, options)

    def answers(
        self, texts: Iterable[str], options: SearchOptions, reranker: Reranker | None = None
    ) -> Iterator[SearchOutcome]:
        """Do the same as `search_many`, with the options in one value.

        `reranker` is used instead of the one that `options.rerank` names.
        """
        options = self._foreign.adapt(options)
        if reranker is None and options.rerank is not None:
            reranker = self.reranker(options.rerank, options.rerank_url)
        return self._answers(iter(texts), options, reranker)

    def _answers(
        self, texts: Iterator[str], options: SearchOptions, reranker: Reranker | None
    ) -> Iterator[SearchOutcome]:
        while batch := list(islice(texts, QUESTION_BATCH)):
            yield from self._batch(batch, options, reranker)

    def _batch(
        self, texts: Sequence[str], options: SearchOptions, reranker: Reranker | None
    ) -> list[SearchOutcome]:
        """Answer questions in one generation: the next one if it is deleted meanwhile."""
        for tries_left in reversed(range(MAX_GENERATIONS)):
            try:
                with self._in_use() as shared:
                    outcomes: list[SearchOutcome] = []
                    try:
                        outcomes += search_many(
                            shared.collection,
                            texts,
                            embedder=shared.embedder() if options.mode != "sparse" else None,
                            options=options,
                            reranker=reranker,
                            parallel=PARALLEL_SEARCHES if self._is_remote else 1,
                        )
                    finally:  # a server in strict mode refuses a filter on such a field
                        has_hits = any(isinstance(each, list) and each for each in outcomes)
                        self._warn_of_fields(shared.collection, options.conditions, has_hits)
                    return outcomes
            except GenerationDropped:
                if not tries_left:
                    raise
        raise AssertionError("unreachable")

    def reranker(self, name: str, base_url: str | None = None) -> Reranker:
        """Return the reranker NAME or NAME:MODEL, connected once and closed with this searcher.

        Raises UsageError for an unknown name, BackendError if its API key is missing.
        """
        with self._change:
            self._check_open()
            known = self._rerankers.get((name, base_url))
            if known is None:
                known = connect_reranker(
                    name,
                    environ=self._environ,
                    base_url=base_url,
                    rows=self._reranker_rows,
                    notify=self._notify,
                )
                self._rerankers[name, base_url] = known
            return known

    def close(self) -> None:
        """Close the store and all connections; searches in progress finish first if they can."""
        with self._change:
            self._closed = True
            if self._shared is not None:
                self._shared.retire()
                self._shared = None
            for reranker in self._rerankers.values():
                reranker.close()
            self._rerankers.clear()
            self._store.close()

    def __enter__(self) -> "Searcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Searcher({self.name!r} in {self._store.location!r})"

    @property
    def _is_remote(self) -> bool:
        return is_server(self._store.location)

    @contextmanager
    def _in_use(self) -> Iterator[SharedCollection]:
        """Keep the collection open, in its present state, while the `with` block runs."""
        with self._change:
            self._check_open()
        found = self._open()  # a request; outside the lock, so threads do not wait
        with self._change:
            current = self._update(found)
            current.users += 1
        try:
            yield current
        finally:
            current.release()

    def _open(self) -> Collection | None:
        layout = self._foreign.layout()
        if layout is None:
            return self._store.open(self.name)
        if not self._is_remote:
            raise OptionError("model", "a folder holds only collections of ragctl")
        from ragctl.stores.server import ServerStore

        assert isinstance(self._store, ServerStore)
        return self._store.foreign(self.name, layout)

    def _check_foreign(self, collection: Collection, model: str) -> None:
        """Check the dimension, and warn of what cannot be checked. Raises UsageError."""
        dim = collection.settings.dim
        row = (self._catalog or user_catalog(self._environ)).model(model)
        try:
            row.size(dim)
        except UsageError as error:
            raise UsageError(
                f"collection {self.name!r} has vectors of {dim} dimensions: {error}"
            ) from None
        also = "" if self._foreign.sparse_vector else "; it is searched by its dense vectors only"
        warnings.warn(
            f"{self.name} was not made by ragctl, which cannot verify that {model} made its "
            f"vectors{also}",
            stacklevel=4,
        )

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the collection {self.name!r} was closed")

    def _update(self, found: Collection | None) -> SharedCollection:
        """Return the open collection, replaced by `found` if that is another one."""
        if self._closed and found is not None:
            found.close()
        self._check_open()
        if found is None:
            if self._shared is not None:
                self._shared.retire()
                self._shared = None
                raise UsageError(
                    f"the collection {self.name!r} in {self._store.location} was dropped after it "
                    "was opened; search again once it has been recreated"
                )
            raise no_collection(self._store, self.name)
        if self._shared is not None and self._shared.is_same(found):
            found.close()
            return self._shared
        if self._shared is not None:
            self._shared.retire()
        self._shared = SharedCollection(found, self._connect)
        return self._shared

    def _connect(self, collection: Collection) -> Embedder:
        return embedder_of(
            collection,
            backends=self._backends,
            catalog=self._catalog or user_catalog(self._environ),
            query_model=self._query_model,
            environ=self._environ,
            remote=self._is_remote,
            threshold=self._threshold,
            patience=self._patience,
            notify=self._notify,
        )

    def _warn_of_fields(self, collection: Collection, where: Where, has_hits: bool) -> None:
        """Warn, once for each field, of a filter on it that finds nothing or reads every point."""
        for key in sorted(filter_keys(where) - self._checked_fields):
            self._checked_fields.add(key)
            if warning := describe_field(collection, key, has_hits=has_hits):
                warnings.warn(warning, stacklevel=4)


def no_collection(store: Store, name: str) -> UsageError:
    """Return the error for a missing collection, which lists the existing ones."""
    names = store.names()
    known = f"it has: {', '.join(names)}" if names else "it is empty"
    option = "" if name == DEFAULT_COLLECTION else f" -c {quote(name)}"
    return UsageError(
        f"no collection {name!r} in {store.location} ({known}); "
        f"create it with: ragctl ingest FOLDER{option}"
    )
