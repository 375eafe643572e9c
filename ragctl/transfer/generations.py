"""Generations of a collection: roll back, remove old ones, write to one that is not current."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass

from ragctl.collection.settings import Settings
from ragctl.errors import Locked, StoreError, UsageError
from ragctl.records import Notify, ignore
from ragctl.stores.base import Collection, Generation, Store
from ragctl.transfer.history import rollback_targets
from ragctl.transfer.notes import carry_notes, settle_notes


@dataclass(slots=True)
class GenerationStore:
    """A view of a store in which a collection's name leads to one generation, current or not.

    A run on it writes to that generation. The caller holds the locks.
    """

    store: Store
    name: str
    generation: int

    @property
    def location(self) -> str:
        """See Store.location."""
        return self.store.location

    def open(self, name: str, *, generation: int | None = None) -> Collection | None:
        """See Store.open."""
        return self.store.open(self.name, generation=self.generation)

    def generations(self, name: str) -> list[Generation]:
        """Return []: the run has nothing to do with other generations."""
        return []

    def close(self) -> None:
        """Do nothing: the store belongs to the caller."""

    def create(self, name: str, settings: Settings) -> Collection:
        """Raise StoreError: the generation was made before, and is gone."""
        raise StoreError(f"collection {name!r}: generation {self.generation} was deleted meanwhile")

    def lock(
        self, name: str, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        """Do nothing: the caller holds the lock."""
        return nullcontext()


def rollback(
    store: Store,
    name: str,
    *,
    to: int | None = None,
    patience: float = 0.0,
    waiting: Notify = ignore,
) -> tuple[int, int]:
    """Make an earlier generation the current one; return the numbers before and after.

    `to`: its number; None: the one that was current before. Raises UsageError if there is none,
    Locked if a run writes for longer than `patience` seconds.
    """
    with store.lock(name, patience=patience, waiting=waiting):
        generations = store.generations(name)
        current = next((each.number for each in generations if each.current), None)
        targets = rollback_targets(store, name, generations)
        chosen = next((number for number in targets if to in (None, number)), None)
        if current is None or chosen is None:
            raise UsageError(_no_target(name, generations, targets, to))
        # Its own lock: it is neither deleted meanwhile, nor filled by a migration.
        with store.lock(name, generation=chosen, patience=patience, waiting=waiting):
            with _opened(store, name, current) as old, _opened(store, name, chosen) as new:
                carry_notes(old, new)
                settle_notes(old)
            store.switch(name, chosen)
        return current, chosen


def _no_target(
    name: str, generations: Sequence[Generation], targets: Sequence[int], to: int | None
) -> str:
    """Return why there is no generation to switch back to."""
    asked = next((each for each in generations if each.number == to), None)
    if asked is not None:
        if asked.current:
            return f"generation {to} of collection {name!r} is the current one"
        if asked.error is not None:
            return asked.error
        return (
            f"generation {to} of collection {name!r} was never current: it is of an unfinished "
            "migration; give the same `ragctl migrate` again to finish it"
        )
    listed = ", ".join(map(str, sorted(targets))) or "none"
    which = "no earlier generation" if to is None else f"no generation {to}"
    others = f" (earlier ones: {listed})" if targets else ""
    return f"collection {name!r} has {which} to go back to{others}"


def prune_generations(store: Store, name: str, *, keep: int) -> list[int]:
    """Delete all generations but the current one and the `keep` latest that were current before.

    Returns the numbers of those deleted. One that a migration is filling now is left alone; one
    that an ended migration left unfinished is deleted.
    """
    generations = store.generations(name)
    kept = rollback_targets(store, name, generations)[: max(0, keep)]
    deleted = []
    for number in (e.number for e in generations if not e.current and e.number not in kept):
        try:
            with store.lock(name, generation=number):
                if any(each.current for each in store.generations(name) if each.number == number):
                    continue  # rolled back to it meanwhile
                store.drop_generation(name, number)
        except Locked:
            continue
        deleted.append(number)
    return deleted


def _opened(store: Store, name: str, number: int) -> AbstractContextManager[Collection]:
    found = store.open(name, generation=number)
    if found is None:
        raise StoreError(f"collection {name!r}: generation {number} was deleted meanwhile")
    return closing(found)
