"""The plot of a sweep, as text and as a picture."""

from pathlib import Path

import pytest

from ragctl.errors import UsageError
from ragctl.evaluate.plot import PlotPoint, as_text, check_file, draw_plot

POINTS = [
    PlotPoint("a", "hybrid", 0.8, 4096.0, 2.0, "hybrid", "hybrid"),
    PlotPoint("b", "hybrid dim=64", 0.6, 256.0, 1.0, "hybrid", "hybrid"),
    PlotPoint("c", "sparse", 0.5, None, 0.5, "sparse", "sparse"),
]


def test_the_text_has_every_point_in_its_place() -> None:
    sizes, latencies = as_text(POINTS).split("\n\n")
    lines = sizes.splitlines()
    assert lines[0] == "nDCG@10 against bytes of a dense vector (logarithmic)"
    assert lines[1].rstrip() == " 0.800 |" + " " * 63 + "a"
    assert lines[12] == " 0.600 |b"
    assert lines[14].split() == ["256", "4,096"]
    assert "c" not in "".join(lines[1:13])  # it has no dense vector
    assert latencies.splitlines()[12].index("c") == 8 + round(0.25 * 63)
    assert latencies.splitlines()[14].split() == ["0", "2"]


def test_points_that_fall_together_are_named_below() -> None:
    twice = [*POINTS, PlotPoint("d", "x", 0.8, 4096.0, 2.0, "dense", "dense")]
    assert as_text(twice).count("*: a, d") == 2


def test_one_point_or_one_size_is_no_error() -> None:
    assert "bytes" not in as_text(POINTS[:1])
    assert sum(line.endswith("a") for line in as_text(POINTS[:1]).splitlines()) == 1
    assert as_text([PlotPoint("a", "x", 0.5, None, None, "sparse", "sparse")]) == ""


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_a_picture_is_written(tmp_path: Path, suffix: str, magic: bytes) -> None:
    path = tmp_path / f"plot{suffix}"
    draw_plot(POINTS, path, "docs")
    content = path.read_bytes()
    assert content.startswith(magic)
    assert len(content) > 5_000


def test_where_no_picture_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"does not end in \.png"):
        check_file(tmp_path / "plot.jpg")
    with pytest.raises(UsageError, match="no such folder"):
        check_file(tmp_path / "none" / "plot.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        draw_plot(POINTS, tmp_path / "folder.png", "docs")
