r"""Filters as text: the syntax of `where` and of the command's flag, parsed to conditions.

    team=ops                        equal; unquoted 7 or true matches the number or boolean too
    team!=ops                       not equal, or missing
    year>=2024  date<2025-01-31     numbers; dates and times (RFC 3339). A date is the whole day
    year in (2024, 2025)            one of them;  year not in (…)
    source^=handbook/en/            starts with
    has(team)                       present, and neither null nor empty
    not …   … and …   … or …   ( … )

A key is a field of the user's metadata (under `meta`) or one of ragctl's own
(`FILTERABLE_FIELDS`). A value of several words, or with one of ( ) , " in it, is quoted:
title="A and B", with \" for a quote. In a condition that is a single key=value, the rest of the
text is the value, without quotes.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn, TypeAlias

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
from ragctl.errors import OptionError

Value = str | int | bool
Filter: TypeAlias = str | Condition | Sequence[str | Condition]
"""Conditions as text ("team=ops and year>=2024") or as values; all must hold."""

_INTEGER = re.compile(r"-?\d{1,18}")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_KEY = r"[\w.-]+"
_PLAIN = re.compile(rf"\s*({_KEY})\s*=(?!\s*\")(.*)", re.DOTALL)
_NEXT_CONDITION = re.compile(  # "and" or "or", followed by the start of another condition
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
OPERATORS = "= != < <= > >= ^= in (…) not in (…) has(…); and, or, not"
MAX_DEPTH = 50  # nested parentheses and nots


def parse_filter(where: Filter) -> Where:
    """Return the conditions of a filter. Raises OptionError for text that cannot be parsed."""
    parts = (where,) if isinstance(where, str | Condition) else tuple(where)
    texts = [part for part in parts if isinstance(part, str)]
    return (*parse_where(texts), *(part for part in parts if not isinstance(part, str)))


def parse_where(conditions: str | Sequence[str]) -> Where:
    """Parse conditions, all of which must hold. Raises OptionError with the position.

    Several conditions of the plain form key=value on one key are alternatives.
    """
    if isinstance(conditions, str):
        conditions = [conditions]
    plain: dict[str, list[Value]] = {}
    others: list[Condition] = []
    for condition in conditions:
        match = _PLAIN.fullmatch(condition)
        if match and not _NEXT_CONDITION.search(match[2]):
            plain.setdefault(payload_key(match[1]), []).extend(_possible_values(match[2]))
        else:
            others.append(_Parser(condition).parse())
    return (*(_equal(key, values) for key, values in plain.items()), *others)


def payload_key(name: str) -> str:
    """Return the payload key of a field that a condition names."""
    own = name in FILTERABLE_FIELDS or name.startswith(META_PREFIX)
    return name if own else f"{META_PREFIX}{name}"


def _possible_values(text: str) -> list[Value]:
    """Return what an unquoted value may be in the payload: fields of JSONL keep their types."""
    values: list[Value] = [text]
    if _INTEGER.fullmatch(text):
        values.append(int(text))
    if text in ("true", "false"):
        values.append(text == "true")
    return values


def _equal(key: str, values: Sequence[Value]) -> Condition:
    """Return "equal to one of these"; text such as "0.5" matches the number too."""
    # Not with booleans: True equals 1, and would be lost as a duplicate.
    has_booleans = any(isinstance(value, bool) for value in values)
    match = Match(key, tuple(values) if has_booleans else tuple(dict.fromkeys(values)))
    fractions = [
        float(value)
        for value in values
        if isinstance(value, str) and _NUMBER.fullmatch(value) and not _INTEGER.fullmatch(value)
    ]
    if not fractions:
        return match
    return AnyOf((match, *(Between(key, gte=number, lte=number) for number in fractions)))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # a group of _TOKEN, or "end"
    text: str
    position: int  # of the first character

    @property
    def value(self) -> str:
        """The text of a quoted value."""
        return re.sub(r"\\(.)", r"\1", self.text[1:-1], flags=re.DOTALL)


class _Parser:
    """Recursive-descent parser of one expression: or, and, not, comparison."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._tokenize())
        self._next = 0
        self._depth = 0

    def parse(self) -> Condition:
        """Return the condition. Raises OptionError."""
        condition = self._or()
        if self._token.kind == "close":
            self._fail("no parenthesis is open here")
        if self._token.kind != "end":
            self._fail(
                f"unexpected {self._token.text!r}; write and, or, or put a value of several words "
                "in double quotes"
            )
        return condition

    def _tokenize(self) -> Iterable[_Token]:
        position = 0
        end = len(self._text.rstrip())
        while position < end:
            match = _TOKEN.match(self._text, position)
            if match is None:
                rest = self._text[position:]
                position += len(rest) - len(rest.lstrip())
                quoted = self._text[position] == '"'
                raise self._error(position, "the quote does not end" if quoted else "syntax error")
            kind = str(match.lastgroup)
            yield _Token(kind, match[kind], match.start(kind))
            position = match.end()
        yield _Token("end", "", end)

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._token
        self._next += token.kind != "end"
        return token

    def _is_word(self, word: str, ahead: int = 0) -> bool:
        """Return whether the next token (or the one `ahead` of it) is this word, in any case."""
        token = self._peek(ahead)
        return token.kind == "word" and token.text.lower() == word

    def _peek(self, ahead: int) -> _Token:
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def _or(self) -> Condition:
        parts = [self._and()]
        while self._is_word("or"):
            self._take()
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _and(self) -> Condition:
        parts = [self._not()]
        while self._is_word("and"):
            self._take()
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _not(self) -> Condition:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"nested deeper than {MAX_DEPTH}")
        try:
            if self._is_word("not") and self._peek(1).kind != "op":  # else a field named "not"
                self._take()
                return NoneOf((self._not(),))
            if self._token.kind == "open":
                self._take()
                condition = self._or()
                self._expect("close", "a closing parenthesis is missing")
                return condition
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Condition:
        if self._is_word("has") and self._peek(1).kind == "open":
            self._take()
            self._take()
            key = self._key()
            self._expect("close", "a closing parenthesis is missing after has(")
            return Has(key)
        key = self._key()
        if self._is_word("not") and self._is_word("in", 1):
            self._take()
            self._take()
            return NoneOf((self._one_of(key),))
        if self._is_word("in"):
            self._take()
            return self._one_of(key)
        if self._token.kind != "op":
            self._fail("a comparison is missing")
        return self._operation(key, self._take().text)

    def _key(self) -> str:
        token = self._token
        if token.kind != "word":
            self._fail("a field name is missing")
        if not re.fullmatch(_KEY, token.text):
            self._fail(f"{token.text!r}: a field name has letters, digits, '.', '_', '-'")
        return payload_key(self._take().text)

    def _one_of(self, key: str) -> Condition:
        self._expect("open", "write in (first, second)")
        values = self._equal_values()
        while self._token.kind == "comma":
            self._take()
            values += self._equal_values()
        self._expect("close", "a comma or a closing parenthesis is missing")
        return _equal(key, values)

    def _equal_values(self) -> list[Value]:
        token = self._value()
        return [token.value] if token.kind == "text" else _possible_values(token.text)

    def _value(self) -> _Token:
        if self._token.kind not in ("word", "text"):
            self._fail("a value is missing")
        token = self._take()
        return token if token.kind == "text" else self._to_next_blank(token)

    def _to_next_blank(self, first: _Token) -> _Token:
        """Return a value with everything up to the next blank: url=http://host?a=b."""
        end = first.position + len(first.text)
        while self._token.kind in ("op", "word") and self._token.position == end:
            end += len(self._take().text)
        return _Token("word", self._text[first.position : end], first.position)

    def _operation(self, key: str, operator: str) -> Condition:
        token = self._token
        if operator in ("=", "!="):
            equal = _equal(key, self._equal_values())
            return equal if operator == "=" else NoneOf((equal,))
        value = self._value()
        text = value.value if value.kind == "text" else value.text
        if operator == "^=":
            return Prefix(key, text)
        number = float(text) if value.kind == "word" and _NUMBER.fullmatch(text) else math.inf
        if math.isfinite(number):
            return _range(key, operator, number)
        try:
            return _time_range(key, operator, text)
        except (ValueError, OverflowError):
            raise self._error(
                token.position, f"{text!r} is not a number or a date, which {operator} needs"
            ) from None

    def _expect(self, kind: str, missing: str) -> None:
        if self._token.kind != kind:
            self._fail(missing)
        self._take()

    def _fail(self, problem: str) -> NoReturn:
        raise self._error(self._token.position, problem)

    def _error(self, position: int, problem: str) -> OptionError:
        at_end = position >= len(self._text.rstrip())
        where = "at its end" if at_end else f"character {position + 1}"
        return OptionError("where", f"{self._text!r}, {where}: {problem} (operators: {OPERATORS})")


_BOUND = {">=": "gte", ">": "gt", "<=": "lte", "<": "lt"}


def _range(key: str, operator: str, value: float | str) -> Between:
    return Between(key, **{_BOUND[operator]: value})


def _time_range(key: str, operator: str, text: str) -> Between:
    """Compare with a time or a whole day, in UTC if it has no zone. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if _DAY.fullmatch(text) and operator in ("<=", ">"):
        # The whole day: later times begin with the next day.
        operator, moment = ("<" if operator == "<=" else ">="), moment + timedelta(days=1)
    return _range(key, operator, moment.isoformat().replace("+00:00", "Z"))
