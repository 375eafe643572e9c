"""What was sent to each backend, and what it costs."""

import threading
from collections.abc import Sequence

from ragctl.records import Json


class Usage:
    """The account of one backend in one run. Safe to read and add to from any thread.

    `requests` counts what was sent, tries that failed too; `texts` and
    `tokens` what came back. Where a host does not say what it billed, the
    tokens of the texts as o200k_base counts them stand in, and `estimated` is
    true. `counted` is the sum of the estimates, so that `tokens` can be foretold from
    it. `cut` counts texts that were cut here. `price` is US dollars per million
    tokens, None where unknown.
    """

    def __init__(
        self,
        name: str = "",
        *,
        model: str = "",
        price: float | None = None,
        free_tokens: int | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self.name = name
        self.model = model
        self.price = price
        self.free_tokens = free_tokens
        self.requests = 0
        self.texts = 0
        self.tokens = 0
        self.counted = 0
        self.estimated = False
        self.cut = 0

    def sent(self) -> None:
        with self._lock:
            self.requests += 1

    def answered(self, texts: int, tokens: int, estimate: int = 0) -> None:
        """Count an answer: `tokens` as billed, or 0 and an `estimate` where the host is silent."""
        with self._lock:
            self.texts += texts
            self.tokens += tokens or estimate
            self.counted += estimate
            self.estimated |= not tokens and estimate > 0

    def cut_one(self) -> None:
        with self._lock:
            self.cut += 1

    @property
    def cost(self) -> float | None:
        """US dollars at list price, free quotas not deducted; None where no price is known."""
        return None if self.price is None else self.tokens * self.price / 1e6

    def to_json(self) -> dict[str, Json]:
        return {
            "backend": self.name,
            "model": self.model,
            "requests": self.requests,
            "texts": self.texts,
            "tokens": self.tokens,
            "tokens_estimated": self.estimated,
            "price": self.price,
            "cost": None if self.cost is None else round(self.cost, 8),
            "free_tokens": self.free_tokens,
            "cut": self.cut,
        }

    def __repr__(self) -> str:
        return f"Usage(requests={self.requests}, texts={self.texts}, tokens={self.tokens})"


class UsageTotals:
    """The sums over several backends. `usages` has the Usage of each, in their order."""

    def __init__(self, usages: Sequence[Usage]) -> None:
        self.usages = tuple(usages)

    @property
    def requests(self) -> int:
        return sum(usage.requests for usage in self.usages)

    @property
    def texts(self) -> int:
        return sum(usage.texts for usage in self.usages)

    @property
    def tokens(self) -> int:
        return sum(usage.tokens for usage in self.usages)

    @property
    def counted(self) -> int:
        return sum(usage.counted for usage in self.usages)

    @property
    def cost(self) -> float | None:
        """What all of it costs; None where anyone embedded something at a price unknown."""
        costs = [usage.cost for usage in self.usages if usage.texts]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if known and len(known) == len(costs) else None

    def __repr__(self) -> str:
        return f"UsageTotals({', '.join(repr(usage) for usage in self.usages)})"
