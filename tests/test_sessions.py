"""The sessions in the documentation are what the commands print: see `tests/sessions.py`."""

import pytest

from tests.sessions import BLOCK, ROOT, comparable, recorded_pages

pytestmark = pytest.mark.slow

EXAMPLE = """\
<!-- session 80x24; after: ragctl ingest a; ragctl status -->
```console
$ ragctl search valve
old output
```
"""


def test_the_sessions_are_what_the_commands_print() -> None:
    """To update them, run `python -m tests.sessions`."""
    pages = list(recorded_pages())
    names = {str(page.relative_to(ROOT)) for page, _, _ in pages}
    assert {"README.md", "docs/search.md"} <= names
    for _, text, recorded in pages:
        assert comparable(recorded) == comparable(text)


def test_a_comment_marks_a_session() -> None:
    block = BLOCK.search(f"text\n{EXAMPLE}text\n")
    assert block is not None
    assert (block["columns"], block["rows"]) == ("80", "24")
    assert block["before"] == "ragctl ingest a; ragctl status"
    assert block["shown"] == "$ ragctl search valve\nold output\n"
    assert BLOCK.search(EXAMPLE.replace("session", "example")) is None
