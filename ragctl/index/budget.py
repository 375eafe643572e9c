"""The budget of a run: its own limits, and those of its day and its month.

A text is paid for when it is sent, but the bill comes with the answer. So texts whose
answer is outstanding count as their o200k_base tokens times the ratio of billed to counted
tokens so far (until the first answer: times a safety margin). The spending of each day is
kept in the collection's notes. Tokens are reserved there before they are sent, so that a
run that is killed cannot spend more than is recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ragctl.collection.notes import DaySpending
from ragctl.embedding import canary
from ragctl.embedding.token_bounds import TOKEN_RATIO
from ragctl.errors import BudgetReached, UsageError
from ragctl.hosts.usage import Usage, UsageTotals
from ragctl.pipeline import Budget
from ragctl.stores.base import Collection
from ragctl.text import counted

KEPT_DAYS = 62
"""Days of spending kept in the notes: this month and the last one."""

RESERVE_FRACTION = 0.02
"""Share of the tightest daily or monthly limit that is reserved at a time."""

PRICE_RESOLUTION_USD = 1e-9
"""Sums of dollars that differ by less than this count as equal, because of rounding."""


@dataclass(frozen=True, slots=True)
class Spending:
    """Tokens, and US dollars at list price (0 if no price is known)."""

    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: "Spending") -> "Spending":
        return Spending(self.tokens + other.tokens, self.cost + other.cost)


@dataclass(frozen=True, slots=True)
class _Limit:
    """A limit of the budget: `name` is its key, such as "max_tokens_per_day".

    `spent_before`: spending of earlier runs of the same day or month. It and `maximum` are
    in tokens or US dollars.
    """

    name: str
    maximum: float
    spent_before: float

    @property
    def in_dollars(self) -> bool:
        return "cost" in self.name

    @property
    def spans_runs(self) -> bool:
        """Whether it is a limit per day or per month, not per run."""
        return "_per_" in self.name


def utc_date(now: float) -> str:
    """Return the UTC date of a time (seconds since 1970) in ISO 8601."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def spending_by_day(collection: Collection | None) -> dict[str, Spending]:
    """Return what the runs of each of the last KEPT_DAYS days spent on a collection."""
    if collection is None:
        return {}
    kept = collection.notes().get("spent", {})
    return {day: Spending(row["tokens"], row["cost"]) for day, row in kept.items()}


