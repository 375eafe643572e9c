"""Generations of a collection: roll back, remove old ones, write to one that is not current."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass

from ragctl.collection.settings import Settings
from ragctl.errors import Locked, StoreError, UsageError
from ragctl.records import Notify, ignore
from ragctl.stores.base import Collection, Generation, Store
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


def previous_generation(generations: Sequence[Generation]) -> Generation | None:
    """Return the newest generation before the current one; without one, the newest other."""
    current = next((each.number for each in generations if each.current), 0)
    others = [each for each in generations if not each.current and each.settings is not None]
    before = [each for each in others if each.number < current]
    return max(before or others, key=lambda each: each.number, default=None)


def rollback(
    store: Store,
    name: str,
    *,
    to: int | None = None,
    patience: float = 0.0,
    waiting: Notify = ignore,
) -> tuple[int, int]:
    """Make an earlier generation the current one; return the numbers before and after.

    `to`: its number; None: the one before the current. Raises UsageError if there is none, Locked
    if a run writes for longer than `patience` seconds.
    """
    with store.lock(name, patience=patience, waiting=waiting):
        generations = store.generations(name)
        chosen = (
            previous_generation(generations)
            if to is None
            else next((each for each in generations if each.number == to), None)
        )
        current = next((each for each in generations if each.current), None)
        if current is None or chosen is None or chosen.number == current.number:
            listed = ", ".join(str(each.number) for each in generations) or "none"
            raise UsageError(
                f"collection {name!r} has no {'earlier ' if to is None else ''}generation"
                f"{'' if to is None else f' {to}'} to go back to (it has: {listed})"
            )
        # Its own lock: it is neither deleted meanwhile, nor filled by a migration.
        with store.lock(name, generation=chosen.number, patience=patience, waiting=waiting):
            with (
                _opened(store, name, current.number) as old,
                _opened(store, name, chosen.number) as new,
            ):
                carry_notes(old, new)
                settle_notes(old)
            store.switch(name, chosen.number)
        return current.number, chosen.number


def prune_generations(store: Store, name: str, *, keep: int) -> list[int]:
    """Delete all generations but the current one and the newest `keep` others.

    Returns the numbers of those deleted. One that a migration is building is left alone.
    """
    others = [each for each in store.generations(name) if not each.current]
    obsolete = sorted((each.number for each in others), reverse=True)[max(0, keep) :]
    deleted = []
    for number in sorted(obsolete):
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
