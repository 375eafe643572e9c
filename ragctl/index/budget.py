"""What a run may still spend: its own limits, and those of the day and the month.

A text is paid for when it is sent, and the bill comes with the answer. So what
is under way counts as its o200k_base tokens times the ratio of billed to counted
so far (at first a margin). What all runs of a day were billed is kept in the
collection's notes, and what a run is about to send is set aside there first, so
that a run that is killed has not spent in secret.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from ragctl.collection import origin
from ragctl.embedding import canary
from ragctl.embedding.guard import RATIO
from ragctl.errors import BudgetReached, UsageError
from ragctl.hosts.usage import UsageTotals
from ragctl.pipeline import Budget
from ragctl.records import Json
from ragctl.stores.base import Collection

_DAYS = 62  # kept: this month and the last one
_SLICE = 0.02  # of the smallest limit across runs is set aside at a time
_CENT = 1e-9  # dollars: sums of floats are compared with so much room


@dataclass(frozen=True, slots=True)
class Spending:
    """Tokens, and US dollars at list price; 0 dollars where no price was known."""

    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: "Spending") -> "Spending":
        return Spending(self.tokens + other.tokens, self.cost + other.cost)


@dataclass(frozen=True, slots=True)
class _Limit:
    name: str  # "max_tokens_per_day"
    most: float
    before: float  # spent by earlier runs of its time

    @property
    def of_cost(self) -> bool:
        return "cost" in self.name

    @property
    def across(self) -> bool:
        """Whether it holds for more than one run."""
        return "_per_" in self.name


def today(now: float) -> str:
    """The day of a moment (seconds since 1970), in UTC, as ISO 8601."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def days(collection: Collection | None) -> dict[str, Spending]:
    """What the runs of each day spent on a collection, the last two months."""
    if collection is None:
        return {}
    kept = cast(Mapping[str, Any], collection.settings.notes.get("spent") or {})
    return {day: Spending(row["tokens"], row["cost"]) for day, row in kept.items()}


class BudgetTracker:
    """The account of one run against its budget. For the run's own thread.

    `begin`, then `take` for each document before it is sent, then `noted` once.
    """

    def __init__(
        self, budget: Budget, bill: UsageTotals, collection: Collection | None, now: float
    ) -> None:
        """Raises UsageError for a limit of cost where a backend's price is not known."""
        prices = [account.price for account in bill.usages]
        self._limits = _limits(budget, days(collection), today(now))
        if any(limit.of_cost for limit in self._limits):
            _check_prices(bill, self._limits)
        self._dearest = max((price for price in prices if price is not None), default=0.0)
        self._bill = bill
        self._before = days(collection)
        self._day = today(now)
        self._collection = collection
        self._first = bill.tokens  # what the canaries of a new collection took
        self._canaries = 0  # what those of another run will take, at most
        if collection is not None and origin.canary(collection) is not None:
            self._canaries = sum(len(text.encode()) for text in canary.DOCUMENTS)
        self._sent = 0  # as counted here
        self._set_aside = Spending()

    @property
    def limited(self) -> bool:
        return bool(self._limits)

    @property
    def set_aside(self) -> bool:
        """Whether something stands in the notes for what this run may spend."""
        return self._set_aside != Spending()

    def noted(self) -> Json:
        """The note of what all runs spent, when this one has ended."""
        spent = Spending(self._bill.tokens, self._bill.cost or 0.0)
        return _noted(self._before, self._day, spent)

    def begin(self, collection: Collection) -> None:
        """The collection is there, and its canaries are paid for."""
        self._collection = collection
        self._first = self._bill.tokens

    def check(self) -> None:
        """Raises BudgetReached where nothing is left to begin with."""
        for limit in self._limits:
            if limit.before >= limit.most:
                raise BudgetReached(f"{_of(limit)} is spent; {_when(limit)}")

    def take(self, source: str, tokens: int) -> None:
        """A document is to be sent. Raises BudgetReached where it does not fit any more."""
        if not tokens or not self._limits:
            return
        foretold = self._foretold(self._sent + tokens)
        for limit in self._limits:
            spends = foretold.cost if limit.of_cost else foretold.tokens
            if limit.before + spends > limit.most + _CENT:
                raise BudgetReached(self._refusal(limit, source, tokens))
        self._sent += tokens
        self._put_aside(foretold)

    def _foretold(self, counted: int) -> Spending:
        """What will have been billed when so many tokens have been answered."""
        answered, billed = self._bill.counted, self._bill.tokens - self._first
        ratio = billed / answered if answered else RATIO
        canaries = 0 if self._bill.tokens else self._canaries
        tokens = round(self._bill.tokens + canaries + max(0, counted - answered) * ratio)
        pending = tokens - self._bill.tokens
        return Spending(tokens, (self._bill.cost or 0.0) + pending * self._dearest / 1e6)

    def _put_aside(self, foretold: Spending) -> None:
        """Write down what this run may have spent before it does."""
        across = [limit for limit in self._limits if limit.across]
        enough = (
            foretold.tokens <= self._set_aside.tokens
            and foretold.cost <= self._set_aside.cost + _CENT
        )
        if not across or enough or self._collection is None:
            return
        tokens = min((_SLICE * limit.most for limit in across if not limit.of_cost), default=0.0)
        cost = min((_SLICE * limit.most for limit in across if limit.of_cost), default=0.0)
        self._set_aside = foretold + Spending(round(tokens), cost)
        note = _noted(self._before, self._day, self._set_aside)
        self._collection.note({"spent": note})

    def _refusal(self, limit: _Limit, source: str, tokens: int) -> str:
        alone = limit.most * (1e6 / self._dearest if limit.of_cost else 1.0)
        line = f"{_of(limit)} has no room for {source} ({tokens:,} tokens); {_when(limit)}"
        if tokens > alone:
            line += ", but that document alone is more than it"
        return line


def _limits(budget: Budget, before: Mapping[str, Spending], day: str) -> list[_Limit]:
    month = Spending()
    for other, spent in before.items():
        if other[:7] == day[:7]:
            month += spent
    times = {"": Spending(), "_per_day": before.get(day, Spending()), "_per_month": month}
    found = []
    for time, spent in times.items():
        for what, so_far in (("tokens", spent.tokens), ("cost", spent.cost)):
            most = getattr(budget, f"max_{what}{time}")
            if most is not None:
                found.append(_Limit(f"max_{what}{time}", most, so_far))
    return found


def _check_prices(bill: UsageTotals, limits: Sequence[_Limit]) -> None:
    for account in bill.usages:
        if account.price is None:
            name = next(limit.name for limit in limits if limit.of_cost)
            raise UsageError(
                f"{name}: no price is known for {account.model or 'the model'} at {account.name}; "
                "give it as `price` in a pipeline file, or limit tokens instead"
            )


def _of(limit: _Limit) -> str:
    amount = f"${limit.most:g}" if limit.of_cost else f"{limit.most:,.0f} tokens"
    time = {"day": " a day", "month": " a month"}.get(limit.name.rpartition("_")[2], " a run")
    return f"the budget of {amount}{time}"


def _when(limit: _Limit) -> str:
    if not limit.across:
        return "the next run goes on"
    return f"a run of the next {limit.name.rpartition('_')[2]} (UTC) goes on"


def _noted(before: Mapping[str, Spending], day: str, spent: Spending) -> dict[str, Json]:
    sums = {**before, day: before.get(day, Spending()) + spent}
    kept = sorted(sums)[-_DAYS:]
    return {d: {"tokens": sums[d].tokens, "cost": round(sums[d].cost, 8)} for d in kept}
