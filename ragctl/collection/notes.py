"""Notes: what runs record in a collection for later runs."""

from collections.abc import Sequence
from typing import Literal, TypedDict, cast

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

    source_name: str
    size: int  # bytes
    mtime_ns: int  # nanoseconds since 1970
    cause_digest: str  # hash of everything else that the failure may depend on
    tries: int  # consecutive runs that read it and failed
    first: int  # time of the first failure, seconds since 1970
    last: int  # time of the last failure, seconds since 1970
    errors: list[list[str]]  # [source, reason], the first few


class SourcesNote(TypedDict):
    """Sources that a run has read, so that a rebuild can read them again.

    `names`: of the sources. `pipeline`: the pipeline file. `flags`: without one, what the flags
    said about the sources, as the tables of a pipeline file.
    """

    names: list[str]
    pipeline: str | None
    flags: dict[str, Json]


class SourcePlace(TypedDict):
    """Where a source was when it was indexed last.

    `named`: the user gave it its name. `whole`: its folder was listed, not only single files.
    `replaces`: sources whose documents a run has begun to take over, by name, with the beginning
    of their new names; empty when it has ended.
    """

    location: str  # absolute path, as typed; or URL
    named: bool
    whole: bool
    replaces: dict[str, str]


class BatchSize(TypedDict):
    """How many texts a backend took in one request after it had refused more."""

    texts: int
    learned: int  # time, seconds since 1970


class BatchJobNote(TypedDict):
    """A job at a backend's batch API. It is written before anything is sent.

    Times are in seconds since 1970. `created` is set just before the host is asked to begin:
    from then on the job may exist there, whatever the answer was.
    """

    id: str  # our own; the job at the host carries it
    backend: str
    address: str  # of the host
    identity: str  # digest of the identity that the vectors have
    sources: list[str]  # names of the run's sources
    keys: str  # the text hashes, as batch.keys encodes them
    texts: int
    tokens: int
    price: float | None  # US dollars per million tokens
    made: int
    file: str | None  # the host's name of the file with the texts
    created: int | None
    remote: str | None  # the host's id of the job
    reported: bool  # its failed texts have failed their documents; they may be sent again
    refused: str | None  # why its vectors may not be used


class VectorEncoding(TypedDict):
    """The encoding in which a backend turned out to send vectors."""

    encoding: Literal["base64", "float", "unset", "probe"]
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
    places: dict[str, SourcePlace]  # by source name
    batches: list[BatchJobNote]  # open jobs
    batch_sizes: dict[str, BatchSize]  # by backend, with the run's own address
    encodings: dict[str, VectorEncoding]  # by backend, as batch_sizes
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
