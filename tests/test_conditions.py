"""Any condition over any payloads selects on each store the points that Python selects."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
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
from ragctl.collection.payload import Payload, Point
from ragctl.errors import UsageError
from ragctl.stores.base import Batch, Collection
from ragctl.stores.conditions import moment
from ragctl.stores.edge import EdgeStore
from ragctl.stores.server import ServerStore
from tests.servers.qdrant import QdrantFacade
from tests.store_contract import SETTINGS, axis, ident

pytestmark = pytest.mark.slow

FIELDS = {"whole": "integer", "part": "float", "day": "datetime", "word": "keyword", "yes": "bool"}
TIMES = (
    "2024-01-31",
    "2024-01-31T12:00:00Z",
    "2024-01-31T12:00:00+03:00",
    "2024-01-31 12:00:00",
    "2024-01-31T12:00:00.250001Z",
    "1969-12-31T23:59:59Z",
    "2024-02-29",
)
INVALID_TIMES = ("", "2024", "31.01.2024", "2024-02-30", "2023-02-29", "noon", "12:00")
WORDS = ("", "a", "ab", "Ab", "a%", "a/b.md", "é", "e\u0301", "日本", "日")

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from((-2.5, 0.0, 0.5, 2.0, 1e300)),
    st.sampled_from((*TIMES, *INVALID_TIMES, *WORDS)),
)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.just({"in": 1}))
payloads = st.dictionaries(st.sampled_from((*FIELDS, "any", "other.in")), values, max_size=5)
keys = st.sampled_from([f"meta.{name}" for name in (*FIELDS, "any", "any.in", "none")])
matches = st.builds(
    Match,
    keys,
    st.lists(
        st.one_of(st.booleans(), st.integers(-3, 3), st.sampled_from((*WORDS, TIMES[0]))),
        max_size=3,
    ).map(tuple),
)


@st.composite
def ranges(draw: st.DrawFn) -> Between:
    bound: Any = draw(
        st.sampled_from((st.sampled_from((-2.5, -1, 0, 0.5, 2, 3)), st.sampled_from(TIMES)))
    )
    names = draw(st.sets(st.sampled_from(("gte", "gt", "lte", "lt")), min_size=1))
    return Between(draw(keys), **{name: draw(bound) for name in sorted(names)})


conditions: st.SearchStrategy[Condition] = st.recursive(
    st.one_of(
        matches,
        ranges(),
        st.builds(Has, keys),
        st.builds(Prefix, keys, st.sampled_from(WORDS)),
    ),
    lambda inner: st.builds(
        lambda kind, of: kind(tuple(of)),
        st.sampled_from((AnyOf, AllOf, NoneOf)),
        st.lists(inner, max_size=3),
    ),
    max_leaves=6,
)


def field_value(payload: Any, key: str) -> Any:
    for name in key.split("."):
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def parse_time(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text)) if text not in INVALID_TIMES else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)


def number(value: Any, kind: str | None) -> int | float | None:
    """Return a value as a number; in a field declared as integer only whole numbers match."""
    if kind == "integer" and isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**63 else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def within(between: Between, value: Any) -> bool:
    kind = FIELDS.get(between.key.removeprefix("meta."))
    bounds: list[Any] = [between.gte, between.gt, between.lte, between.lt]
    if any(isinstance(bound, str) for bound in bounds):
        bounds = [None if bound is None else parse_time(bound) for bound in bounds]
        value = parse_time(value) if isinstance(value, str) else None
        comparable = kind not in ("integer", "float")
    else:
        comparable = kind != "datetime"
        value = number(value, kind)
    gte, gt, lte, lt = bounds
    return (
        comparable
        and value is not None
        and (gte is None or value >= gte)
        and (gt is None or value > gt)
        and (lte is None or value <= lte)
        and (lt is None or value < lt)
    )


def holds(condition: Condition, payload: Payload) -> bool:
    match condition:
        case Match(key, expected_values):
            found = as_list(field_value(payload, key))
            if FIELDS.get(key.removeprefix("meta.")) == "integer":
                found = [number(a, "integer") if isinstance(a, float) else a for a in found]
            return any(type(a) is type(b) and a == b for a in found for b in expected_values)
        case Between():
            return any(
                within(condition, value) for value in as_list(field_value(payload, condition.key))
            )
        case Prefix(key, text):
            found = as_list(field_value(payload, key))
            return any(isinstance(value, str) and value.startswith(text) for value in found)
        case Has(key):
            return field_value(payload, key) not in (None, [])
        case HasId():
            raise AssertionError("ids are not in a payload")
        case AnyOf(of):
            return any(holds(each, payload) for each in of)
        case AllOf(of):
            return all(holds(each, payload) for each in of)
        case NoneOf(of):
            return not any(holds(each, payload) for each in of)


@pytest.fixture(scope="module", params=["edge", "1.12.0", "1.19.0"])
def collection(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collection]:
    folder = tmp_path_factory.mktemp("conditions")
    made_with = replace(SETTINGS, fields=FIELDS)
    if request.param == "edge":
        made = EdgeStore(folder).create("docs", made_with)
        yield made
        made.close()
        return
    with QdrantFacade(version=request.param) as facade:
        store = ServerStore(facade.url, state=folder)
        yield store.create("docs", made_with)
        store.close()


@settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    metadata=st.lists(payloads, min_size=1, max_size=12),
    queried=st.lists(conditions, min_size=1, max_size=6),
)
def test_conditions_select_what_python_selects(
    collection: Collection, metadata: list[dict[str, Any]], queried: list[Condition]
) -> None:
    bodies: list[Payload] = [{"source": "s", "meta": meta} for meta in metadata]
    points = [Point(ident(n), body, axis(n)) for n, body in enumerate(bodies)]
    unused_ids = [ident(n) for n in range(len(points), 12)]
    collection.apply(Batch(upserts=points, deletes=unused_ids))
    for condition in queried:
        expected = {ident(n) for n, body in enumerate(bodies) if holds(condition, body)}
        assert {point.id for point in collection.scroll((condition,))} == expected
    both = {ident(n) for n, body in enumerate(bodies) if all(holds(c, body) for c in queried)}
    assert collection.count(tuple(queried)) == len(both)


def test_moment_normalises_dates_and_times() -> None:
    assert moment("2026-01-31") == "2026-01-31T00:00:00Z"
    assert moment(" 2026-01-31T01:30:00+03:00 ") == "2026-01-30T22:30:00Z"
    assert moment("2026-01-31 12:00:00.5") == "2026-01-31T12:00:00.500000Z"
    for invalid in ("", "2026-02-30", "tomorrow", "0001-01-01T00:00:00+23:00", "\x1b[31m"):
        with pytest.raises(UsageError, match="not a date or time; write 2026-01-31"):
            moment(invalid)
