"""`--where`: conditions on the payload, as text.

    team=ops                        equal; without quotes a number or true/false is that as well
    team!=ops                       not equal, or not there
    year>=2024  date<2025-01-31     numbers; dates and times (RFC 3339). A day is the whole day
    year in (2024, 2025)            one of them;  year not in (…)
    source^=en/                     begins with
    has(team)                       there, and neither null nor empty
    not …   … and …   … or …   ( … )

A key is a user's field (under `meta`), or one of ragctl's own (FILTERABLE_FIELDS). A text of
several words, or with one of ( ) , " in it, stands in quotes: title="A and B", where \\" is a
quote.
A condition that is key=value alone takes all that follows as its value.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from ragctl.collection.conditions import (
    AllOf,
    AnyOf,
    Between,
    Condition,
    Has,
    Match,
    NoneOf,
    Prefix,
    Where,
)
from ragctl.collection.payload import FILTERABLE_FIELDS
from ragctl.collection.settings import META_PREFIX
from ragctl.errors import UsageError

Value = str | int | bool

_INTEGER = re.compile(r"-?\d{1,18}")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_KEY = r"[\w.-]+"
_PLAIN = re.compile(rf"\s*({_KEY})\s*=(?!\s*\")(.*)", re.DOTALL)
_ONWARD = re.compile(  # the beginning of another condition
    rf"\s(?:and|or)\s*(?:$|\s(?:not\s+|\(\s*)*"
    rf"(?:has\s*\(|{_KEY}\s*(?:!=|\^=|[<>]=?|=)|{_KEY}\s+(?:not\s+)?in\s*\())"
)
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*")
      | (?P<open>\() | (?P<close>\)) | (?P<comma>,)
      | (?P<op>!=|\^=|>=|<=|=|>|<)
      | (?P<word>(?:(?!\^=|!=)[^\s()",=<>])+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_DEPTH = 50  # of parentheses and nots


def parse_where(conditions: str | Sequence[str]) -> Where:
    """Conditions as text, all of which must hold. Raises UsageError with the place.

    Several of the plain form key=value on one key are alternatives.
    """
    if isinstance(conditions, str):
        conditions = [conditions]
    plain: dict[str, list[Value]] = {}
    others: list[Condition] = []
    for condition in conditions:
        found = _PLAIN.fullmatch(condition)
        if found and not _ONWARD.search(found[2]):
            plain.setdefault(payload_key(found[1]), []).extend(_readings(found[2]))
        else:
            others.append(_Parser(condition).whole())
    return (*(_equal(key, values) for key, values in plain.items()), *others)


def payload_key(name: str) -> str:
    """Where a field that a condition names stands in the payload."""
    return (
        name
        if name in FILTERABLE_FIELDS or name.startswith(META_PREFIX)
        else f"{META_PREFIX}{name}"
    )


def keys(where: Iterable[Condition]) -> set[str]:
    """The payload fields that conditions read."""
    found: set[str] = set()
    for condition in where:
        if isinstance(condition, AnyOf | AllOf | NoneOf):
            found |= keys(condition.of)
        else:
            found.add(condition.key)
    return found


def undeclared(where: Iterable[Condition], fields: Iterable[str]) -> list[str]:
    """A user's fields that conditions read and the collection has no index for."""
    declared = {payload_key(name) for name in fields}
    read = {key for key in keys(where) if key.startswith(META_PREFIX)}
    return sorted(key.removeprefix(META_PREFIX) for key in read - declared)


def _readings(text: str) -> list[Value]:
    """What an unquoted value may be in the payload: fields of JSONL keep their types."""
    values: list[Value] = [text]
    if _INTEGER.fullmatch(text):
        values.append(int(text))
    if text in ("true", "false"):
        values.append(text == "true")
    return values


def _equal(key: str, values: Sequence[Value]) -> Condition:
    """Equal to one of these; a text that reads as a broken number matches that number too."""
    match = Match(key, tuple(dict.fromkeys(values)) if _simple(values) else tuple(values))
    broken = [
        float(value)
        for value in values
        if isinstance(value, str) and _NUMBER.fullmatch(value) and not _INTEGER.fullmatch(value)
    ]
    if not broken:
        return match
    return AnyOf((match, *(Between(key, gte=number, lte=number) for number in broken)))


def _simple(values: Sequence[Value]) -> bool:
    """Whether equality tells them apart: True equals 1."""
    return not any(isinstance(value, bool) for value in values)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # a group of _TOKEN, or "end"
    text: str
    at: int

    @property
    def value(self) -> str:
        """A quoted text without its quotes."""
        return re.sub(r"\\(.)", r"\1", self.text[1:-1], flags=re.DOTALL)


