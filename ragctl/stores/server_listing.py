"""What a server has of ragctl's collections: their names, their generations, and leftovers."""

from dataclasses import replace

from ragctl.collection.names import is_name
from ragctl.collection.settings import Settings, read_settings
from ragctl.errors import StoreError, UnreadableCollection
from ragctl.stores.base import Generation
from ragctl.stores.foreign import foreign_message
from ragctl.stores.server_connection import ServerConnection, collection_label
from ragctl.stores.server_directory import (
    MANAGE,
    Found,
    Listing,
    ServerDirectory,
    declared_fields,
    generation_place,
    split_place,
)

SURVEY_PATIENCE_SECONDS = 5.0
"""Longest wait for one collection when all are listed: a broken one must not hold up the list."""


class ServerListing:
    """Answers questions about all collections of a server, or all generations of one."""

    def __init__(self, connection: ServerConnection, directory: ServerDirectory) -> None:
        self._url = connection.url
        self._directory = directory
        self._survey = ServerDirectory(connection, patience=SURVEY_PATIENCE_SECONDS)

    def names(self) -> list[str]:
        """Return the names of ragctl's collections. Sends two requests, and one for each name."""
        listing = self._survey.listing()
        split = filter(None, map(split_place, listing.places))
        names = listing.places | {owner for owner, _ in split}
        return sorted(name for name in filter(is_name, names) if self._is_own(name, listing))

    def _is_own(self, name: str, listing: Listing) -> bool:
        """Return whether this is a collection of ragctl's; of one that cannot be read, by name."""
        place = listing.current(name)
        try:
            if place is None:
                return bool(self._unreached(name, listing, self._survey))
            found = self._survey.at(name, place)
        except StoreError:
            return place != name
        return found is not None and found.stored is not None

    def unreached(self, name: str) -> list[int]:
        """Return the numbers of the generations of a name that leads to nothing.

        Its alias was removed, or it is not in a snapshot that was restored. What an interrupted
        creation has left does not count.
        """
        listing = self._directory.listing()
        current = listing.current(name)
        return self._unreached(name, listing, self._directory) if current is None else []

    def _unreached(self, name: str, listing: Listing, directory: ServerDirectory) -> list[int]:
        own = []
        for number in listing.numbers(name):
            found = directory.at(name, generation_place(name, number))
            if found is not None and found.stored is not None:
                own.append((number, found))
        if [number for number, _ in own] == [1] and directory.is_empty(own[0][1]):
            return []
        return [number for number, _ in own]

    def generations(self, name: str) -> list[Generation]:
        """See Store.generations."""
        listing = self._directory.listing()
        current = listing.current(name)
        numbers = listing.numbers(name)
        if current is None and numbers and not (numbers := self.unreached(name)):
            return []
        found = [self._generation(name, number, current) for number in numbers]
        if any(each.current for each in found):
            return found
        # A collection without an alias, one at a place of another name, or a key that sees no more.
        leads_to = self._directory.find(name) if current is not None or not numbers else None
        if leads_to is None or leads_to.stored is None:
            return found
        return [*found, self._described(leads_to, int(leads_to.stored["generation"]), current=True)]

    def _generation(self, name: str, number: int, current: str | None) -> Generation:
        place = generation_place(name, number)
        try:
            found = self._directory.at(name, place)
        except StoreError as error:
            return Generation(number, place == current, None, str(error))
        if found is None or found.stored is None:
            reason = f"{collection_label(name)} at {self._url}: its settings are missing"
            return Generation(number, place == current, None, reason)
        return self._described(found, number, current=place == current)

    def _described(self, found: Found, number: int, *, current: bool) -> Generation:
        try:
            return Generation(number, current, self.settings(found))
        except UnreadableCollection as error:
            return Generation(number, current, None, str(error))

    def settings(self, found: Found) -> Settings:
        """Return the settings of a collection. Raises UnreadableCollection."""
        settings = read_settings(found.stored, found.name, self._url)
        return replace(settings, fields=declared_fields(found.info))

    def next_number(self, name: str) -> int:
        """Return the number of the next generation. Raises StoreError if there can be none."""
        listing = self._directory.listing()
        numbers = listing.numbers(name)
        self.require_generations(name, listing)
        current = listing.current(name)
        if current is not None and split_place(current) is None:
            found = self._directory.find(name)
            numbers.append(int(((found and found.stored) or {}).get("generation", 1)))
        return max(numbers) + 1

    def require_generations(self, name: str, listing: Listing) -> None:
        """Raise StoreError unless the name is an alias that may lead to several generations."""
        current, label = listing.current(name), f"{collection_label(name)} at {self._url}"
        if current == name:
            raise StoreError(
                f"{label} has no generations, because aliases were not permitted when it was made; "
                f"with a key that has {MANAGE}, copy it to a new name: ragctl copy --help"
            )
        if current is not None and split_place(current) is None:
            found = self._directory.find(name)
            if found is not None:
                self.require_owner(found)
        owner = split_place(current) if current is not None else None
        if owner is not None and owner[0] != name:
            raise self._is_alias(name, owner[0])
        if current is None and not listing.numbers(name):
            if self._directory.find(name) is None:
                raise StoreError(f"no {label}")
            raise StoreError(f"{label}: the key cannot list its generations; it needs {MANAGE}")

    def salvageable(self, name: str, generation: int | None) -> str | None:
        """Return the name to read a damaged collection by; None if there is nothing of that name.

        Raises StoreError if ragctl did not make it.
        """
        listing = self._directory.listing()
        current, numbers = listing.current(name), listing.numbers(name)
        if generation is not None and generation in numbers:
            return generation_place(name, generation)
        if generation not in (None, 1):
            return None
        if current is None and numbers and generation is None:
            return generation_place(name, max(numbers))
        try:
            found = self._survey.find(name)
        except StoreError:
            return current
        if found is None or (current is None and generation is not None and numbers):
            return None
        if found.stored is None and split_place(found.address) is None:
            raise self.foreign(name)
        return found.address

    def droppable(self, name: str) -> list[str]:
        """Return the places of all generations of a collection, the current one last.

        Raises StoreError if ragctl did not make it, or if the name is a user's own alias.
        """
        listing = self._directory.listing()
        current = listing.current(name)
        others = [generation_place(name, number) for number in listing.numbers(name)]
        if current is None and others:
            return [place for place in others if self._is_own_place(name, place)]
        found = self._found_to_drop(name, current)
        if found is None and current is None:
            return []
        current = current or (found.address if found else name)
        return [*(place for place in others if place != current), current]

    def _found_to_drop(self, name: str, current: str | None) -> Found | None:
        """Return what a name leads to; None if nothing, or if it cannot be read."""
        split = split_place(current) if current is not None else None
        try:
            found = self._directory.find(name)
        except StoreError:
            if split is None or split[0] != name:
                raise
            return None  # broken, but its name and its alias are those of ragctl
        if found is None:
            return None
        if current != name:
            self.require_owner(found)
        if found.stored is None and not self._directory.is_unfinished(found):
            raise self.foreign(name)
        return found

    def _is_own_place(self, name: str, place: str) -> bool:
        found = self._directory.at(name, place)
        return found is not None and (
            found.stored is not None or self._directory.is_unfinished(found)
        )

    def require_owner(self, found: Found) -> None:
        """Raise StoreError if the name is an alias that a user gave to a collection."""
        if found.owner != found.name:
            raise self._is_alias(found.name, found.owner)

    def _is_alias(self, name: str, owner: str) -> StoreError:
        return StoreError(
            f"{name!r} at {self._url} is an alias of {collection_label(owner)}, which ragctl did "
            f"not make; use the collection's own name, as in: ragctl delete --all -c {owner}"
        )

    def foreign(self, name: str) -> StoreError:
        """Return the error about a collection of another program."""
        return StoreError(foreign_message(name, self._url))
