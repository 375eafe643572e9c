"""Temporary copies of a collection, with the same points and other vectors.

For an embedded store they are in the system's folder for temporary files, in the same engine; for
a server, on that server as NAME.eval-…, each under a lease. They are removed at the end, also after
an error. The next evaluation removes those that a killed one left on a server.
"""

import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import islice

import numpy as np

from ragctl.catalog import Model
from ragctl.collection.ownership import is_sound
from ragctl.collection.payload import Point
from ragctl.collection.settings import Settings
from ragctl.embedding.base import Vectors
from ragctl.errors import Locked
from ragctl.evaluate.truncation import documents_at
from ragctl.evaluate.variant import WHOLE_VECTORS, Variant
from ragctl.progress import Progress
from ragctl.stores import is_server, open_store
from ragctl.stores.base import Batch, Collection, Store

POINTS_PER_WRITE = 256
MAX_PREFIX_CHARS = 80  # of the collection's name, in the name of a temporary one
INFIX = ".eval-"


@contextmanager
def temporary_collections(
    store: Store,
    collection: Collection,
    forms: Sequence[Variant],
    model: Model,
    progress: Progress,
) -> Iterator[Mapping[Variant, Collection]]:
    """Provide a collection for each `Variant.stored_form`, filled in one pass over the points."""
    with ExitStack() as stack:
        remote = is_server(store.location)
        if remote:
            _remove_leftovers(store, collection.name)
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ragctl-eval-"))
            store = stack.enter_context(closing(open_store(folder, environ={})))
        run = uuid.uuid4().hex[:8]
        copies = {}
        for number, form in enumerate(forms):
            name = f"{collection.name[:MAX_PREFIX_CHARS]}{INFIX}{run}-{number}"
            stack.enter_context(store.lock(name))
            stack.callback(store.drop, name)
            settings = _settings(collection.settings, form)
            copies[form] = stack.enter_context(closing(store.create(name, settings)))
        _fill(collection, copies, model, progress)
        yield copies


def _remove_leftovers(store: Store, name: str) -> None:
    """Remove the temporary collections that killed evaluations of this collection left."""
    ours = re.compile(rf"{re.escape(name[:MAX_PREFIX_CHARS] + INFIX)}[0-9a-f]{{8}}-\d+")
    for left in filter(ours.fullmatch, store.names()):
        try:
            with store.lock(left):
                if _is_temporary(store, left):
                    store.drop(left)
        except Locked:  # it belongs to a running evaluation
            continue


def _is_temporary(store: Store, name: str) -> bool:
    """Return whether its settings say so; the name alone may be that of a user's collection."""
    collection = store.open(name)
    if collection is None:
        return False
    with closing(collection):
        return collection.settings.temporary


def _settings(settings: Settings, form: Variant) -> Settings:
    dim = form.dim or settings.dim
    identity = replace(settings.identity, dimension=dim)
    kept = settings.quantization if form.quantization is None else form.quantization
    quantization = None if kept == WHOLE_VECTORS else kept
    return replace(
        settings, identity=identity, quantization=quantization, namespace="", temporary=True
    )


def _fill(
    source: Collection, copies: Mapping[Variant, Collection], model: Model, progress: Progress
) -> None:
    """Read every point of ragctl once, and write it to every copy."""
    size = source.settings.dim
    points = (point for point in source.scroll(vectors=True) if is_sound(point.payload))
    while batch := list(islice(points, POINTS_PER_WRITE)):
        dense = [point.dense for point in batch if point.dense is not None]
        payloads = [point.payload for point in batch if point.dense is not None]
        whole = np.stack(dense) if dense else np.empty((0, size), np.float32)
        rows = {size: whole}
        for form, collection in copies.items():
            dim = form.dim or size
            if dim not in rows:
                rows[dim] = documents_at(whole, payloads, dim, model)
            collection.apply(Batch(upserts=_with_vectors(batch, rows[dim])))
        progress.advance(len(batch))
    for collection in copies.values():
        collection.finish()


def _with_vectors(points: Sequence[Point], rows: Vectors) -> list[Point]:
    """Return the points with other dense vectors; those without one are unchanged."""
    vectors = iter(rows)
    return [
        point if point.dense is None else replace(point, dense=next(vectors)) for point in points
    ]
