import random
from bisect import bisect_right
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragctl.chunking import count, recipe, split
from ragctl.errors import UsageError
from ragctl.records import Chunk, Document, Heading, Kind, Page
from tests.chunking_texts import KINDS, LATIN, REAL, markdown, record_encoded_lengths

pytestmark = pytest.mark.slow


def check(document: Document, size: int, overlap: int = 0) -> list[Chunk]:
    """Split a document, check the invariants of its chunks, and return them."""
    chunks = split(document, size=size, overlap=overlap)
    text, covered = document.text, 0
    for ordinal, chunk in enumerate(chunks):
        assert chunk.ordinal == ordinal
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.text == chunk.text.rstrip()
        assert not chunk.text[0].isspace() or (
            document.kind != "text" and not chunk.text.split("\n", 1)[0].isspace()
        )
        assert chunk.tokens == count(chunk.text) <= size
        assert not text[covered : chunk.start].strip(), "text lost"
        assert chunk.start >= covered or overlap
        if covered and overlap:
            repeated = text[chunk.start : covered]
            assert not repeated or count(repeated) <= overlap
        assert chunk.end > covered
        covered = chunk.end
        assert chunk.heading == path_at(document, chunk.start)
        assert chunk.page == page_at(document, chunk.start)
    assert not text[covered:].strip(), "text lost at the end"
    return chunks


def path_at(document: Document, position: int) -> tuple[str, ...]:
    path: list[Heading] = []
    for heading in document.headings:
        if heading.start <= position:
            path = [h for h in path if h.level < heading.level] + [heading]
    return tuple(heading.title for heading in path)


def page_at(document: Document, position: int) -> int | None:
    starts = [page.start for page in document.pages]
    return document.pages[max(0, bisect_right(starts, position) - 1)].number if starts else None