class BudgetTracker:
    """The spending of one run against its budget. Not thread-safe.

    Call `begin` once the collection exists, then `reserve` for each document before it is
    sent, and `note` at the end.
    """

    def __init__(
        self,
        budget: Budget,
        usage: UsageTotals,
        collection: Collection | None,
        now: float,
        batch: Usage | None = None,
    ) -> None:
        """Start with the spending recorded in `collection`; None if it does not exist yet.

        `usage` is read as it grows. `batch`: the one of batch jobs, if the texts go there; its
        price applies. `now`: seconds since 1970. Raises UsageError for a limit
        in dollars if a backend's price is unknown.
        """
        used = usage.usages if batch is None else (batch,)
        prices = [backend.price for backend in used]
        self._before = spending_by_day(collection)
        self._day = utc_date(now)
        self._limits = _limits(budget, self._before, self._day)
        if any(limit.in_dollars for limit in self._limits):
            _check_prices(used, self._limits)
        self._highest_price = max((price for price in prices if price is not None), default=0.0)
        self._batch = batch
        self._usage = usage
        self._collection = collection
        self._billed_for_new_canary = usage.tokens
        self._canary_tokens = 0  # upper bound of what checking the stored canary will bill
        if collection is not None and collection.settings.origin.canary is not None:
            self._canary_tokens = sum(len(text.encode()) for text in canary.DOCUMENTS)
        self._counted = 0  # o200k_base tokens of the documents accepted by `reserve`
        self._reserved = Spending()

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self._limits)

    @property
    def has_reservation(self) -> bool:
        """Whether the notes contain a reservation of this run."""
        return self._reserved != Spending()

    def note(self) -> dict[str, DaySpending]:
        """Return the note `spent` at the end of this run: the spending of all runs by day."""
        spent = Spending(self._usage.tokens, self._usage.cost or 0.0)
        return _spent_note(self._before, self._day, spent)

    def begin(self, collection: Collection) -> None:
        """Accept a collection created by this run; its canary has been billed."""
        self._collection = collection
        self._billed_for_new_canary = self._usage.tokens

    def check(self) -> None:
        """Raise BudgetReached if a limit is already used up."""
        for limit in self._limits:
            if limit.spent_before >= limit.maximum:
                raise BudgetReached(f"{_describe(limit)} is spent; {_continuation(limit)}")

    def check_fits(self, source: str, tokens: int) -> None:
        """Raise BudgetReached if `tokens` (o200k_base) of a document exceed a limit."""
        if not tokens or not self._limits:
            return
        expected = self._expected_spending(self._counted + tokens)
        for limit in self._limits:
            amount = expected.cost if limit.in_dollars else expected.tokens
            if limit.spent_before + amount > limit.maximum + PRICE_RESOLUTION_USD:
                raise BudgetReached(self._refusal(limit, source, tokens))

    def reserve(self, source: str, tokens: int) -> None:
        """Reserve `tokens` (o200k_base) for a document that is about to be sent.

        Raises BudgetReached, and reserves nothing, if they exceed a limit.
        """
        if not tokens or not self._limits:
            return
        self.check_fits(source, tokens)
        self._counted += tokens
        self._write_reservation(self._expected_spending(self._counted))

    def _expected_spending(self, counted: int) -> Spending:
        """Return this run's expected spending once `counted` document tokens have been answered."""
        answered = self._usage.counted
        billed = self._usage.tokens - self._billed_for_new_canary
        ratio = billed / answered if answered else TOKEN_RATIO
        canary_tokens = 0 if self._usage.tokens else self._canary_tokens
        tokens = round(self._usage.tokens + canary_tokens + max(0, counted - answered) * ratio)
        pending = tokens - self._usage.tokens
        return Spending(tokens, (self._usage.cost or 0.0) + pending * self._highest_price / 1e6)

    def _write_reservation(self, expected: Spending) -> None:
        """Raise the reservation in the notes to `expected` and RESERVE_FRACTION of a limit."""
        limits = [limit for limit in self._limits if limit.spans_runs]
        covered = (
            expected.tokens <= self._reserved.tokens
            and expected.cost <= self._reserved.cost + PRICE_RESOLUTION_USD
        )
        if not limits or covered or self._collection is None:
            return
        tokens, cost = (
            RESERVE_FRACTION
            * min((limit.maximum for limit in limits if limit.in_dollars == dollars), default=0.0)
            for dollars in (False, True)
        )
        self._reserved = expected + Spending(round(tokens), cost)
        note = _spent_note(self._before, self._day, self._reserved)
        self._collection.note({"spent": note})

    def _refusal(self, limit: _Limit, source: str, tokens: int) -> str:
        limit_tokens = limit.maximum * (1e6 / self._highest_price if limit.in_dollars else 1.0)
        line = (
            f"{_describe(limit)} has no room for {source} ({counted(tokens, 'token')}); "
            f"{_continuation(limit)}"
        )
        if self._batch is not None and limit.in_dollars:
            line += self._batch_prices(self._batch)
        if tokens > limit_tokens:
            line += ", but this document alone exceeds the limit"
        return line

    def _batch_prices(self, batch: Usage) -> str:
        """Return the price of a batch and the ordinary one, for a message."""
        ordinary = next((u.price for u in self._usage.usages if u is not batch), None)
        without = "" if ordinary is None else f", without a batch ${ordinary:g}"
        return f" (a million tokens cost ${batch.price:g} in a batch{without})"


def _limits(budget: Budget, before: Mapping[str, Spending], day: str) -> list[_Limit]:
    month = sum((spent for date, spent in before.items() if date[:7] == day[:7]), start=Spending())
    periods = {"": Spending(), "_per_day": before.get(day, Spending()), "_per_month": month}
    limits = []
    for period, spent in periods.items():
        for unit, amount in (("tokens", spent.tokens), ("cost", spent.cost)):
            name = f"max_{unit}{period}"
            maximum = getattr(budget, name)
            if maximum is not None:
                limits.append(_Limit(name, maximum, amount))
    return limits


def _check_prices(usages: Sequence[Usage], limits: Sequence[_Limit]) -> None:
    for backend in usages:
        if backend.price is None:
            name = next(limit.name for limit in limits if limit.in_dollars)
            raise UsageError(
                f"{name}: no price is known for {backend.model or 'the model'} at {backend.name}; "
                "give it as `price` in a pipeline file, or limit tokens instead"
            )


def _describe(limit: _Limit) -> str:
    amount = f"${limit.maximum:g}" if limit.in_dollars else counted(round(limit.maximum), "token")
    return f"the budget of {amount} a {_period(limit)}"


def _continuation(limit: _Limit) -> str:
    if not limit.spans_runs:
        return "the next run continues"
    return f"a run of the next {_period(limit)} (UTC) continues"


def _period(limit: _Limit) -> str:
    """Return "run", "day" or "month"."""
    return limit.name.rpartition("_")[2] if limit.spans_runs else "run"


def _spent_note(
    before: Mapping[str, Spending], day: str, spent: Spending
) -> dict[str, DaySpending]:
    sums = {**before, day: before.get(day, Spending()) + spent}
    kept = sorted(sums)[-KEPT_DAYS:]
    return {d: {"tokens": sums[d].tokens, "cost": round(sums[d].cost, 8)} for d in kept}
