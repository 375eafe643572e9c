"""CSV and TSV files."""

from pathlib import Path

import pytest

from ragctl.loaders.table_layout import find_delimiter
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
        ("a,a\n1,2\n", ["- a: 1; a (2): 2"]),
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


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Pumpe;1,5;2,5\nVentil;3,5;4,5\n",
         ["- column 1: Pumpe; column 2: 1,5; column 3: 2,5",
          "- column 1: Ventil; column 2: 3,5; column 3: 4,5"]),
        ("Artikel;Preis, netto\nPumpe;1,5\nVentil;3,5\n",
         ["- Artikel: Pumpe; Preis, netto: 1,5", "- Artikel: Ventil; Preis, netto: 3,5"]),
        ("Konto:;DE12\nZeitraum:;2025\n\nDatum;Text;Betrag\n01.02.2025;Miete;-5\n",
         ["Konto: DE12", "Zeitraum: 2025", "", "- Datum: 01.02.2025; Text: Miete; Betrag: -5"]),
        ("0,1,2\na,b,c\n", ["- 0: a; 1: b; 2: c"]),
        ("Name,City\nPump,Bonn\n", ["- Name: Pump; City: Bonn"]),
        ("question,answer\nOn?,Yes; it is.\n", ["- question: On?; answer: Yes; it is."]),
    ],
)  # fmt: skip
def test_delimiters_names_and_preambles_are_recognised(
    tmp_path: Path, text: str, lines: list[str]
) -> None:
    assert rows(tmp_path, text) == lines


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("Ventil,Köln\nPumpe,Bonn\nFilter,Ulm\n", "whether the first row names the columns"),
        ('id,text\n1,ok\n2,"never closed\n3,three\n4,four\n', "row 3: a quote is not closed"),
        ('id,text\n1,ok\n2,"never closed\n3,three\n4,"four"\n5,five\n', "a quote is not closed"),
    ],
)  # fmt: skip
def test_what_is_not_certain_is_a_warning(tmp_path: Path, text: str, warning: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert warning in " ".join(load_one(path).warnings)
