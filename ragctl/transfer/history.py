"""Which generations a collection can be rolled back to.

Only one that was current before is complete: a migration may have been killed while it filled
another, or the questions of `--only-if-better` were against it. So each generation notes, before
the name is switched to it for the first time, which one it replaces.
"""

from collections.abc import Sequence
from contextlib import closing

from ragctl.collection.notes import Notes
from ragctl.errors import StoreError
from ragctl.stores.base import Generation, Store


def rollback_targets(store: Store, name: str, generations: Sequence[Generation]) -> list[int]:
    """Return the numbers of the generations that were current before, the latest first.

    That is the one that the current generation replaced, the one before it and so on; then the
    others, as after a rollback, the newest first.
    """
    current = next((each.number for each in generations if each.current), None)
    replaced: dict[int, int] = {}  # number of the generation that each one replaced; 0: unknown
    for each in generations:
        if each.settings is not None:
            notes = _notes(store, name, each.number)
            if each.number == 1 or notes is None or "replaces" in notes:
                replaced[each.number] = (notes or {}).get("replaces", 0)
    before: list[int] = []
    number = replaced.pop(current, 0) if current is not None else 0
    while number in replaced:
        before.append(number)
        number = replaced.pop(number)
    return before + sorted(replaced, reverse=True)


def _notes(store: Store, name: str, number: int) -> Notes | None:
    """Return the notes of a generation; None if they cannot be read."""
    try:
        found = store.open(name, generation=number)
        if found is None:
            return {}
        with closing(found):
            return found.notes()
    except StoreError:
        return None
