"""Temporary collections beside one that is evaluated: the same points, other vectors.

For a folder they stand in the system's folder for temporary files, in the same engine;
for a server on that server, as NAME.eval-…, each under a lease. They are removed at the
end, also after an error. What a killed run left on a server is removed by the next one.
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
from ragctl.collection.payload import Point
from ragctl.collection.settings import Settings
from ragctl.embedding.base import Vectors
from ragctl.errors import Locked
from ragctl.evaluate.cutting import documents_at
from ragctl.evaluate.setting import Setting
from ragctl.stores import is_server, open_store
from ragctl.stores.base import Batch, Collection, Store

_POINTS = 256  # written at a time
_NAME = 80  # characters of the collection's name in that of a temporary one
_MARK = ".eval-"


@contextmanager
def temporary(
    store: Store, collection: Collection, shapes: Sequence[Setting], model: Model
) -> Iterator[Mapping[Setting, Collection]]:
    """A collection for each shape (`Setting.stored`), filled in one pass over the points."""
    with ExitStack() as stack:
        remote = is_server(store.location)
        if remote:
            _remove_left(store, collection.name)
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ragctl-eval-"))
            store = stack.enter_context(closing(open_store(folder, environ={})))
        run = uuid.uuid4().hex[:8]
        made = {}
        for number, shape in enumerate(shapes):
            name = f"{collection.name[:_NAME]}{_MARK}{run}-{number}"
            stack.enter_context(store.lock(name))
            stack.callback(store.drop, name)
            settings = _settings(collection.settings, shape)
            made[shape] = stack.enter_context(closing(store.create(name, settings)))
        _fill(collection, made, model)
        yield made


def _remove_left(store: Store, name: str) -> None:
    ours = re.compile(rf"{re.escape(name[:_NAME] + _MARK)}[0-9a-f]{{8}}-\d+")
    for left in filter(ours.fullmatch, store.names()):
        try:
            with store.lock(left):
                if _is_temporary(store, left):
                    store.drop(left)
        except Locked:  # of an evaluation that is at work
            continue


def _is_temporary(store: Store, name: str) -> bool:
    """Whether it says so itself: a name alone may be a user's."""
    found = store.open(name)
    if found is None:
        return False
    with closing(found):
        return found.settings.notes.get("evaluation") is True


def _settings(settings: Settings, shape: Setting) -> Settings:
    dim = shape.dim or settings.dim
    identity = replace(settings.identity, dimension=dim)
    kept = settings.quantization if shape.quantization is None else shape.quantization
    quantization = None if kept == "none" else kept
    return replace(
        settings, identity=identity, notes={"evaluation": True}, quantization=quantization
    )


def _fill(source: Collection, made: Mapping[Setting, Collection], model: Model) -> None:
    """Read every point once, and write it everywhere."""
    size = source.settings.dim
    points = source.scroll(vectors=True)
    while batch := list(islice(points, _POINTS)):
        dense = [point.dense for point in batch if point.dense is not None]
        payloads = [point.payload for point in batch if point.dense is not None]
        whole = np.stack(dense) if dense else np.empty((0, size), np.float32)
        rows = {size: whole}
        for shape, collection in made.items():
            dim = shape.dim or size
            if dim not in rows:
                rows[dim] = documents_at(whole, payloads, dim, model)
            collection.apply(Batch(upserts=_with(batch, rows[dim])))
    for collection in made.values():
        collection.finish()


def _with(points: Sequence[Point], rows: Vectors) -> list[Point]:
    """The points with other dense vectors, those without one left as they are."""
    vectors = iter(rows)
    return [
        point if point.dense is None else replace(point, dense=next(vectors)) for point in points
    ]
