"""What a plan costs, and how long it takes at least, at each backend."""

import math
from collections.abc import Iterator, Sequence

from ragctl.catalog import Backend
from ragctl.hosts.usage import Usage
from ragctl.records import Json


def estimate_backends(
    rows: Sequence[Backend], accounts: Sequence[Usage], texts: int, tokens: int
) -> Iterator[dict[str, Json]]:
    """For each backend what it would be sent if it embedded all of it.

    `seconds` is what its rate limits ask for; None where no limit is known.
    """
    for row, account in zip(rows, accounts, strict=True):
        requests = _requests(row, texts, tokens)
        seconds = _seconds(row, requests, tokens)
        price = account.price
        yield {
            "backend": account.name,
            "model": account.model,
            "requests": requests,
            "texts": texts,
            "tokens": tokens,
            "tokens_estimated": True,
            "price": price,
            "cost": None if price is None else round(tokens * price / 1e6, 8),
            "free_tokens": account.free_tokens,
            "cut": 0,
            "seconds": None if seconds is None else round(seconds, 1),
        }


def _requests(row: Backend, texts: int, tokens: int) -> int:
    by_tokens = math.ceil(tokens / row.limits.tokens) if row.limits.tokens else 0
    return max(math.ceil(texts / row.limits.texts), by_tokens)


def _seconds(row: Backend, requests: int, tokens: int) -> float | None:
    amounts = ((requests, row.rates.requests), (tokens, row.rates.tokens))
    return max((60 * amount / limit for amount, limit in amounts if limit), default=None)
