"""The plot of a sweep, as text and as a picture."""

from itertools import pairwise
from pathlib import Path

import pytest

from ragctl.errors import UsageError
from ragctl.evaluate.output import PLOT_LETTERS
from ragctl.evaluate.plot import (
    PlotPoint,
    as_text,
    check_file,
    draw_plot,
    make_figure,
    tick_sizes,
)

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


def many(count: int, *, long: bool) -> list[PlotPoint]:
    """Return variants of three modes with sizes that lie close together, and names."""
    options = " quantization=scalar k=60 fusion=rrf prefetch=1000 diversity=0.25 rescore=true" * 2
    modes = ("hybrid", "dense", "sparse")
    return [
        PlotPoint(
            PLOT_LETTERS[number],
            f"{modes[number % 3]} dim={number}{options if long else ''}",
            0.3 + (number * 37 % 61) / 100,
            None if number % 3 == 2 else 512.0 + 64 * number,
            float(1 + number * 29 % 23),
            modes[number % 3],
            modes[number % 3],
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(("count", "long"), [(1, False), (5, True), (64, False), (64, True)])
def test_no_label_is_clipped_or_overlaps_and_each_variant_is_named_once(
    count: int, long: bool
) -> None:
    points = many(count, long=long)
    title = "a-long-collection-name: jina-embeddings-v3, 1,234 questions, judged by document " * 3
    figure = make_figure(points, title)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    whole = figure.bbox
    (legend,), (heading,) = figure.legends, figure.texts
    labels = [text.get_text() for text in legend.get_texts()]
    assert [label.replace("\n", " ") for label in labels] == [
        f"{point.letter}  {point.name}" for point in points
    ]
    left, right = figure.axes  # the values of the right one are those of the left one
    parts = [legend, heading, left.xaxis, left.yaxis, right.xaxis]
    boxes = [part.get_tightbbox(renderer) for part in parts]
    for box in [*boxes, *(text.get_window_extent(renderer) for text in legend.get_texts())]:
        assert box.x0 >= whole.x0
        assert box.x1 <= whole.x1
        assert box.y0 >= whole.y0
        assert box.y1 <= whole.y1
    plots = [axes.get_window_extent(renderer) for axes in figure.axes]
    for plot in plots:
        assert plot.width > 0.4 * whole.width
        assert plot.height > 4 * figure.dpi
    assert boxes[0].y1 <= min(box.y0 for box in boxes[2:])  # the legend is below the axes
    assert boxes[1].y0 >= max(plot.y1 for plot in plots)  # the title is above the plots
    for axes, plot in zip(figure.axes, plots, strict=True):
        for letter in axes.texts:
            inside = letter.get_window_extent(renderer)
            assert plot.x0 <= inside.x0
            assert inside.x1 <= plot.x1
            assert plot.y0 <= inside.y0
            assert inside.y1 <= plot.y1
        shown = [
            label.get_window_extent(renderer)
            for label in axes.get_xticklabels()
            if label.get_text() and plot.x0 <= label.get_window_extent(renderer).x1 <= whole.x1
        ]
        assert all(one.x1 < other.x0 for one, other in pairwise(shown))


def test_ticks_keep_the_largest_size_and_their_distance() -> None:
    assert tick_sizes([]) == []
    assert tick_sizes([256.0]) == [256.0]
    assert tick_sizes([128.0, 256.0, 512.0, 1024.0]) == [128.0, 256.0, 512.0, 1024.0]
    assert tick_sizes([128.0, 1000.0, 1010.0, 1024.0]) == [128.0, 1024.0]


@pytest.mark.parametrize("columns", [80, 60])
def test_the_text_is_as_wide_as_it_may_be(columns: int) -> None:
    text = as_text(many(64, long=True), columns)
    assert max(map(len, text.splitlines())) <= columns
    assert max(map(len, as_text(POINTS, 200).splitlines())) <= 72
