"""CSV and TSV files."""

from pathlib import Path

import pytest

from ragctl.loaders.table import find_delimiter
from tests.loading import check, load_one


def rows(tmp_path: Path, text: str, name: str = "a.csv") -> list[str]:
    path = tmp_path / name
    path.write_bytes(text.encode())
    document = load_one(path)
    check(document)
    assert document.kind == "markdown"
    return document.text.splitlines()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'name,price\r\nWidget,"3,50"\r\n"Big\nBolt",4\r\n'),
        ("a.csv", "name;price\nWidget;3,50\nBig Bolt;4\n"),
        ("a.tsv", "name\tprice\nWidget\t3,50\nBig Bolt\t4\n"),
        ("a.csv", "name|price\nWidget|3,50\nBig Bolt|4\n"),
        ("a.csv", "sep=;\nname;price\nWidget;3,50\nBig Bolt;4"),
        ("a.csv", "\ufeffname; price\nWidget; 3,50\n;\n\nBig Bolt; 4\n"),
    ],
)
def test_each_row_names_its_columns(tmp_path: Path, name: str, text: str) -> None:
    assert rows(tmp_path, text, name) == [
        "- name: Widget; price: 3,50",
        "- name: Big Bolt; price: 4",
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("\n\n", []),
        ("one,two\n", ["- column 1: one; column 2: two"]),
        (
            "1,Widget\n2,Bolt\n",
            ["- column 1: 1; column 2: Widget", "- column 1: 2; column 2: Bolt"],
        ),
        ("a,a\n1,2\n", ["- column 1: a; column 2: a", "- column 1: 1; column 2: 2"]),
        ("region,2022,2023\neast,1,2\n", ["- region: east; 2022: 1; 2023: 2"]),
        ("a,b\n1\n1,2,3\n,2\n", ["- a: 1", "- a: 1; b: 2; column 3: 3", "- b: 2"]),
        ("a,,c\n1,2,3\n", ["- a: 1; column 2: 2; c: 3"]),
        ("a,b\nx\x00y,2\n", ["- a: xy; b: 2"]),
        ('a,b\n"open,2\n3,4\n', ["- a: open,2 3,4"]),
    ],
)
def test_headers_ragged_rows_and_special_cases(tmp_path: Path, text: str, lines: list[str]) -> None:
    assert rows(tmp_path, text) == lines


def test_cells_may_exceed_the_limit_of_the_csv_module(tmp_path: Path) -> None:
    [line] = rows(tmp_path, f"a,b\n{'x' * 300_000},2\n")
    assert line == f"- a: {'x' * 300_000}; b: 2"


def test_a_million_columns_are_read(tmp_path: Path) -> None:
    [line] = rows(tmp_path, ",".join(["7"] * 1_000_000))
    assert line.startswith("- column 1: 7; column 2: 7;")
    assert line.endswith("; column 1000000: 7")


def test_the_delimiter_is_the_one_that_gives_equal_columns() -> None:
    assert find_delimiter("a;b\n1,5;2,5\n3,5;4\n") == ";"
    assert find_delimiter("note, long; odd\tb\nx\ty\nz, z\tw\n") == "\t"
    assert find_delimiter("single\ncolumn\n") == ","
