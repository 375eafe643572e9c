"""make_plan() is pure: every case is a few values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragctl.collection.state import State, StoredDocument, by_file
from ragctl.errors import PruneRefused
from ragctl.index.plan import (
    ALWAYS_REMOVABLE_DOCUMENTS,
    check_prune,
    check_removal,
    make_plan,
    renamed_sources,
)
from ragctl.index.prepared import FileStat

NAME = "docs"


def stat(
    path: str, *, size: int = 1, mtime: int = 1, stamp: str = "", doubtful: bool = False
) -> FileStat:
    return FileStat(f"{NAME}/{path}", NAME, size, mtime, stamp=stamp, doubtful=doubtful)


def stored(
    path: str,
    *,
    digest: str = "d",
    recipe: str = "r",
    size: int = 1,
    mtime: int = 1,
    name: str = NAME,
    parts: int = 1,
    complete: bool = True,
    stamp: str = "",
) -> StoredDocument:
    source = f"{name}/{path}"
    file = source.split("#")[0]
    return StoredDocument(
        source, file, name, digest, recipe, parts, size, mtime, 3, complete, stamp
    )


def state(*documents: StoredDocument) -> State:
    return State({d.source: d for d in documents}, by_file(documents))


def plan(found: list[FileStat], known: State, **options: object):  # type: ignore[no-untyped-def]
    options.setdefault("scopes", {NAME: (f"{NAME}/",)})
    return make_plan(found, known, lambda file: "r", **options)  # type: ignore[arg-type]


def test_unchanged_files_are_not_read() -> None:
    made = plan([stat("a.md")], state(stored("a.md")))
    assert made.is_empty
    assert made.unchanged == 1


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (stored("a.md", size=2), "changed"),
        (stored("a.md", mtime=2), "changed"),
        (stored("a.md", name="other"), "new"),
        (stored("a.md", recipe="old"), "recipe"),
        (stored("a.md", complete=False), "incomplete"),
        (stored("a.md", parts=2), "incomplete"),
        (stored("b.md"), "new"),
    ],
)
def test_the_plan_gives_the_reason_for_reading_a_file(known: StoredDocument, why: str) -> None:
    made = plan([stat("a.md"), stat("b.md")], state(known))
    assert {work.stat.file: work.why for work in made.work_items}["docs/a.md"] == why


@pytest.mark.parametrize(
    ("found", "known", "why"),
    [
        (stat("a.md", stamp="2"), stored("a.md", stamp="1"), "doubtful"),
        (stat("a.md", doubtful=True), stored("a.md"), "doubtful"),
        (stat("a.md", mtime=2, doubtful=True), stored("a.md"), "changed"),
        (stat("a.md", stamp="1"), stored("a.md", stamp="1"), None),
        (stat("a.md", stamp="1"), stored("a.md"), None),
        (stat("a.md"), stored("a.md", stamp="1"), None),
    ],
)
def test_a_file_in_doubt_is_read(found: FileStat, known: StoredDocument, why: str | None) -> None:
    whys = [work.why for work in plan([found], state(known)).work_items]
    assert whys == ([] if why is None else [why])


def test_only_complete_documents_of_the_same_recipe_are_compared_by_content() -> None:
    known = state(
        stored("a.jsonl#1", mtime=2, parts=3),
        stored("a.jsonl#2", mtime=2, parts=3, complete=False),
        stored("a.jsonl#3", mtime=2, parts=3, recipe="old", digest="x"),
    )
    (work,) = plan([stat("a.jsonl")], known).work_items
    assert work.known == {"docs/a.jsonl#1": "d"}


def test_a_file_is_unchanged_only_if_all_its_records_are_stored() -> None:
    records = [stored(f"a.jsonl#{n}", parts=3) for n in range(3)]
    assert plan([stat("a.jsonl")], state(*records)).unchanged == 3
    assert plan([stat("a.jsonl")], state(*records[:2])).work_items[0].why == "incomplete"


def test_only_documents_of_listed_sources_are_removed() -> None:
    known = state(stored("a.md"), stored("b.md", name="other"), stored("c.md"))
    made = plan([stat("a.md")], known)
    assert [d.source for d in made.removed] == ["docs/c.md"]
    assert made.elsewhere == 1
    assert plan([stat("a.md")], known, scopes={}).removed == ()
    assert plan([stat("a.md")], known, keep={"docs/c.md"}.__contains__).removed == ()


def test_only_documents_of_listed_folders_are_removed() -> None:
    known = state(stored("a.md"), stored("en/b.md"), stored("en-old/c.md"))
    made = plan([], known, scopes={NAME: ("docs/en/",)})
    assert [d.source for d in made.removed] == ["docs/en/b.md"]
    assert made.elsewhere == 2


def test_documents_of_a_replaced_source_are_removed_once_they_have_new_names() -> None:
    known = state(stored("a.md", name="old"), stored("b.md", name="old"))
    replaced = {"old": "docs/en/"}
    made = plan([stat("en/a.md")], known, replaced=replaced)
    assert {d.source for d in made.removed} == {"old/a.md", "old/b.md"}
    assert made.renamed_files == {"old/a.md": "docs/en/a.md"}
    assert [made.keeps(d, {"docs/en/a.md"}) for d in made.removed] == [
        d.source == "old/a.md" for d in made.removed
    ]
    elsewhere = plan([stat("en/a.md")], known, replaced=replaced, scopes={"x": ("x/",)})
    assert [d.source for d in elsewhere.removed] == ["old/a.md"]  # of old, no folder was listed
    without_pruning = plan([stat("en/a.md")], known, replaced=replaced, scopes={})
    assert [d.source for d in without_pruning.removed] == ["old/a.md"]


def many(count: int, *, size: int = 1) -> list[StoredDocument]:
    return [stored(f"{n}.md", size=size, mtime=n) for n in range(count)]


def test_a_large_prune_is_refused_with_the_flag_that_allows_it() -> None:
    known = state(*many(100))
    found = [stat(f"{n}.md", mtime=n) for n in range(69)]
    with pytest.raises(
        PruneRefused, match=r"31 of 100 documents of docs \(31%\).*--prune-limit 100"
    ):
        check_prune(plan(found, known), known, 0.3)
    check_prune(plan(found, known), known, 0.31)
    found.append(stat("69.md", mtime=69))
    check_prune(plan(found, known), known, 0.3)


def test_a_few_documents_may_always_be_removed() -> None:
    known = state(*many(ALWAYS_REMOVABLE_DOCUMENTS))
    check_prune(plan([], known), known, 0.0)
    known = state(*many(ALWAYS_REMOVABLE_DOCUMENTS + 1))
    with pytest.raises(PruneRefused):
        check_prune(plan([], known), known, 0.3)


def test_a_renamed_folder_does_not_count_as_a_prune() -> None:
    known = state(*many(50))
    moved = [stat(f"new/{n}.md", mtime=n) for n in range(50)]
    made = plan(moved, known)
    assert len(made.removed) == 50
    check_prune(made, known, 0.3)
    others = plan([stat(f"new/{n}.md", mtime=1000 + n) for n in range(50)], known)
    with pytest.raises(PruneRefused):  # as many are added, but with other file times
        check_prune(others, known, 0.3)


def test_the_prune_limit_counts_records_as_documents() -> None:
    known = state(*[stored(f"a.jsonl#{n}", parts=40) for n in range(40)], *many(40))
    made = plan([stat(f"{n}.md", mtime=n) for n in range(40)], known)
    with pytest.raises(PruneRefused, match="40 of 80 documents of docs"):
        check_prune(made, known, 0.3)


def test_renames_match_contents_one_to_one() -> None:
    removed = [stored("a", digest="x"), stored("b", digest="x"), stored("c", digest="y")]
    assert renamed_sources(removed, {}) == set()
    assert renamed_sources(removed, {"x": 1}) == {"docs/a"}
    assert renamed_sources(removed, {"x": 5, "y": 1, "z": 1}) == {"docs/a", "docs/b", "docs/c"}


NAMES = st.sampled_from([f"{letter}.md" for letter in "abcdefgh"])
STATS = st.dictionaries(NAMES, st.tuples(st.integers(0, 2), st.integers(0, 2)))


@given(STATS, STATS, st.sets(NAMES))
def test_every_document_is_read_removed_or_unchanged(
    disk: dict[str, tuple[int, int]], store: dict[str, tuple[int, int]], broken: set[str]
) -> None:
    found = [stat(name, size=size, mtime=mtime) for name, (size, mtime) in disk.items()]
    known = state(
        *(
            stored(name, size=size, mtime=mtime, complete=name not in broken)
            for name, (size, mtime) in store.items()
        )
    )
    made = plan(found, known)
    read = {work.stat.file for work in made.work_items}
    removed = {document.source for document in made.removed}
    assert removed == {f"docs/{name}" for name in store.keys() - disk.keys()}
    unchanged = {n for n in disk if store.get(n) == disk[n] and n not in broken}
    assert read == {f"docs/{name}" for name in disk.keys() - unchanged}
    assert made.unchanged == len(unchanged)


@given(st.integers(0, 500), st.integers(1, 500), st.floats(0, 1))
def test_a_removal_is_refused_only_beyond_both_share_and_number(
    removed_count: int, total: int, share: float
) -> None:
    known = state(*many(total), stored("a.md", name="other"))
    refused = False
    try:
        check_removal({NAME: removed_count}, known, share)
    except PruneRefused:
        refused = True
    assert refused == (removed_count > 10 and removed_count / total > share)
