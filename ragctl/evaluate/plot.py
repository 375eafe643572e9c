"""Plot quality against bytes per vector and against latency: as text, or with matplotlib."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import Any

from ragctl.errors import OptionError
from ragctl.evaluate.measures import NDCG, check_extra, mean
from ragctl.evaluate.output import PLOT_LETTERS, search_latency
from ragctl.evaluate.sweep import ALL, Evaluation

COLOURS = {"hybrid": "#1f5fa8", "dense": "#c4561a", "sparse": "#3b7d3b"}
SIZE_LABEL = "bytes of a dense vector (logarithmic)"
LATENCY_LABEL = "search, p50 in ms"
MAX_TICKS = 8
WIDTH, HEIGHT = 64, 12  # of a text plot, in characters
MIN_WIDTH = 24
VALUE_WIDTH = 8  # of the values left of a text plot
FIGURE_WIDTH, PLOT_HEIGHT = 13.0, 5.0  # in inches, as the next two
AXIS_HEIGHT = 0.6  # of the ticks and the label of a horizontal axis
GAP = 0.15  # between the title, the plots and the legend
TITLE_CHARACTERS, NAME_CHARACTERS = 110, 56  # in a line of the title, of the legend
MAX_COLUMNS = 4  # of the legend
SUFFIXES = (".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True)
class PlotPoint:
    """A variant in the plots. `quality`: mean nDCG@10; `kind`: points of one are joined."""

    letter: str
    name: str
    quality: float
    size: float | None  # bytes
    latency: float | None  # milliseconds
    mode: str
    kind: str  # the variant without its dimension


def plot_points(evaluation: Evaluation) -> list[PlotPoint]:
    """Return a point for each variant."""
    return [
        PlotPoint(
            letter,
            result.variant.name,
            mean(result.scores[NDCG], evaluation.groups[ALL]),
            None if result.vector_bytes is None else float(result.vector_bytes),
            search_latency(result).p50,
            result.variant.mode,
            str(result.variant.changed(dim=None)),
        )
        for letter, result in zip(PLOT_LETTERS, evaluation.results, strict=False)
    ]


def check_file(path: Path) -> None:
    """Raise UsageError if a picture cannot be written to `path`."""
    check_extra("matplotlib")
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError("plot", f"{path} does not end in {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise OptionError("plot", f"{path}: no such folder")


def as_text(points: Sequence[PlotPoint], columns: int = VALUE_WIDTH + WIDTH) -> str:
    """Return both plots as text, for a terminal or a pipe. `columns`: at most so many wide."""
    width = max(MIN_WIDTH, min(WIDTH, columns - VALUE_WIDTH))
    sizes = [(each.letter, each.size, each.quality) for each in points]
    latencies = [(each.letter, each.latency, each.quality) for each in points]
    plots = [
        _text_plot(sizes, SIZE_LABEL, width, logarithmic=True),
        _text_plot(latencies, LATENCY_LABEL, width, logarithmic=False),
    ]
    return "\n\n".join(plot for plot in plots if plot)


def _text_plot(
    points: Sequence[tuple[str, float | None, float]], label: str, width: int, *, logarithmic: bool
) -> str:
    """Return a plot of letters; `*` for several in one cell, listed below; "" without points."""
    if logarithmic and len({x for _, x, _ in points}) < 2:  # all of one size: nothing to compare
        return ""
    placed = [
        (letter, log10(x) if logarithmic else x, y) for letter, x, y in points if x is not None
    ]
    if not placed:
        return ""
    left, right = _bounds([x for _, x, _ in placed])
    left = left if logarithmic else 0.0
    low, high = _bounds([y for _, _, y in placed])
    cells: dict[tuple[int, int], str] = {}
    for letter, x, y in placed:
        column = round((x - left) / (right - left) * (width - 1))
        row = round((high - y) / (high - low) * (HEIGHT - 1))
        cells[row, column] = cells.get((row, column), "") + letter
    lines = [f"{NDCG} against {label}"]
    for row in range(HEIGHT):
        value = high - (high - low) * row / (HEIGHT - 1)
        marks = (cells.get((row, column), " ") for column in range(width))
        plane = "".join(mark if len(mark) == 1 else "*" for mark in marks)
        lines.append(f"{value:6.3f} |{plane}".rstrip())
    ends = [_number(10**end if logarithmic else end) for end in (left, right)]
    lines.append(" " * (VALUE_WIDTH - 1) + "+" + "-" * width)
    lines.append(" " * VALUE_WIDTH + ends[0] + ends[1].rjust(width - len(ends[0])))
    together = [", ".join(cell) for cell in cells.values() if len(cell) > 1]
    if together:
        named = "*: " + "; ".join(together)
        lines += textwrap.indent(wrapped(named, width), " " * VALUE_WIDTH).splitlines()
    return "\n".join(lines)


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest value, moved apart if they are equal."""
    low, high = min(values), max(values)
    return (low, high) if high - low > 1e-6 else (low - 0.01, high + 0.01)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw_plot(points: Sequence[PlotPoint], path: Path, title: str) -> None:
    """Draw both plots; the suffix of `path` decides the format. Raises UsageError."""
    check_file(path)
    try:
        make_figure(points, title).savefig(path, dpi=150)
    except OSError as error:
        raise OptionError("plot", f"{path} cannot be written ({error.strerror})") from error