fragments = st.one_of(
    st.sampled_from(
        [
            *(
                "\n",
                "\n\n",
                " ",
                ". ",
                "。",
                "```\n",
                "```py\n",
                "| a | b |\n",
                "- item\n",
                "1. x\n",
            ),
            *(
                "\t",
                "    ",
                "\u3000",
                "=====\n",
                "a" * 60,
                "中" * 40,
                "👨‍👩‍👧",
                "e\u0301\u0301",
                "<|endoftext|>",
            ),
            *("Word", "word ", "слово ", "Предложение. ", "“Quoted.” ", "x = f(y)\n", ", ", "; "),
            *("\u2028", "\x0b", "\x1c", "\x00", "\r", "/", "'s"),
        ]
    ),
    st.text(max_size=12),
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    parts = draw(st.lists(fragments, max_size=60))
    text = "".join(parts * draw(st.sampled_from([1, 1, 5])))
    kind: Kind = draw(st.sampled_from(["markdown", "text", "code"]))
    places = st.lists(st.integers(0, max(0, len(text) - 1)), max_size=6, unique=True).map(sorted)
    headings = [
        Heading(at, draw(st.integers(1, 6)), f"h{at}") for at in (draw(places) if text else [])
    ]
    starts = draw(places) if text else []
    ends = [*starts[1:], len(text)][: len(starts)]
    pages = [Page(n, *span) for n, span in enumerate(zip(starts, ends, strict=True), 1)]
    return Document("any", text, kind, headings=tuple(headings), pages=tuple(pages))


@given(documents(), st.integers(16, 80), st.sampled_from([0, 0, 1, 5, 30]))
@settings(max_examples=300)
def test_chunks_of_any_document_keep_the_invariants(
    document: Document, size: int, overlap: int
) -> None:
    check(document, size, min(overlap, size // 2 - 1))


@pytest.mark.parametrize("overlap", [0, 12])
@pytest.mark.parametrize("size", [16, 40, 120, 512])
@pytest.mark.parametrize("language", REAL)
def test_chunks_of_real_text_keep_the_invariants(language: str, size: int, overlap: int) -> None:
    chunks = check(markdown(REAL[language]), size, min(overlap, size // 2 - 1))
    assert len(chunks) == 1 or size < 512


@pytest.mark.parametrize("overlap", [0, 40])
@pytest.mark.parametrize("name", KINDS)
def test_chunks_of_generated_text_are_deterministic_and_well_filled(
    name: str, overlap: int
) -> None:
    texts = KINDS[name]
    document = texts.document(texts.units(400, seed=5))
    chunks = check(document, 128, overlap)
    assert chunks == split(document, size=128, overlap=overlap), "not deterministic"
    if not overlap:
        assert sum(chunk.tokens for chunk in chunks) / len(chunks) / 128 >= 0.5
    else:
        repeats = sum(a.end > b.start for a, b in pairwise(chunks))
        assert repeats >= 0.8 * (len(chunks) - 1 - len(document.headings))


@pytest.mark.parametrize("text", ["", " ", "\n \n\t\u3000"])
def test_blank_text_has_no_chunk(text: str) -> None:
    assert split(Document("none", text)) == []


def test_a_document_that_fits_is_one_chunk() -> None:
    text = REAL["en"]
    (chunk,) = split(markdown("\n\n" + text + "\n"))
    assert chunk.text == text.strip()
    assert chunk.heading == ("Returning goods",)


@pytest.mark.parametrize("language", ["zh", "ja", "ru", "ar", "hi", "de"])
def test_prose_is_split_between_sentences(language: str) -> None:
    # One paragraph, without the headings.
    body = " ".join(line for line in REAL[language].splitlines() if line and line[0] != "#")
    chunks = check(Document("prose", body), 40)
    assert len(chunks) > 1
    assert all(chunk.text.rstrip("”“」»")[-1] in ".!?…。！？؟।;；" for chunk in chunks[:-1])


@pytest.mark.parametrize("language", ["de", "ru"])
def test_prose_in_lower_case_is_split_between_sentences(language: str) -> None:
    body = " ".join(line for line in REAL[language].splitlines() if line and line[0] != "#")
    chunks = check(Document("chat", body.lower()), 40)
    assert len(chunks) > 1
    assert all(chunk.text.rstrip("”“»")[-1] in ".!?…" for chunk in chunks[:-1])


@pytest.mark.parametrize(
    "text",
    [
        "they met approx. five of the larger firms of the town and went on to the next one",
        "sie trafen bzw. sahen die Firmen aus der Stadt und gingen dann weiter zu den anderen",
        "they waited for a while... and then went on to the next of the firms of that town",
        "they asked “really?” and nobody answered, so that they went on to the next of the firms",
    ],
)
def test_a_lower_case_word_after_an_abbreviation_begins_no_sentence(text: str) -> None:
    for size in (16, 17):
        for chunk in split(Document("d", text), size=size)[:-1]:
            assert chunk.text[-1] not in ".”"


def test_abbreviations_and_dates_do_not_end_a_sentence() -> None:
    text = "Nach dem 3. Mai sah Dr. J. R. Meyer z. B. die Ware, e.g. this one, am Tag."
    for size in (16, 17, 18, 19, 20):
        for chunk in split(Document("d", text), size=size)[:-1]:
            assert not chunk.text.endswith((" 3.", " J.", " R.", "z.", "B.", "e.g."))


def test_no_heading_is_separated_from_its_text() -> None:
    texts = KINDS["sections"]
    document = texts.document(texts.units(600, seed=9))
    for chunk in split(document, size=100):
        last = chunk.text.rsplit("\n", 1)[-1]
        assert not last.startswith("#") or chunk.end == len(document.text)


def test_underlined_heading_stays_with_its_content() -> None:
    filler = "Filler sentence with some words. " * 5
    text = "".join(f"Heading {n}\n=========\n\n{filler}\n\n" for n in range(20))
    step = len(text) // 20
    starts = [text.index(f"Heading {n}\n") for n in range(20)]
    headings = tuple(Heading(start, 1, f"Heading {n}") for n, start in enumerate(starts))
    assert step > 100
    for chunk in split(Document("d", text, "markdown", headings=headings), size=24):
        assert not chunk.text.endswith("===")


def test_short_sections_are_split_at_headings() -> None:
    words = "alpha beta gamma delta epsilon zeta eta theta iota kappa. " * 6
    text = "".join(f"## Section {n}\n\n{words}\n\n" for n in range(30))
    for chunk in check(markdown(text), 100):
        assert chunk.text.startswith("## Section")
        assert len(chunk.heading) == 1


def test_fence_and_table_are_kept_whole_when_they_fit() -> None:
    parts = []
    for n in range(60):
        # So short that a split next to it leaves less than the usual share on one side.
        parts.append(f"In case {n}:")
        code = "\n\n".join(f"    call_{n}_{k}(value)" for k in range(10))
        parts.append(f"```python\n{code}\n```")
        rows = "\n".join(f"| row {n} {k} | some value. Another one |" for k in range(8))
        parts.append(f"| a | b |\n|---|---|\n{rows}")
    document = Document("d", "\n\n".join(parts), "markdown")
    for size in (116, 124, 140):
        chunks = check(document, size)
        assert max(count(part) for part in parts) <= size
        assert all(any(part in chunk.text for chunk in chunks) for part in parts)


def test_long_fence_and_table_are_split_between_lines() -> None:
    rows = [f"| row {n} | some value. Another, one |" for n in range(200)]
    lines = [f"    call_{n}(value, 'text. More text')" for n in range(200)]
    text = "\n".join(rows) + "\n\n```\n" + "\n".join(lines) + "\n```\n"
    for chunk in check(Document("d", text, "markdown"), 64):
        first, last = chunk.text.split("\n")[0], chunk.text.split("\n")[-1]
        assert first in (*rows, *lines, "```")
        assert last in (*rows, *lines, "```")
        assert chunk.text.strip() != "```"


def test_code_keeps_the_indentation_of_its_first_line() -> None:
    texts = KINDS["functions"]
    document = texts.document(texts.units(100))
    chunks = check(document, 40)
    starts = [document.text[chunk.start - 1] for chunk in chunks if chunk.start]
    assert set(starts) == {"\n"}
    assert any(chunk.text.startswith("    ") for chunk in chunks)


def test_wrapped_lines_are_not_split_within_a_sentence() -> None:
    generator = random.Random(8)
    lines, line = [], ""
    for _ in range(4000):
        word = generator.choice(LATIN)
        if generator.random() < 0.08:
            word += "."
        word = word.capitalize() if line.endswith(".") or not line else word
        if len(line) + 1 + len(word) > 72:
            lines.append(line)
            line = word.lower()
        else:
            line = f"{line} {word}".strip()
    document = Document("d", "\n".join(lines))
    ends = [chunk.text[-1] for chunk in check(document, 128)[:-1]]
    assert ends.count(".") / len(ends) > 0.9


def test_chunks_have_the_page_of_their_start() -> None:
    pages, text = [], ""
    for number in range(1, 30):
        body = f"Page {number} says something. " * number
        pages.append(Page(number, len(text), len(text) + len(body)))
        text += body + "\n\n"
    chunks = check(Document("d", text, pages=tuple(pages)), 64)
    assert {chunk.page for chunk in chunks} >= set(range(12, 30))


def test_overlap_repeats_whole_sentences_and_stays_inside_a_section() -> None:
    texts = KINDS["sections"]
    document = texts.document(texts.units(300, seed=2))
    plain = {heading.start for heading in document.headings}
    chunks = check(document, 160, 60)
    for before, chunk in pairwise(chunks):
        if chunk.start < before.end:
            assert not any(chunk.start < start <= before.end for start in plain)
            assert chunk.text[0].isupper() or chunk.text[0] in "#"
        if before.end <= chunk.start in plain:
            assert chunk.text.startswith("#")


def test_each_text_is_encoded_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded_lengths = record_encoded_lengths(monkeypatch)
    for name in ("short paragraphs", "russian", "chinese", "one paragraph", "table", "functions"):
        texts = KINDS[name]
        document = texts.document(texts.units(1500))
        for overlap, share in ((0, 1.15), (64, 1.3)):
            encoded_lengths.clear()
            assert len(split(document, size=512, overlap=overlap)) > 10
            assert len(document.text) <= sum(encoded_lengths) <= share * len(document.text), name


@pytest.mark.parametrize(
    "run", ["a", "\n", "中", "- ", "#\n", "row,1\n", "```\n", "e\u0301", "'s", "👨‍👩‍👧"]
)
def test_repetitive_texts_give_well_filled_chunks(run: str) -> None:
    text = run * (100_000 // len(run))
    kind: Kind = "markdown"
    chunks = check(Document("d", text, kind), 512)
    if chunks:
        assert sum(chunk.tokens for chunk in chunks) / len(chunks) > 0.8 * 512


def test_grapheme_clusters_are_not_split() -> None:
    clusters = ["e\u0301\u0323", "👨\u200d👩\u200d👧", "👍🏽", "❤\ufe0f", "कि"]
    generator = random.Random(2)
    chosen = generator.choices(clusters, k=2000)
    document = Document("d", "".join(chosen))
    starts, at = set(), 0
    for cluster in chosen:
        starts.add(at)
        at += len(cluster)
    assert {chunk.start for chunk in check(document, 64)} <= starts


def test_many_headings_are_packed_into_full_chunks() -> None:
    text = "# h\n\n" * 20_000
    headings = tuple(Heading(at, 1, "h") for at in range(0, len(text), 5))
    chunks = split(Document("d", text, "markdown", headings=headings))
    assert 20_000 * 3 / 512 <= len(chunks) < 1.2 * 20_000 * 3 / 512
    assert all(chunk.text.startswith("# h") for chunk in chunks)


@pytest.mark.parametrize(
    ("size", "overlap"), [(15, 0), (0, 0), (-5, 0), (512, -1), (512, 256), (16, 8), (100, 100)]
)
def test_invalid_sizes_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(UsageError, match=r"use (at|0)"):
        split(Document("d", "text"), size=size, overlap=overlap)
    with pytest.raises(UsageError):
        recipe(size, overlap)


def test_the_recipe_has_everything_that_decides_the_chunks() -> None:
    assert recipe(300, 20) == {
        "chunker": 2,
        "size": 300,
        "overlap": 20,
        "tokenizer": "o200k_base",
    }


def test_a_long_fence_of_indented_lines_is_split() -> None:
    """A span is not split within the indentation of its first line, which would never end."""
    generator = random.Random(0)
    lines = [
        " " * generator.randrange(12)
        + "".join(generator.choices("abcdefghijklmnop'{}:,", k=generator.randrange(20, 90)))
        for _ in range(60)
    ]
    document = Document("a.md", "```\n" + "\n".join(lines) + "\n```\n", kind="markdown")
    for size in (32, 64):
        check(document, size, 0)
