"""AsciiDoc: titles and headings."""

from pathlib import Path

from tests.loading import check, load_one

TEXT = """= Pump manual
Author <a@example.org>

== Install *now* ==

Use two bolts.

----
== not a heading
----

====
== nor this
====

=== Deep

# Other mark
"""


def test_titles_are_headings_outside_of_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.adoc"
    path.write_text(TEXT)
    document = load_one(path)
    check(document)
    assert document.text == TEXT
    assert document.title == "Pump manual"
    assert [(heading.level, heading.title) for heading in document.headings] == [
        (1, "Pump manual"), (2, "Install now"), (3, "Deep"), (1, "Other mark")
    ]  # fmt: skip
    for heading in document.headings:
        assert TEXT[heading.start] in "=#"
