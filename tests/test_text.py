"""Text from elsewhere as one safe line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragctl.records import Json
from ragctl.text import describe_exception, json_text, one_line, without_controls


@pytest.mark.parametrize(
    ("text", "line", "printable"),
    [
        ("  a\n\tb\u2028c ", "a b c", "a b c"),
        ("a\x1b[31mred\x1b[0m", "ared", "a red"),
        ("\x1b]0;title\x07x", "x", "x"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link", "link"),
        ("\x9d0;title\x9cx \x9b31mred", "x red", "x red"),
        ("\x1bPq#0;2;0\nsixel\x1b\\x", "x", "x"),
        ("\x1b]0;no end\nx", "x", "x"),
        ("\x1b(Bx\x1bcy", "xcy", "x cy"),
        ("a\x00b", "ab", "a b"),
        ("a\u202eb\u202cc", "abc", "a b c"),
        ("zero\u200bwidth\u2060\u061c", "zerowidth", "zero width"),
        ("\U000e0069\U000e0067tag\U000e007f", "tag", "tag"),
        ("v\ufe0f\U000e0131x\u3164y", "vxy", "vxy"),
        ("soft\xadhyphen", "softhyphen", "soft hyphen"),
        ("\ud800x\ufffe", "x", "x"),
        ("👩\u200d💻", "👩💻", "👩 💻"),
        ("می\u200cخواهم", "می\u200cخواهم", "می خواهم"),  # of two parts that must not join
        ("من\u200c man", "من man", "من man"),
    ],
)
def test_one_line(text: str, line: str, printable: str) -> None:
    assert one_line(text) == line
    assert one_line(text, printable_only=True) == printable


def test_text_in_a_wrong_encoding_is_not_taken_for_escape_sequences() -> None:
    text = "“quoted” и “Лев Николаевич”, 来"
    garbled = text.encode().decode("latin-1")
    shown = without_controls(garbled)
    assert shown == "".join(c for c in garbled if not "\x80" <= c < "\xa0" and c != "\xad")


def test_every_line_end_is_a_line_feed() -> None:
    assert without_controls("a\r\nb\rc\u2028d\u2029e\x0cf") == "a\nb\nc\nd\ne\nf"


def test_json_escapes_what_cannot_be_seen() -> None:
    value: dict[str, Json] = {"text": "a\u200b\x9b\u2028\U000e0041é报\x07", "lone": "\ud800"}
    text = json_text(value)
    assert text == (r'{"text": "a\u200b\u009b\u2028\udb40\udc41é报\u0007", "lone": "?"}')
    assert json.loads(text) == {**value, "lone": "?"}


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
