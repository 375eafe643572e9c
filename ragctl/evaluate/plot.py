"""Plot quality against bytes per vector and against latency: as text, or with matplotlib."""

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
MAX_TICKS = 8  # one for each size, if there are no more
WIDTH, HEIGHT = 64, 12  # of a text plot, in characters
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


def as_text(points: Sequence[PlotPoint]) -> str:
    """Return both plots as text, for a terminal or a pipe."""
    plots = [
        _text_plot([(s.letter, s.size, s.quality) for s in points], SIZE_LABEL, logarithmic=True),
        _text_plot(
            [(s.letter, s.latency, s.quality) for s in points], LATENCY_LABEL, logarithmic=False
        ),
    ]
    return "\n\n".join(plot for plot in plots if plot)


def _text_plot(
    points: Sequence[tuple[str, float | None, float]], label: str, *, logarithmic: bool
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
        column = round((x - left) / (right - left) * (WIDTH - 1))
        row = round((high - y) / (high - low) * (HEIGHT - 1))
        cells[row, column] = cells.get((row, column), "") + letter
    lines = [f"{NDCG} against {label}"]
    for row in range(HEIGHT):
        value = high - (high - low) * row / (HEIGHT - 1)
        marks = (cells.get((row, column), " ") for column in range(WIDTH))
        plane = "".join(mark if len(mark) == 1 else "*" for mark in marks)
        lines.append(f"{value:6.3f} |{plane}".rstrip())
    ends = [_number(10**end if logarithmic else end) for end in (left, right)]
    lines.append(" " * 7 + "+" + "-" * WIDTH)
    lines.append(" " * 8 + ends[0] + ends[1].rjust(WIDTH - len(ends[0])))
    together = [", ".join(cell) for cell in cells.values() if len(cell) > 1]
    if together:
        lines.append(" " * 8 + "*: " + "; ".join(together))
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
    from matplotlib.figure import Figure

    lines = max(len(points), 12)
    figure = Figure(figsize=(13, max(5.5, 0.2 * lines)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    figure.suptitle(title, fontsize=12)
    sizes = [point.size for point in points]
    _draw_axis(left, points, SIZE_LABEL, sizes)
    _draw_axis(right, points, LATENCY_LABEL, [point.latency for point in points])
    _logarithmic(left, sorted({size for size in sizes if size}))
    _lines(left, points)
    right.set_xlim(left=0)
    left.set_ylabel(NDCG)
    figure.legend(
        handles=[_handle(point) for point in points],
        loc="outside right center",
        fontsize=9,
        frameon=False,
        handletextpad=0.2,
    )
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise OptionError("plot", f"{path} cannot be written ({error.strerror})") from error


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
    """Make the axis logarithmic, with a tick for each size if there are few."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())
    if 0 < len(sizes) <= MAX_TICKS:
        axis.xaxis.set_major_locator(FixedLocator(sizes))
        axis.xaxis.set_minor_locator(NullLocator())


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

    label = f"{point.letter}  {point.name}"
    return Line2D([], [], marker="o", linestyle="", color=COLOURS[point.mode], label=label)