class _Parser:
    """One expression, by recursive descent: or, and, not, and what stands alone."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._cut())
        self._next = 0
        self._depth = 0

    def whole(self) -> Condition:
        found = self._any()
        if self._token.kind == "close":
            self._wrong("no parenthesis is open here")
        if self._token.kind != "end":
            self._wrong(
                f"{self._token.text!r} was not expected; write and, or, or put a text of several "
                "words in double quotes"
            )
        return found

    def _cut(self) -> Iterable[_Token]:
        at = 0
        end = len(self._text.rstrip())
        while at < end:
            found = _TOKEN.match(self._text, at)
            if found is None:
                at += len(self._text[at:]) - len(self._text[at:].lstrip())
                what = "the quote does not end" if self._text[at] == '"' else "not understood"
                raise self._error(at, what)
            kind = str(found.lastgroup)
            yield _Token(kind, found[kind], found.start(kind))
            at = found.end()
        yield _Token("end", "", end)

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._token
        self._next += token.kind != "end"
        return token

    def _is(self, word: str, ahead: int = 0) -> bool:
        """Whether a word that joins conditions comes next."""
        at = min(self._next + ahead, len(self._tokens) - 1)
        token = self._tokens[at]
        return token.kind == "word" and token.text.lower() == word

    def _any(self) -> Condition:
        of = [self._all()]
        while self._is("or"):
            self._take()
            of.append(self._all())
        return of[0] if len(of) == 1 else AnyOf(tuple(of))

    def _all(self) -> Condition:
        of = [self._one()]
        while self._is("and"):
            self._take()
            of.append(self._one())
        return of[0] if len(of) == 1 else AllOf(tuple(of))

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > _DEPTH:
            self._wrong(f"nested deeper than {_DEPTH}")
        try:
            if self._is("not") and not self._compares():
                self._take()
                return NoneOf((self._one(),))
            if self._token.kind == "open":
                self._take()
                found = self._any()
                self._expect("close", "a closing parenthesis is missing")
                return found
            return self._alone()
        finally:
            self._depth -= 1

    def _compares(self) -> bool:
        """Whether the word that comes next is a key."""
        return self._tokens[min(self._next + 1, len(self._tokens) - 1)].kind == "op"

    def _alone(self) -> Condition:
        if self._is("has") and self._tokens[self._next + 1].kind == "open":
            self._take()
            self._take()
            key = self._key()
            self._expect("close", "a closing parenthesis is missing after has(")
            return Has(key)
        key = self._key()
        if self._is("not") and self._is("in", 1):
            self._take()
            self._take()
            return NoneOf((self._among(key),))
        if self._is("in"):
            self._take()
            return self._among(key)
        if self._token.kind != "op":
            self._wrong("a comparison is missing: =, !=, <, <=, >, >=, ^=, in (…)")
        return self._compared(key, self._take().text)

    def _key(self) -> str:
        token = self._token
        if token.kind != "word":
            self._wrong("a field's name is missing")
        if not re.fullmatch(_KEY, token.text):
            self._wrong(f"{token.text!r}: a field's name has letters, digits, '.', '_', '-'")
        return payload_key(self._take().text)

    def _among(self, key: str) -> Condition:
        self._expect("open", "write in (first, second)")
        values = self._value_readings()
        while self._token.kind == "comma":
            self._take()
            values += self._value_readings()
        self._expect("close", "a comma or a closing parenthesis is missing")
        return _equal(key, values)

    def _value_readings(self) -> list[Value]:
        token = self._value()
        return [token.value] if token.kind == "text" else _readings(token.text)

    def _value(self) -> _Token:
        if self._token.kind not in ("word", "text"):
            self._wrong("a value is missing")
        token = self._take()
        return token if token.kind == "text" else self._glued(token)

    def _glued(self, first: _Token) -> _Token:
        """A value with all that follows without a blank: url=http://host?a=b."""
        end = first.at + len(first.text)
        while self._token.kind in ("op", "word") and self._token.at == end:
            end += len(self._take().text)
        return _Token("word", self._text[first.at : end], first.at)

    def _compared(self, key: str, operator: str) -> Condition:
        token = self._token
        if operator in ("=", "!="):
            equal = _equal(key, self._value_readings())
            return equal if operator == "=" else NoneOf((equal,))
        value = self._value()
        text = value.value if value.kind == "text" else value.text
        if operator == "^=":
            return Prefix(key, text)
        number = float(text) if value.kind == "word" and _NUMBER.fullmatch(text) else math.inf
        if math.isfinite(number):
            return _range(key, operator, number)
        try:
            return _times(key, operator, text)
        except (ValueError, OverflowError):
            raise self._error(
                token.at, f"{text!r} is no number and no date; {operator} compares those"
            ) from None

    def _expect(self, kind: str, missing: str) -> None:
        if self._token.kind != kind:
            self._wrong(missing)
        self._take()

    def _wrong(self, problem: str) -> NoReturn:
        raise self._error(self._token.at, problem)

    def _error(self, at: int, problem: str) -> UsageError:
        where = "at its end" if at >= len(self._text.rstrip()) else f"character {at + 1}"
        return UsageError(f"--where {self._text!r}, {where}: {problem}")


_BOUND = {">=": "gte", ">": "gt", "<=": "lte", "<": "lt"}


def _range(key: str, operator: str, value: float | str) -> Between:
    return Between(key, **{_BOUND[operator]: value})


def _times(key: str, operator: str, text: str) -> Between:
    """A comparison with a moment or a whole day; without a zone: UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if _DAY.fullmatch(text) and operator in ("<=", ">"):
        # Of a day all of it: what is later begins with the next one.
        operator, moment = ("<" if operator == "<=" else ">="), moment + timedelta(days=1)
    return _range(key, operator, moment.isoformat().replace("+00:00", "Z"))
