"""Cells that span columns and rows."""

import time
from pathlib import Path

import pytest

from ragctl.loaders.grid import MAX_REPEATED_TEXT, MAX_REPEATED_TOTAL, Cell, lay_out
from tests.loading import load_one


@pytest.mark.parametrize(
    ("groups", "rows"),
    [
        ([[[Cell("a"), Cell("b", 2)], [Cell("1"), Cell("2"), Cell("3")]]], ["a b b", "1 2 3"]),
        ([[[Cell("a", 1, 2), Cell("b")], [Cell("c")]]], ["a b", "a c"]),
        # a column or row in which no cell begins repeats the one before
        ([[[Cell("a", 10**9), Cell("b")], [Cell("1", 10**9, 10**9), Cell("2")]]], ["a b", "1 2"]),
        ([[[Cell("a", 1, 3), Cell("b", 1, 3)], [], [], [Cell("c"), Cell("d")]]], ["a b", "c d"]),
        # 0 is to the end of the group, and no cell goes on in the next group
        ([[[Cell("a", 1, 0), Cell("b")], [Cell("c")]], [[Cell("d")]]], ["a b", "a c", "d -"]),
        ([[[Cell("a", 1, 9), Cell("b")]], [[Cell("c"), Cell("d")]]], ["a b", "c d"]),
        # where two cells overlap, the first one stays
        (
            [[[Cell("a"), Cell("b", 1, 2), Cell("c")], [Cell("d", 2), Cell("e")]]],
            ["a b c", "d b e"],
        ),
        ([[]], []),
        ([[[]]], []),
        ([[[Cell("x", -5, -5)]]], ["x"]),
        ([[[Cell("all", 2)], [Cell("1"), Cell("2")]]], ["all -", "1 2"]),
    ],
)
def test_cells_are_laid_out(groups: list[list[list[Cell]]], rows: list[str]) -> None:
    assert [" ".join(text or "-" for text in row) for row in lay_out(groups)] == rows


def test_a_long_text_is_not_repeated() -> None:
    long = "x" * (MAX_REPEATED_TEXT + 1)
    assert lay_out([[[Cell(long, 2), Cell("b")], [Cell("1"), Cell("2"), Cell("3")]]])[0] == [
        *(long, "", "b")
    ]


def test_repetitions_have_a_limit() -> None:
    first = [Cell("word " * 10, 1, 60_000) for _ in range(1_000)]
    started = time.process_time()
    rows = lay_out([[first, *([Cell("x")] for _ in range(3_000))]])
    assert time.process_time() - started < 5
    assert len(rows) == 3_001
    assert sum(len(text) for row in rows for text in row) < 2 * MAX_REPEATED_TOTAL


def table_text(tmp_path: Path, html: str) -> list[str]:
    path = tmp_path / "page.html"
    path.write_text(f"<table>{html}</table>")
    return load_one(path).text.splitlines()


def test_header_rows_of_html_become_one(tmp_path: Path) -> None:
    html = (
        "<tr><th rowspan=2>Model<th colspan=2>Price<th>Warranty<tr><th>EU<th>US<th>years"
        "<tr><td>A1<td>100<td>120<td>2<tr><td colspan=2>A2 discontinued<td>0<td>9"
    )
    assert table_text(tmp_path, html) == [
        "| Model | Price EU | Price US | Warranty years |",
        "| --- | --- | --- | --- |",
        "| A1 | 100 | 120 | 2 |",
        "| A2 discontinued | A2 discontinued | 0 | 9 |",
    ]


def test_groups_of_html_rows_are_in_the_order_of_browsers(tmp_path: Path) -> None:
    html = (
        "<tfoot><tr><td>sum<td>3</tfoot><tbody><tr><td>a<td>1</tbody><tbody><tr><td>b<td>2</tbody>"
        "<thead><tr><td>name<td>count</thead><caption>Counts</caption>"
    )
    assert table_text(tmp_path, html) == [
        *(
            "Counts",
            "",
            "| name | count |",
            "| --- | --- |",
            "| a | 1 |",
            "| b | 2 |",
            "| sum | 3 |",
        )
    ]


def test_a_title_over_all_columns_is_no_header(tmp_path: Path) -> None:
    html = "<tr><th colspan=2>Prices<tr><th>name<th>price<tr><td>a<td>1"
    assert table_text(tmp_path, html) == [
        *("Prices", "", "| name | price |", "| --- | --- |", "| a | 1 |")
    ]


def test_a_table_in_a_cell_is_text_of_the_cell(tmp_path: Path) -> None:
    html = (
        "<tr><th>name<th>sizes<th>price</tr>"
        "<tr><td>a<td><table><tr><td>S<td>M</tr><tr><td>36<td>38</table><td>1</tr>"
    )
    assert table_text(tmp_path, html)[2] == "| a | ; S M; 36 38 | 1 |"


def test_short_rows_under_a_wide_header_stay_short(tmp_path: Path) -> None:
    html = "<tr>" + "<td>a" * 300 + "<tr><td>b" * 3_000
    lines = table_text(tmp_path, html)
    assert len(lines) == 3_002
    assert lines[-1] == "| b |"
