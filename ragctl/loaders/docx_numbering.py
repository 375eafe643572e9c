"""The numbers of lists and headings as Word shows them (ECMA-376, part 1, section 17.9)."""

import re
from dataclasses import dataclass
from typing import Any

from ragctl.loaders.docx_xml import W, is_on, number, value
from ragctl.loaders.numerals import numeral

MAX_LEVELS = 9
_PLACE = re.compile("%([1-9])")


@dataclass(frozen=True, slots=True)
class _Level:
    start: int
    form: str  # "decimal", "bullet" …
    text: str  # "Article %1."
    restart: int | None  # the level whose number restarts this one, counted from 1; 0: none
    legal: bool  # all numbers of the text are decimal
    style: str | None


class Numbering:
    """The counters of all lists. Each call of `marker` counts one paragraph."""

    def __init__(self, root: Any, list_styles: dict[str, str]) -> None:
        """Read w:numbering; None if there is none. `list_styles`: style id to list id."""
        self._lists: dict[str, tuple[str, dict[int, _Level], dict[int, int]]] = {}
        self._counts: dict[str, dict[int, int]] = {}  # by definition and level
        self._started: set[tuple[str, int]] = set()
        if root is not None:
            self._read(root, list_styles)

    def level_of_style(self, list_id: str, style: str | None) -> int:
        """Return the level that belongs to a paragraph style; 0 if none does."""
        levels = self._lists.get(list_id, ("", {}, {}))[1]
        return next((n for n, level in levels.items() if style and level.style == style), 0)

    def marker(self, list_id: str, depth: int) -> str:
        """Return the next number of a list: "Article 5.", "a)"; "-" for a bullet, "" for none."""
        if list_id not in self._lists:
            return "-"
        definition, levels, starts = self._lists[list_id]
        level = levels.get(depth)
        if level is None:
            return "-"
        counts = self._counts.setdefault(definition, {})
        for at, start in starts.items():
            if at == depth and (list_id, at) not in self._started:
                counts[at] = start - 1
                self._started.add((list_id, at))
        counts[depth] = counts.get(depth, level.start - 1) + 1
        for deeper in [at for at in counts if at > depth]:
            restart = levels[deeper].restart if deeper in levels else None
            if restart is None or depth < restart:
                del counts[deeper]
        if level.form == "bullet":
            return "-"

        def shown(match: re.Match[str]) -> str:
            at = int(match[1]) - 1
            other = levels.get(at)
            count = counts.get(at, other.start if other else 1)
            if other is None or other.form == "none":
                return "" if other else str(count)
            return numeral(count, "decimal" if level.legal else other.form)

        return " ".join(_PLACE.sub(shown, level.text).split())

    def _read(self, root: Any, list_styles: dict[str, str]) -> None:
        definitions = {
            each.get(W + "abstractNumId"): each for each in root.iterchildren(W + "abstractNum")
        }
        numbers = {each.get(W + "numId"): each for each in root.iterchildren(W + "num")}
        for list_id, each in numbers.items():
            key = value(each, "abstractNumId")
            linked = value(definitions.get(key), "numStyleLink")
            if linked is not None and (target := list_styles.get(linked)) in numbers:
                key = value(numbers[target], "abstractNumId")
            definition = definitions.get(key)
            if list_id is None or key is None or definition is None:
                continue
            levels = dict(_levels(definition))
            starts: dict[int, int] = {}
            own = key
            for override in each.iterchildren(W + "lvlOverride"):
                at = override.get(W + "ilvl", "")
                if at.isdecimal() and value(override, "startOverride") is not None:
                    starts[int(at)] = number(override, "startOverride", 1)
                if changed := dict(_levels(override)):
                    levels |= changed
            self._lists[list_id] = own, levels, starts


def _levels(container: Any) -> list[tuple[int, _Level]]:
    result = []
    for element in container.iterchildren(W + "lvl"):
        depth = element.get(W + "ilvl", "")
        if depth.isdecimal() and int(depth) < MAX_LEVELS:
            form = value(element, "numFmt") or "decimal"
            restart = number(element, "lvlRestart", -1)
            level = _Level(
                number(element, "start", 0),
                form,
                value(element, "lvlText") or "",
                None if restart < 0 else restart,
                is_on(element, "isLgl"),
                value(element, "pStyle"),
            )
            result.append((int(depth), level))
    return result
