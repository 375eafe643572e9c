"""Text from elsewhere as one safe line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragctl.text import describe_exception, one_line, without_controls


@pytest.mark.parametrize(
    ("text", "line", "printable"),
    [
        ("  a\n\tb\u2028c ", "a b c", "a b c"),
        ("a\x1b[31mred\x1b[0m", "ared", "a [31mred [0m"),
        ("\x1b]0;title\x07x", "x", "]0;title x"),
        ("a\x00b", "ab", "a b"),
        ("a\u202eb\u202cc", "abc", "a b c"),
        ("\ud800x", "x", "x"),
        ("👩\u200d💻", "👩\u200d💻", "👩 💻"),
    ],
)
def test_one_line(text: str, line: str, printable: str) -> None:
    assert one_line(text) == line
    assert one_line(text, printable_only=True) == printable


def test_a_long_line_is_cut() -> None:
    assert one_line("abc def", limit=7) == "abc def"
    assert one_line("abc  defg", limit=7) == "abc def…"


def test_line_ends_and_tabs_are_no_danger() -> None:
    assert without_controls("a\tb\nc\x07") == "a\tb\nc"


def test_an_exception_is_one_line() -> None:
    assert describe_exception(ValueError("a\n b")) == "ValueError: a b"
    assert describe_exception(KeyError()) == "KeyError"


@given(st.text(st.characters(), max_size=50))
def test_nothing_unsafe_is_left(text: str) -> None:
    for line in (one_line(text), one_line(text, printable_only=True)):
        assert line == line.strip()
        assert len(line.splitlines()) <= 1
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in line)
    assert one_line(text, printable_only=True).isprintable()
