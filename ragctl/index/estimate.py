"""What a plan would cost at each backend, and how long it would take at least."""

import math
from collections.abc import Iterator, Sequence

from ragctl.catalog import Backend
from ragctl.hosts.usage import Usage, dollars_json
from ragctl.records import Json


def estimate_backends(
    rows: Sequence[Backend], usages: Sequence[Usage], texts: int, tokens: int
) -> Iterator[dict[str, Json]]:
    """Yield for each backend the usage expected if it embedded all texts of the plan.

    `seconds` is the time that the backend's rate limits impose; None if none is known.
    """
    for row, usage in zip(rows, usages, strict=True):
        requests = 0 if row.in_process else _requests(row, texts, tokens)
        seconds = _seconds(row, requests, tokens)
        price = usage.price
        cost = tokens * price / 1e6 if price is not None else None if tokens else 0.0
        yield {
            "backend": usage.name,
            "model": usage.model,
            "in_process": usage.in_process,
            "requests": requests,
            "texts": texts,
            "tokens": tokens,
            "tokens_estimated": True,
            "price": dollars_json(price),
            "cost": dollars_json(cost),
            "batch": _batch(row, usage, tokens),
            "free_tokens": usage.free_tokens,
            "cut": 0,
            "seconds": None if seconds is None else round(seconds, 1),
        }


def _batch(row: Backend, usage: Usage, tokens: int) -> Json:
    """Return price and cost of the texts in batch jobs; None if the host has no batch API."""
    if row.batch is None:
        return None
    price = row.batch.price(usage.price)
    cost = tokens * price / 1e6 if price is not None else None if tokens else 0.0
    return {"price": dollars_json(price), "cost": dollars_json(cost), "hours": row.batch.hours}


def _requests(row: Backend, texts: int, tokens: int) -> int:
    by_tokens = math.ceil(tokens / row.limits.tokens) if row.limits.tokens else 0
    return max(math.ceil(texts / row.limits.texts), by_tokens)


def _seconds(row: Backend, requests: int, tokens: int) -> float | None:
    amounts = ((requests, row.rates.requests), (tokens, row.rates.tokens))  # limits per minute
    return max((60 * amount / limit for amount, limit in amounts if limit), default=None)