def make_figure(points: Sequence[PlotPoint], title: str) -> Any:
    """Return the figure: a title, both plots, and below them the legend in columns.

    The figure is as high as the title and the legend need.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(FIGURE_WIDTH, PLOT_HEIGHT))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    sizes = [point.size for point in points]
    dotted = "; dotted: no dense vector" if None in sizes and any(sizes) else ""
    _draw_axis(left, points, SIZE_LABEL + dotted, sizes)
    _draw_axis(right, points, LATENCY_LABEL, [point.latency for point in points])
    _logarithmic(left, sorted({size for size in sizes if size}))
    _lines(left, points)
    left.margins(0.06, 0.08)
    right.margins(0.06, 0.08)
    right.set_xlim(left=0)
    left.set_ylabel(NDCG)
    heading = figure.text(0.5, 1, wrapped(title, TITLE_CHARACTERS), ha="center", va="top")
    legend = _legend(figure, points)
    above, below = (_inches(figure, part) + 2 * GAP for part in (heading, legend))
    height = above + PLOT_HEIGHT + AXIS_HEIGHT + below
    figure.set_figheight(height)
    heading.set_y(1 - GAP / height)
    legend.set_bbox_to_anchor((0.5, GAP / height), figure.transFigure)
    bottom, top = (below + AXIS_HEIGHT) / height, 1 - above / height
    figure.subplots_adjust(left=0.06, right=0.98, wspace=0.06, bottom=bottom, top=top)
    return figure


def _legend(figure: Any, points: Sequence[PlotPoint]) -> Any:
    """Add the legend, in as many columns as the figure is wide enough for."""
    handles = [_handle(point) for point in points]
    for columns in range(min(MAX_COLUMNS, len(points)), 0, -1):
        legend = figure.legend(
            handles=handles,
            loc="lower center",
            ncols=columns,
            fontsize=9,
            frameon=False,
            handletextpad=0.2,
        )
        if columns == 1 or _inches(figure, legend, "width") <= FIGURE_WIDTH - 2 * GAP:
            return legend
        legend.remove()
    raise AssertionError("there is at least one variant")


def _inches(figure: Any, part: Any, side: str = "height") -> float:
    extent = part.get_window_extent(figure.canvas.get_renderer())
    return float(getattr(extent, side)) / float(figure.dpi)


def wrapped(text: str, width: int) -> str:
    """Return the text in lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(text, width))


def _draw_axis(
    axis: Any, points: Sequence[PlotPoint], label: str, positions: Sequence[float | None]
) -> None:
    """Draw a letter for each variant; one without a position is a horizontal line."""
    axis.set_xlabel(label)
    axis.grid(visible=True, which="major", linewidth=0.4, alpha=0.6)
    for point, x in zip(points, positions, strict=True):
        colour = COLOURS[point.mode]
        if x is None:
            axis.axhline(point.quality, color=colour, linestyle=":", linewidth=1)
            where, within, offset = (0.0, point.quality), ("axes fraction", "data"), (3, 3)
        else:
            axis.plot([x], [point.quality], "o", color=colour, markersize=5)
            where, within, offset = (x, point.quality), ("data", "data"), (4, 4)
        axis.annotate(
            point.letter,
            where,
            xycoords=within,
            textcoords="offset points",
            xytext=offset,
            color=colour,
        )


def _logarithmic(axis: Any, sizes: Sequence[float]) -> None:
    """Make the axis logarithmic, with ticks at sizes whose labels do not overlap."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_locator(FixedLocator(tick_sizes(sizes)))


def tick_sizes(sizes: Sequence[float]) -> list[float]:
    """Return those of some rising sizes that are far enough apart on a logarithmic axis.

    The largest is one of them.
    """
    if not sizes:
        return []
    least = (log10(sizes[-1]) - log10(sizes[0])) / MAX_TICKS
    chosen = [sizes[-1]]
    for size in reversed(sizes[:-1]):
        if log10(chosen[-1]) - log10(size) >= least:
            chosen.append(size)
    return chosen[::-1]


def _lines(axis: Any, points: Sequence[PlotPoint]) -> None:
    """Draw a line through the variants that differ only in their dimension."""
    kinds: dict[str, list[PlotPoint]] = {}
    for point in points:
        if point.size is not None:
            kinds.setdefault(point.kind, []).append(point)
    for alike in kinds.values():
        line = sorted((point.size or 0.0, point.quality) for point in alike)
        colour = COLOURS[alike[0].mode]
        axis.plot(*zip(*line, strict=True), color=colour, linewidth=0.8, alpha=0.5)


def _handle(point: PlotPoint) -> Any:
    from matplotlib.lines import Line2D

    label = f"{point.letter}  {wrapped(point.name, NAME_CHARACTERS)}"
    return Line2D([], [], marker="o", linestyle="", color=COLOURS[point.mode], label=label)
