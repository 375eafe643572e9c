"""Writes the long sample document, a fault code reference, from fixed lists and a fixed seed.

One section per component and fault. Numbers, order and field notes are drawn from a seeded
generator, so that every section is distinct and a rerun writes the same bytes.
"""

import itertools
import random
import tomllib
from pathlib import Path
from typing import Any

FACTS = Path(__file__).parent / "sources" / "faults.toml"
SEED = 20240117


def render() -> str:
    """Return the whole reference as Markdown, about 400 KB."""
    facts = tomllib.loads(FACTS.read_text(encoding="utf-8"))
    rng = random.Random(SEED)
    scenes = list(itertools.product(facts["buildings"], facts["occasions"]))
    rng.shuffle(scenes)
    parts = [facts["intro"].strip()]
    for family in facts["family"]:
        parts.append(f"## {family['letter']} codes: {family['title'].lower()}\n\n{family['about']}")
        for row, (name, place) in enumerate(family["components"], start=1):
            parts.append(_component(family, row, name, place))
            for column, fault in enumerate(family["fault"], start=1):
                code = f"{family['letter']}{row:02}{column}"
                plug = f"X{row + 10 * (ord(family['letter']) % 7)}"
                parts.append(_section(facts, fault, code, name, plug, scenes.pop(), rng))
    return "\n\n".join(parts) + "\n"


def _component(family: dict[str, Any], row: int, name: str, place: str) -> str:
    first = f"{family['letter']}{row:02}1"
    last = f"{family['letter']}{row:02}{len(family['fault'])}"
    return f"### {_capital(name)}\n\nCodes {first} to {last}. The {name} sits {place}."


def _section(
    facts: dict[str, Any],
    fault: dict[str, Any],
    code: str,
    name: str,
    plug: str,
    scene: tuple[str, str],
    rng: random.Random,
) -> str:
    numbers: dict[str, object] = {
        key: rng.randint(*fault[key]) for key in ("a", "b") if key in fault
    }
    fields: dict[str, object] = {"name": f"the {name}", "plug": plug, **numbers}
    reset = rng.choice(facts["resets"]).format(
        a=rng.randint(4, 59), b=rng.randint(2, 6), c=rng.randint(31, 400)
    )
    causes = rng.sample(fault["causes"], k=len(fault["causes"]))
    action = rng.choice(
        [
            f"Operation continues at {rng.randint(45, 95)} per cent of the rated output.",
            f"The unit stops, and the owner is notified after {rng.randint(2, 90)} minutes.",
            f"Heating goes on, but hot water is limited to {rng.randint(38, 49)} °C.",
            f"The compressor is held at {rng.randint(20, 60)} hertz until the fault is cleared.",
            f"The backup heater takes over after {rng.randint(5, 120)} minutes if it is enabled.",
        ]
    )
    building, occasion = scene
    lines = [
        f"#### {code} {_capital(name)}: {fault['title']}",
        "",
        f"{_capital(fault['meaning'].format(**fields))} {action}",
        "",
        rng.choice(facts["causes_intro"]),
        "",
        *(f"- {cause.format(**fields)}" for cause in causes),
        "",
        f"**Check.** {fault['check'].format(**fields)} Allow {rng.randint(6, 85)} minutes for the "
        f"work; {rng.choice(['one person is enough', 'two people are needed'])}.",
        "",
        f"**Remedy.** {fault['remedy'].format(**fields)} {reset}",
        "",
        f"**Field note.** The code came up in {building} {occasion}: "
        f"{rng.choice(facts['findings'])}. {rng.choice(facts['outcomes'])}",
        "",
        *_snapshot(rng),
        "",
        f"Weight in the reliability statistics: {rng.randint(1, 400) / 100:.2f} cases per 1,000 "
        f"units and year; spare part lead time {rng.randint(2, 21)} days.",
    ]
    return "\n".join(lines)


def _snapshot(rng: random.Random) -> list[str]:
    """Return the table of values stored with a typical case."""
    return [
        "| Stored with the code | Typical case |",
        "|---|---|",
        f"| outdoor temperature | {rng.randint(-24, 38)} °C |",
        f"| hours since the last start | {rng.randint(1, 9000) / 10:.1f} |",
        f"| supply voltage | {rng.randint(2070, 2530) / 10:.1f} V |",
        f"| service menu | {rng.choice('ABCD')} > {rng.randint(1, 9)} > {rng.randint(1, 40)} |",
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
