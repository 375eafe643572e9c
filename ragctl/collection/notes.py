"""Notes: what runs record in a collection for later runs."""

from collections.abc import Sequence
from typing import TypedDict, cast

from ragctl.records import Json


class DaySpending(TypedDict):
    """The spending of all runs of one day on a collection."""

    tokens: int
    cost: float  # US dollars at list price


class Recorded(TypedDict):
    """The spending recorded in notes at one time."""

    billed: dict[str, int]
    spent: dict[str, DaySpending]


class FailedFileNote(TypedDict):
    """A file that could not be indexed, as it was at its last failure."""

    root: str
    size: int  # bytes
    mtime_ns: int  # nanoseconds since 1970
    cause_digest: str  # hash of everything else that the failure may depend on
    tries: int  # consecutive runs that read it and failed
    first: int  # time of the first failure, seconds since 1970
    last: int  # time of the last failure, seconds since 1970
    errors: list[list[str]]  # [source, reason], the first few


class SourcesNote(TypedDict):
    """Sources that a run has read, so that a rebuild can read them again.

    `roots`: of their documents. `pipeline`: the pipeline file. `flags`: without one, what the flags
    said about the sources, as the tables of a pipeline file.
    """

    roots: list[str]
    pipeline: str | None
    flags: dict[str, Json]


class BatchSize(TypedDict):
    """How many texts a backend took in one request after it had refused more."""

    texts: int
    learned: int  # time, seconds since 1970


class Notes(TypedDict, total=False):
    """The notes of a collection. `Collection.note` replaces only the given keys."""

    billed: dict[str, int]  # tokens billed so far, by backend
    spent: dict[str, DaySpending]  # by day (UTC, ISO 8601)
    failures: dict[str, FailedFileNote]  # by file
    verified: int  # time of the last verification of all points, seconds since 1970
    baseline: Recorded  # the spending that other generations of the collection also hold
    replaces: int  # the generation that was current before this one; 0: none, or unknown
    sources: list[SourcesNote]  # of the latest runs
    batch_sizes: dict[str, BatchSize]  # by backend, with the run's own address
    members: list[str]  # other models of the family that wrote vectors
    request_bytes: dict[str, int]  # largest request that passes, by the server's address


def add_billed(notes: Notes, accounts: Sequence[dict[str, Json]]) -> dict[str, int]:
    """Return `billed` with the tokens of this run added.

    `accounts` are the `backends` of the run's report; each gets `tokens_so_far`. The sums
    are lower bounds: a run that was killed could not record what it sent.
    """
    sums = dict(notes.get("billed", {}))
    for account in accounts:
        name = str(account["backend"])
        sums[name] = sums.get(name, 0) + cast(int, account["tokens"])
        account["tokens_so_far"] = sums[name]
    return sums
