"""Quality against bytes a vector and against latency: as text, or as a picture by matplotlib."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log10
from pathlib import Path
from typing import Any

from ragctl.errors import UsageError
from ragctl.evaluate.measures import NDCG, check_extra, mean
from ragctl.evaluate.report import letters, name_of, search_latency
from ragctl.evaluate.sweep import ALL, Evaluation

_COLOURS = {"hybrid": "#1f5fa8", "dense": "#c4561a", "sparse": "#3b7d3b"}
_SIZE, _LATENCY = "bytes of a dense vector (logarithmic)", "search, p50 in ms"
_TICKS = 8
_WIDTH, _HEIGHT = 64, 12  # characters of the plane
SUFFIXES = (".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True)
class Spot:
    letter: str
    name: str
    quality: float
    size: float | None  # bytes
    latency: float | None  # milliseconds
    mode: str
    kind: str  # all but the dimension: a line goes through those that are alike in it


def spots(evaluation: Evaluation) -> list[Spot]:
    """A point of the plots for each setting."""
    return [
        Spot(
            letter,
            name_of(result),
            mean(result.scores[NDCG], evaluation.groups[ALL]),
            None if result.size is None else float(result.size),
            search_latency(result).p50,
            result.setting.mode,
            f"{result.setting.mode} {replace(result.setting, dim=None)}",
        )
        for letter, result in zip(letters(), evaluation.results, strict=False)
    ]


def check_file(path: Path) -> None:
    """Raise UsageError where no picture could be written to `path`."""
    check_extra("matplotlib")
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--plot {path}: a name that ends in {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--plot {path}: there is no such folder")


def as_text(points: Sequence[Spot]) -> str:
    """Both planes in characters, for a terminal or a pipe."""
    planes = [
        _plane([(s.letter, s.size, s.quality) for s in points], _SIZE, logarithmic=True),
        _plane([(s.letter, s.latency, s.quality) for s in points], _LATENCY, logarithmic=False),
    ]
    return "\n\n".join(plane for plane in planes if plane)


def _plane(
    points: Sequence[tuple[str, float | None, float]], label: str, *, logarithmic: bool
) -> str:
    """Letters on a plane; `*` where several fall together, said below. "" without a point."""
    if logarithmic and len({x for _, x, _ in points}) < 2:  # of one size: nothing to see
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
        column = round((x - left) / (right - left) * (_WIDTH - 1))
        row = round((high - y) / (high - low) * (_HEIGHT - 1))
        cells[row, column] = cells.get((row, column), "") + letter
    lines = [f"{NDCG} against {label}"]
    for row in range(_HEIGHT):
        value = high - (high - low) * row / (_HEIGHT - 1)
        marks = (cells.get((row, column), " ") for column in range(_WIDTH))
        plane = "".join(mark if len(mark) == 1 else "*" for mark in marks)
        lines.append(f"{value:6.3f} |{plane}".rstrip())
    ends = [_number(10**end if logarithmic else end) for end in (left, right)]
    lines.append(" " * 7 + "+" + "-" * _WIDTH)
    lines.append(" " * 8 + ends[0] + ends[1].rjust(_WIDTH - len(ends[0])))
    together = [", ".join(cell) for cell in cells.values() if len(cell) > 1]
    if together:
        lines.append(" " * 8 + "*: " + "; ".join(together))
    return "\n".join(lines)


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest, a little apart where they are one."""
    low, high = min(values), max(values)
    return (low, high) if high - low > 1e-6 else (low - 0.01, high + 0.01)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw(points: Sequence[Spot], path: Path, title: str) -> None:
    """Both planes as a picture; the suffix says the format. Raises UsageError."""
    check_file(path)
    from matplotlib.figure import Figure

    lines = max(len(points), 12)
    figure = Figure(figsize=(13, max(5.5, 0.2 * lines)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    figure.suptitle(title, fontsize=12)
    sizes = [spot.size for spot in points]
    _side(left, points, _SIZE, sizes)
    _side(right, points, _LATENCY, [spot.latency for spot in points])
    _logarithmic(left, sorted({size for size in sizes if size}))
    _lines(left, points)
    right.set_xlim(left=0)
    left.set_ylabel(NDCG)
    figure.legend(
        handles=[_handle(spot) for spot in points],
        loc="outside right center",
        fontsize=9,
        frameon=False,
        handletextpad=0.2,
    )
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UsageError(f"--plot {path}: cannot be written ({error.strerror})") from error


def _side(axis: Any, points: Sequence[Spot], label: str, places: Sequence[float | None]) -> None:
    """One plane: a letter a setting; what has no place is a level."""
    axis.set_xlabel(label)
    axis.grid(visible=True, which="major", linewidth=0.4, alpha=0.6)
    for spot, place in zip(points, places, strict=True):
        colour = _COLOURS[spot.mode]
        if place is None:
            axis.axhline(spot.quality, color=colour, linestyle=":", linewidth=1)
            where, within, offset = (0.0, spot.quality), ("axes fraction", "data"), (3, 3)
        else:
            axis.plot([place], [spot.quality], "o", color=colour, markersize=5)
            where, within, offset = (place, spot.quality), ("data", "data"), (4, 4)
        axis.annotate(
            spot.letter,
            where,
            xycoords=within,
            textcoords="offset points",
            xytext=offset,
            color=colour,
        )


def _logarithmic(axis: Any, sizes: Sequence[float]) -> None:
    """Ticks where settings stand, if those are few."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())
    if 0 < len(sizes) <= _TICKS:
        axis.xaxis.set_major_locator(FixedLocator(sizes))
        axis.xaxis.set_minor_locator(NullLocator())


def _lines(axis: Any, points: Sequence[Spot]) -> None:
    """A line through the sizes of settings that are alike in all else."""
    kinds: dict[str, list[Spot]] = {}
    for spot in points:
        if spot.size is not None:
            kinds.setdefault(spot.kind, []).append(spot)
    for alike in kinds.values():
        line = sorted((spot.size or 0.0, spot.quality) for spot in alike)
        colour = _COLOURS[alike[0].mode]
        axis.plot(*zip(*line, strict=True), color=colour, linewidth=0.8, alpha=0.5)


def _handle(spot: Spot) -> Any:
    from matplotlib.lines import Line2D

    said = f"{spot.letter}  {spot.name}"
    return Line2D([], [], marker="o", linestyle="", color=_COLOURS[spot.mode], label=said)
