"""The line number of a key in a TOML file."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragctl.catalog.lines import KeyPath, line_of

TEXT = """\
# a comment
collection = "x" # 2
[embedding] # 3
model = "m"
list = [
  1,
  { deep = 2 },
]
text = \"\"\"
[not.a.table]
model = "no"
\"\"\"
a.b.c = 5
[[sources]] # 14
path = "."
[sources.meta]
team = "one"
[[sources]] # 18
"path" = ".."
meta = { team = "two" }
[models."a.b"] # 21
dim = 5
[[embedding.backends]]
backend = "x"
[[embedding.backends]] # 25
  [embedding.backends.rates]
  tokens = 5
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("collection",), 2),
        (("embedding",), 3),
        (("embedding", "model"), 4),
        (("embedding", "list", 1, "deep"), 5),
        (("embedding", "text"), 9),
        (("embedding", "a", "b", "c"), 13),
        (("sources",), 14),
        (("sources", 0, "path"), 15),
        (("sources", 0, "meta", "team"), 17),
        (("sources", 1), 18),
        (("sources", 1, "path"), 19),
        (("sources", 1, "meta", "team"), 20),
        (("models", "a.b", "dim"), 22),
        (("models",), 21),
        (("embedding", "backends", 0, "backend"), 24),
        (("embedding", "backends", 1), 25),
        (("embedding", "backends", 1, "rates", "tokens"), 27),
        # For a missing key: the line of the table that should hold it.
        (("sources", 1, "include"), 18),
        (("embedding", "backends", 1, "backend"), 25),
        (("embedding", "missing"), 3),
        (("nowhere",), None),
        (("nowhere", "x"), None),
    ],
)
def test_line_of_a_key(path: KeyPath, line: int | None) -> None:
    tomllib.loads(TEXT)
    assert line_of(TEXT, path) == line
    assert line_of(TEXT.replace("\n", "\r\n"), path) == line


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True), st.data())
def test_line_of_keys_in_any_order_and_spacing(names: list[str], data: st.DataObject) -> None:
    lines, expected = [], {}
    for name in names:
        lines += data.draw(st.lists(st.sampled_from(["", "# a = 1", "  "]), max_size=2))
        expected[name] = len(lines) + 1
        lines += data.draw(
            st.sampled_from([["x"], ["[", "]"], ["{ y = [", "1 ] }"], ["'''", "'''"]])
        )
        first = lines[expected[name] - 1]
        lines[expected[name] - 1] = f"{name} = " + ("1" if first == "x" else first)
    text = "\n".join(lines)
    assert set(tomllib.loads(text)) == set(names)
    assert {name: line_of(text, (name,)) for name in names} == expected
