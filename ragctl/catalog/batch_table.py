"""The asynchronous batch API of a backend: the table `batch` of its row in backends.toml."""

from dataclasses import dataclass

from ragctl.catalog.strict import Table

BATCH_APIS = ("openai", "voyage", "mistral", "gemini")
"""The batch APIs that ragctl speaks; ragctl.batch has a module for each."""

BATCH_KEYS = ("api", "discount", "hours", "texts", "bytes")

DEFAULT_HOURS = 24
DEFAULT_TEXTS = 50_000
DEFAULT_BYTES = 200_000_000
"""The limits of OpenAI's API, which most compatible hosts have too."""


@dataclass(frozen=True, slots=True)
class BatchApi:
    """How a host takes texts that may wait for hours, and what that saves.

    `api` is one of BATCH_APIS. `discount` is the share of the price that a batch saves; None:
    unknown. `hours` is the time limit of a job. `texts` and `bytes` limit one job.
    """

    api: str
    discount: float | None = None
    hours: int = DEFAULT_HOURS
    texts: int = DEFAULT_TEXTS
    bytes: int = DEFAULT_BYTES

    def price(self, price: float | None) -> float | None:
        """Return the price of a text in a batch, given the ordinary one; None: unknown."""
        return None if price is None or self.discount is None else price * (1 - self.discount)


def read_batch_api(row: Table) -> BatchApi | None:
    """Return the table `batch` of a backend; None if it has none. Raises UsageError."""
    if not row.has("batch"):
        return None
    table = row.table("batch", BATCH_KEYS)
    discount = table.optional("discount", float)
    if discount is not None and not 0 <= discount < 1:
        raise table.error("discount", f"must be from 0 to less than 1, not {discount:g}")
    return BatchApi(
        table.choice("api", BATCH_APIS),
        discount,
        table.positive("hours") or DEFAULT_HOURS,
        table.positive("texts") or DEFAULT_TEXTS,
        table.positive("bytes") or DEFAULT_BYTES,
    )
