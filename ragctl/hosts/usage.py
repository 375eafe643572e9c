"""Requests, tokens and cost of each backend in a run."""

import threading
from collections.abc import Sequence

from ragctl.records import Json


def dollars_json(amount: float | None) -> int | float | None:
    """Return an amount for a JSON document: 0 if nothing is paid, None if it is unknown."""
    return amount if amount is None else round(amount, 8) or 0


class Usage:
    """The usage of one backend in one run. Safe to read and update from any thread.

    Attributes:
        name: The backend, as reports name it.
        model: The model's name at the backend.
        price: US dollars per million tokens; None: unknown.
        free_tokens: Tokens that a new account has for free; None: none.
        in_process: The model runs in this process: no request is sent.
        requests: Requests sent, failed tries included.
        texts: Texts that were answered.
        tokens: Tokens billed for them. If a host does not say, their o200k_base tokens are
            used and `estimated` is true.
        counted: Their o200k_base tokens, from which `tokens` can be predicted.
        cut: Texts that ragctl truncated before sending.
    """

    def __init__(
        self,
        name: str = "",
        *,
        model: str = "",
        price: float | None = None,
        free_tokens: int | None = None,
        in_process: bool = False,
    ) -> None:
        self._lock = threading.Lock()
        self.name = name
        self.model = model
        self.price = price
        self.free_tokens = free_tokens
        self.in_process = in_process
        self.requests = 0
        self.texts = 0
        self.tokens = 0
        self.counted = 0
        self.estimated = False
        self.cut = 0

    def reset(self) -> None:
        """Count from zero again: another run begins."""
        with self._lock:
            self.requests = self.texts = self.tokens = self.counted = self.cut = 0
            self.estimated = False

    def sent(self) -> None:
        """Count a request."""
        with self._lock:
            self.requests += 1

    def answered(self, texts: int, tokens: int, estimate: int = 0) -> None:
        """Count an answer: `tokens` billed, 0 if the host does not say, and an `estimate`."""
        with self._lock:
            self.texts += texts
            self.tokens += tokens or estimate
            self.counted += estimate
            self.estimated |= not tokens and estimate > 0

    def cut_one(self) -> None:
        """Count a text that was truncated."""
        with self._lock:
            self.cut += 1

    @property
    def cost(self) -> float | None:
        """US dollars at list price, free tokens not deducted; None if the price is unknown."""
        if not self.tokens:
            return 0.0
        return None if self.price is None else self.tokens * self.price / 1e6

    def to_json(self) -> dict[str, Json]:
        """Return the entry of the JSON report under `backends`."""
        return {
            "backend": self.name,
            "model": self.model,
            "in_process": self.in_process,
            "requests": self.requests,
            "texts": self.texts,
            "tokens": self.tokens,
            "tokens_estimated": self.estimated,
            "price": dollars_json(self.price),
            "cost": dollars_json(self.cost),
            "free_tokens": self.free_tokens,
            "cut": self.cut,
        }

    def __repr__(self) -> str:
        return f"Usage(requests={self.requests}, texts={self.texts}, tokens={self.tokens})"


class UsageTotals:
    """The sums over several backends. `usages` has the Usage of each, in their order."""

    def __init__(self, usages: Sequence[Usage]) -> None:
        self.usages = tuple(usages)

    def reset(self) -> None:
        """Count from zero again: another run begins."""
        for usage in self.usages:
            usage.reset()

    @property
    def requests(self) -> int:
        """Requests sent, failed tries included."""
        return sum(usage.requests for usage in self.usages)

    @property
    def texts(self) -> int:
        """Texts that were answered."""
        return sum(usage.texts for usage in self.usages)

    @property
    def tokens(self) -> int:
        """Tokens billed, or estimated."""
        return sum(usage.tokens for usage in self.usages)

    @property
    def counted(self) -> int:
        """Tokens as o200k_base counts them."""
        return sum(usage.counted for usage in self.usages)

    @property
    def cost(self) -> float | None:
        """US dollars in all; None if a backend that billed tokens has no known price."""
        costs = [usage.cost for usage in self.usages]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    def __repr__(self) -> str:
        return f"UsageTotals({', '.join(repr(usage) for usage in self.usages)})"
