"""The contract of every kind of source; test_source_kinds.py runs it for each.

Under any fault a source either lists all of its files or refuses, and a file either gives its exact
content or an error. Nothing in between: a part of a listing would remove documents.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import pytest

from ragctl.errors import DocumentError, PruneRefused
from ragctl.sources import retry
from ragctl.sources.base import Found, Kind
from ragctl.sources.fetching import Fetching

FILES = {
    "a.md": b"# Alpha\n\nThe first one.\n",
    "b.txt": b"Bravo " * 200,
    "deep/er/c.md": "Größe, 大きさ\n".encode(),
    "deep/my file #1.txt": b"A name with a space.\n",
    "z.html": b"<html><body><p>Zulu</p></body></html>\n",
}
LEFT_OUT = {
    "picture.png": b"\x89PNG",
    "~$a.docx": b"a lock file",
    "node_modules/x/readme.md": b"noise",
    ".hidden/h.md": b"hidden",
    "excluded.md": b"excluded by a rule",
}
EXCLUDE = ("excluded.md",)
READ_LIMIT = 10_000_000


class Place(Protocol):
    """A real server, folder, archive or program that holds files, and the source that reads it."""

    faults: bool
    """Whether requests can be made to fail."""

    def write(self, path: str, content: bytes) -> None:
        """Add or replace a file."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file."""
        ...

    def kind(self) -> Kind:
        """Return the source, new, with EXCLUDE."""
        ...

    def broken(self, chance: random.Random, share: float) -> AbstractContextManager[list[str]]:
        """Make a share of the requests fail; the list has the faults injected so far."""
        ...


def contents(found: Found) -> dict[str, bytes]:
    result = {}
    for file in found.files:
        with file.location.open() as content:
            result[file.source] = content.read(READ_LIMIT)
    return result


def states(found: Found) -> dict[str, tuple[int, int, str]]:
    return {file.source: (file.size, file.mtime_ns, file.stamp) for file in found.files}


@pytest.fixture
def filled(place: Place) -> Iterator[Place]:
    for path, content in {**FILES, **LEFT_OUT}.items():
        place.write(path, content)
    yield place
    for path in {**FILES, **LEFT_OUT, "new.md": b""}:
        place.remove(path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between attempts."""
    monkeypatch.setattr(retry, "FIRST_PAUSE_SECONDS", 0.0)


class SourceContract:
    rounds = 12
    """Times that everything is listed and read with faults."""

    def test_it_lists_what_the_rules_choose_and_opens_it(self, filled: Place) -> None:
        found = filled.kind().list_files()
        assert found.failures == []
        assert contents(found) == FILES
        for file in found.files:
            assert file.size in (0, len(FILES[file.source]))
        assert {each.source for each in found.skipped.files} >= {"picture.png", "excluded.md"}
        assert states(filled.kind().list_files()) == states(found)

    def test_a_changed_file_has_another_state_and_its_new_content(self, filled: Place) -> None:
        before = states(filled.kind().list_files())
        filled.write("a.md", b"# Omega\n\nThe first one.\n")  # of the same size
        filled.write("new.md", b"new\n")
        filled.remove("b.txt")
        found = filled.kind().list_files()
        after = states(found)
        assert after.keys() == before.keys() - {"b.txt"} | {"new.md"}
        changed = {path for path in after.keys() & before.keys() if after[path] != before[path]}
        (new,) = (file for file in found.files if file.source == "a.md")
        # Without a stamp or a time the content of each file is compared.
        assert changed == ({"a.md"} if new.exact or new.mtime_ns else set())
        assert contents(found)["a.md"].startswith(b"# Omega")

    def test_files_are_fetched_ahead_in_order(self, filled: Place) -> None:
        found = filled.kind().list_files()
        with Fetching() as fetching:
            for file, location in fetching.ahead(found.files, lambda file: file.location):
                with location.open() as content:
                    assert content.read(READ_LIMIT) == FILES[file.source]
                fetching.release(location)

    def test_a_fault_never_hides_a_file_or_changes_its_content(
        self, filled: Place, quick: None
    ) -> None:
        check_faults(filled, rounds=self.rounds, enough=lambda injected: len(injected) >= 40)

    @pytest.mark.soak
    def test_a_thousand_faults(self, filled: Place, quick: None) -> None:
        check_faults(filled, rounds=100_000, enough=lambda injected: len(injected) >= 1_000)


def check_faults(place: Place, *, rounds: int, enough: Callable[[list[str]], bool]) -> None:
    """List and read everything again and again, with more and more faults."""
    if not place.faults:
        pytest.skip("nothing to inject: it is on this machine")
    chance = random.Random(1)
    injected: list[str] = []
    refused = complete = failed = 0
    for number in range(rounds):
        if enough(injected):
            break
        with place.broken(chance, (0.1, 0.3, 0.8)[number % 3]) as faults:
            try:
                found = place.kind().list_files()
            except PruneRefused:
                refused += 1
                found = None
            if found is not None:
                complete += 1
                named = {failure.source for failure in found.failures}
                assert {file.source for file in found.files} | named >= FILES.keys()
                for file in found.files:
                    try:
                        with file.location.open() as content:
                            assert content.read(READ_LIMIT) == FILES[file.source]
                    except DocumentError:
                        failed += 1
        injected += faults
    assert injected
    print(f"{len(injected)} faults: {refused} refused, {complete} complete, {failed} files failed")
    assert contents(place.kind().list_files()) == FILES  # and it works again
