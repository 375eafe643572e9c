"""Conditions as text: their meaning, the plain form, and the position of errors."""

import operator as operators
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragctl.collection.conditions import (
    AllOf,
    AnyOf,
    Between,
    Condition,
    Has,
    HasId,
    Match,
    NoneOf,
    Prefix,
)
from ragctl.errors import UsageError
from ragctl.search.where import parse_where

Payload = dict[str, Any]
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


def field_values(payload: Payload, key: str) -> list[Any]:
    """Return the values of a field."""
    found: Any = payload
    for step in key.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return [] if found is None else found if isinstance(found, list) else [found]


def parse_time(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def equal_with_type(value: Any, expected: Any) -> bool:
    return type(value) is type(expected) and bool(value == expected)


def in_bounds(value: Any, bounds: Between) -> bool:
    for bound, compare in (
        (bounds.gte, COMPARE[">="]),
        (bounds.gt, COMPARE[">"]),
        (bounds.lte, COMPARE["<="]),
        (bounds.lt, COMPARE["<"]),
    ):
        if bound is None:
            continue
        if isinstance(bound, str):
            if parse_time(value) is None or not compare(parse_time(value), parse_time(bound)):
                return False
        elif isinstance(value, bool | str) or not compare(value, bound):
            return False
    return True


def matches(condition: Condition, payload: Payload) -> bool:
    """Return whether a store must find the payload."""
    match condition:
        case AllOf(of):
            return all(matches(one, payload) for one in of)
        case AnyOf(of):
            return any(matches(one, payload) for one in of)
        case NoneOf(of):
            return not any(matches(one, payload) for one in of)
        case Has(key):
            return bool(field_values(payload, key))
        case HasId():
            raise AssertionError("no expression makes this condition")
        case Prefix(key, text):
            return any(
                isinstance(v, str) and v.startswith(text) for v in field_values(payload, key)
            )
        case Between(key):
            return any(in_bounds(value, condition) for value in field_values(payload, key))
        case Match(key, values):
            return any(equal_with_type(v, w) for v in field_values(payload, key) for w in values)


# Expressions, as text and as equivalent Python functions

WORDS = ("ops", "dev ops", "a and b", "not", "in", 'say "x"', "1", "true", "en/a.md", "x=y", "(")
NUMBERS = (-3, 0, 1, 2024, 2.5)
DAYS = ("2024-12-31", "2025-01-31", "2025-02-01")
FIELDS = ("team", "year", "day", "tags")


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


values = st.one_of(st.sampled_from(WORDS), st.sampled_from(NUMBERS), st.booleans())
payloads = st.fixed_dictionaries(
    {},
    optional={
        "team": values,
        "year": st.sampled_from(NUMBERS),
        "day": st.sampled_from([*DAYS, "2025-01-31T12:00:00Z", "no day"]),
        "tags": st.lists(values, max_size=3),
    },
).map(lambda meta: {"meta": meta})

Expression = tuple[str, Any]  # the text, and an equivalent function of the payload


def single_comparison(draw: Any) -> Expression:
    field = draw(st.sampled_from(FIELDS))
    kind = draw(st.sampled_from(("equal", "in", "has", "prefix", "number", "day")))
    key = f"meta.{field}"
    if kind in ("equal", "in"):
        words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
        words = words[:1] if kind == "equal" else words
        negative = draw(st.booleans())
        texts = [quoted(one) for one in words]
        text = (
            f"{field} {'!=' if negative else '='} {texts[0]}"
            if kind == "equal"
            else f"{field} {'not in' if negative else 'IN'} ({', '.join(texts)})"
        )
        return (
            text,
            lambda p: any(v in words for v in field_values(p, key) if type(v) is str) != negative,
        )
    if kind == "has":
        return f"has( {field} )", lambda p: bool(field_values(p, key))
    if kind == "prefix":
        start = draw(st.sampled_from(("", "a", "en/", "dev")))
        return f"{field}^={quoted(start)}", lambda p: any(
            isinstance(v, str) and v.startswith(start) for v in field_values(p, key)
        )
    operator = draw(st.sampled_from(("<", "<=", ">", ">=")))
    compare = COMPARE[operator]
    if kind == "number":
        bound = draw(st.sampled_from(NUMBERS))
        return f"{field}{operator}{bound}", lambda p: any(
            compare(v, bound) for v in field_values(p, key) if type(v) in (int, float)
        )
    day = draw(st.sampled_from(DAYS))
    # A comparison with a day applies to the whole day.
    return f"{field} {operator} {day}", lambda p: any(
        compare(moment.date().isoformat(), day)
        for v in field_values(p, key)
        if (moment := parse_time(v)) is not None
    )


@st.composite
def expressions(draw: Any, depth: int = 3) -> Expression:
    kind = draw(st.sampled_from(("single_comparison", "not", "and", "or", "parentheses")))
    if depth == 0 or kind == "single_comparison":
        return single_comparison(draw)
    text, one = draw(expressions(depth - 1))
    if kind == "not":
        return f"not ({text})", lambda p: not one(p)
    if kind == "parentheses":
        return f"({text})", one
    other_text, other = draw(expressions(depth - 1))
    if kind == "and":
        return f"({text}) and ({other_text})", lambda p: one(p) and other(p)
    return f"({text}) OR ({other_text})", lambda p: one(p) or other(p)


@given(expressions(), payloads)
def test_an_expression_selects_what_python_selects(
    expression: Expression, payload: Payload
) -> None:
    text, expected = expression
    assert all(matches(one, payload) for one in parse_where(text)) == expected(payload)


def test_and_binds_stronger_than_or() -> None:
    (found,) = parse_where("a=1 or b=2 and not c=3 or d=4")
    assert isinstance(found, AnyOf)
    assert [type(one) for one in found.of] == [Match, AllOf, Match]


# The plain form


@given(st.text().filter(lambda text: "and" not in text and "or" not in text))
@example("Annual report and plan")
@example(" with blanks ")
@example("f(x), 'y' >= 3")
@example("http://host/?a=b&c=d")
def test_a_plain_condition_takes_the_rest_as_its_value(value: str) -> None:
    if value.lstrip().startswith('"'):
        return
    (found,) = parse_where([f" team ={value}"])
    match = found.of[0] if isinstance(found, AnyOf) else found
    assert isinstance(match, Match)
    assert (match.key, match.values[0]) == ("meta.team", value)


def test_plain_conditions_on_one_key_are_alternatives() -> None:
    assert parse_where(["year=2024", "team=ops", "year=2025", "open=true"]) == (
        Match("meta.year", ("2024", 2024, "2025", 2025)),
        Match("meta.team", ("ops",)),
        Match("meta.open", ("true", True)),
    )
    assert parse_where(["source=a.md", "meta.source=b"]) == (
        Match("source", ("a.md",)),
        Match("meta.source", ("b",)),
    )
    assert parse_where(()) == ()


def test_a_quoted_value_matches_only_text() -> None:
    assert parse_where('year="2024"') == (Match("meta.year", ("2024",)),)
    assert parse_where('t="a \\"b\\" \\\\"') == (Match("meta.t", ('a "b" \\',)),)


def test_fractions_also_match_numbers() -> None:
    (found,) = parse_where("ratio=0.5")
    assert found == AnyOf((Match("meta.ratio", ("0.5",)), Between("meta.ratio", gte=0.5, lte=0.5)))


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("novalue", "at its end", "a comparison is missing (operators: = != < <= > >= ^= in (…) "),
        ("", "at its end", "name is missing"),
        ("year>=", "at its end", "a value is missing"),
        ("team=ops and", "at its end", "name is missing"),
        ("(team=ops", "at its end", "closing parenthesis is missing"),
        ("(team=ops))", "character 11", "no parenthesis is open"),
        ("year in 2024", "character 9", "write in"),
        ("year in (1 2)", "character 12", "a comma or a closing"),
        ("title>abc", "character 7", "'abc' is not a number or a date, which > needs"),
        ("x>1e999", "character 3", "not a number"),
        ("d<=9999-12-31", "character 4", "not a number or a date"),
        ('t="abc', "character 3", "the quote does not end"),
        ("has(team", "at its end", "after has("),
        ("team=a b and year=2", "character 8", "in double quotes"),
        ("a!b>1", "character 1", "letters, digits"),
        ("(" * 60 + "a=1", "character 51", "nested deeper"),
    ],
)
def test_an_error_has_position_and_reason(text: str, where: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_where(text)
    message = str(caught.value)
    assert f"{where}: " in message
    assert problem in message.partition(f"{where}: ")[2]
    assert "\n" not in message


@given(st.text(alphabet='ab=!<>^()", \\andornthsi1.-', max_size=30))
def test_any_text_is_parsed_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):  # no other error
        parse_where(text)
