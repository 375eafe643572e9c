"""Kept generations: earlier states of a collection, to which it can be rolled back.

A document that is deleted from the collection is deleted from them too, and first: a run that is
killed in between finds the document in the collection, and repeats the deletion.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress

from ragctl.errors import GenerationDropped, StoreError
from ragctl.index.writer import Writer
from ragctl.stores.base import Collection, RunStore


def kept_generations(store: RunStore, name: str) -> Iterator[Collection]:
    """Yield the generations of a collection that are not current, open; the caller closes each.

    Raises StoreError for one that cannot be read.
    """
    for each in store.generations(name):
        if each.current:
            continue
        found = None if each.settings is None else store.open(name, generation=each.number)
        if found is None:
            if all(left.number != each.number for left in store.generations(name)):
                continue  # deleted meanwhile
            raise StoreError(
                f"collection {name!r}: generation {each.number} cannot be read, so documents "
                "cannot be deleted from it; remove it with: ragctl prune-generations "
                f"{name} --keep 0"
            )
        yield found


def delete_from_kept(store: RunStore, name: str, sources: Sequence[str]) -> int:
    """Delete documents from the generations that are not current; return the points deleted."""
    deleted = 0
    for collection in kept_generations(store, name):
        with closing(collection), suppress(GenerationDropped):  # deleted meanwhile
            writer = Writer(collection)
            writer.delete_documents(sources)
            writer.flush()
            collection.finish()
            deleted += writer.written.deleted
    return deleted
