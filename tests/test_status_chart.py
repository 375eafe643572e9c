"""The charts of `ragctl status`: documents by source, language and format."""

import json
import os
from pathlib import Path

import pytest
from rich.cells import cell_len

from ragctl.cli.charts import MAX_BARS, bar_chart, shortened
from tests import terminal
from tests.command import call

CHINESE = "档案馆的手册与维护说明"


def lines(counts: dict[str, int], width: int = 60) -> list[str]:
    return list(bar_chart("documents", counts, width, bar="#"))


def test_bars_are_in_proportion_and_aligned_in_cells() -> None:
    title, first, second, third = lines({"en": 1000, CHINESE: 500, "ru": 1})
    assert title == "documents"
    assert first.startswith("  en ")
    assert second.startswith(f"  {CHINESE}  ")
    assert cell_len(first) == 60
    starts = [cell_len(line[: line.index("#")]) for line in (first, second, third)]
    assert len(set(starts)) == 1
    bars = [line.count("#") for line in (first, second, third)]
    assert bars[0] == 2 * bars[1] or bars[0] == 2 * bars[1] - 1
    assert bars[2] == 1  # what exists is seen
    assert [line.split()[1] for line in (first, second, third)] == ["1,000", "500", "1"]


@pytest.mark.parametrize("width", [80, 60, 20])
def test_long_labels_keep_their_end_and_no_line_is_too_wide(width: int) -> None:
    long = {f"/srv/{CHINESE * 9}/{name}": number for number, name in enumerate(("甲", "乙"), 7)}
    shown = lines(long, width)
    assert all(cell_len(line) <= max(width, 15) for line in shown)
    assert "…" in shown[1]
    assert "/乙" in shown[1]
    assert "/甲" in shown[2]


def test_many_counts_share_the_last_line() -> None:
    shown = lines({f"s{number:02}": 20 - number for number in range(20)})
    assert len(shown) == 1 + MAX_BARS
    assert shown[-1].split()[:3] == ["13", "others", str(sum(range(1, 14)))]
    assert lines({}) == []
    assert len(lines({"none": 0})) == 2


def test_a_label_with_a_control_character_is_one_safe_line() -> None:
    assert "\x1b" not in lines({"a\x1b[2Jb\nc": 1})[1]
    assert shortened("手册手册", 5) == "…手册"
    assert shortened("手册", 4) == "手册"


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    home = tmp_path_factory.mktemp("status")
    for folder, name, text in (
        ("docs", "a.md", "The pump was found open and it had run dry during the night."),
        ("docs", "b.txt", "The valve is closed, and the noise limit is given in the manual."),
        (CHINESE, "c.md", "水泵在夜间被发现处于打开状态，并且已经干转了一段时间。" * 3),
    ):
        (home / folder).mkdir(exist_ok=True)
        (home / folder / name).write_text(text, encoding="utf-8")
    environ = {**os.environ, "RAGCTL_HOME": str(home / "store")}
    done = call("ingest", "-q", "docs", CHINESE, "--workers", "1", environ=environ, cwd=home)
    assert done.returncode == 0, done.stderr
    return home, environ


def test_json_has_the_numbers(indexed: tuple[Path, dict[str, str]]) -> None:
    home, environ = indexed
    found = json.loads(call("status", "--json", environ=environ, cwd=home).stdout)
    assert found["sources"] == {"docs": 2, CHINESE: 1}
    assert found["locations"] == {"docs": str(home / "docs"), CHINESE: str(home / CHINESE)}
    assert found["languages"] == {"en": 2, "zh": 1}
    assert found["formats"] == {"markdown": 2, "text": 1}


def test_a_pipe_gets_plain_text(indexed: tuple[Path, dict[str, str]]) -> None:
    home, environ = indexed
    text = call("status", environ=environ, cwd=home).stdout
    chart = text[text.index("documents by source") :].splitlines()
    titles = [line for line in chart if not line.startswith(" ")]
    assert titles == [f"documents by {name}" for name in ("source", "language", "format")]
    assert all(cell_len(line) <= 80 for line in chart)
    assert "\x1b" not in text
    assert "#" in chart[1]


@pytest.mark.parametrize("columns", [80, 60])
def test_a_terminal_shows_the_chart_in_its_width(
    indexed: tuple[Path, dict[str, str]], columns: int
) -> None:
    home, environ = indexed
    shown = terminal.render("status", environ=environ, cwd=home, columns=columns, rows=50)
    rows = shown.lines
    start = rows.index("documents by source")
    bars = [row for row in rows[start:] if "█" in row]
    assert len(bars) == 6  # none was wrapped: two sources, two languages, two formats
    assert CHINESE[-3:] in shown.text.replace(" ", "")
