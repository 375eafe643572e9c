"""The contract of a batch API: one class for each, in ragctl.batch.apis.

Obligations (tests/test_batch_apis.py checks each):

- A job is found by our own id, or by its uploaded file, as soon as the host lists it.
- Nothing is billed before `create`; `upload` may be repeated.
- Results come in any order and need not be complete. Each names its text.
- Memory does not depend on the size of a job.
"""

import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, ClassVar, Literal, TypeAlias, cast

import orjson

from ragctl.batch.text_guard import TextGuard
from ragctl.catalog import BatchApi
from ragctl.embedding.base import EmbeddingRequest, Embeddings, Vectors
from ragctl.embedding.rest_wire import RestWire
from ragctl.errors import BackendError
from ragctl.hosts.files import FileClient
from ragctl.records import Json

MAX_LINE_BYTES = 1 << 24  # of a result: 4,096 numbers as text are about 90 KB
MAX_PAGES = 200
"""Pages of a host's list of jobs that are read at most."""


class UnusableResults(BackendError):
    """A result file is not what the API promises."""


JobState: TypeAlias = Literal["waiting", "ended", "failed"]
Object: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """A job as its host describes it.

    `state`: "waiting" until the host works on it no more; "failed" if it accepted none of the
    texts. `uploaded`: its input file. `files`: its result files. `message`: why it failed, or
    ended early.
    """

    id: str
    state: JobState
    uploaded: str = ""
    files: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one text: a unit vector of shape (dim,), or the host's error.

    With neither, the host did not work on it.
    """

    key: str
    vector: Vectors | None = None
    error: str | None = None


class BatchService(ABC):
    """A client of one host's batch API. Its requests are not repeated here."""

    endpoint: ClassVar[str] = "/v1/embeddings"

    def __init__(self, wire: RestWire, client: FileClient, api: BatchApi) -> None:
        """`wire`: of the same host; it makes the body for a text, and reads an answer."""
        self.guard: TextGuard | None = None
        self.wire = wire
        self.client = client
        self.api = api
        self._stopped = threading.Event()

    @property
    def address(self) -> str:
        """The address of the host, without a path."""
        return self.client.host

    def line(self, key: str, text: str) -> bytes:
        """Return the line of a job's file for one text; `key` comes back with its result."""
        return orjson.dumps(self.request(key, self.body(text))) + b"\n"

    def body(self, text: str) -> dict[str, Json]:
        """Return the body of an ordinary request for one text."""
        request = EmbeddingRequest("document", (text,), self._stopped)
        body = self.wire.encoded(self.wire.body(request), self.wire.encoding.known or "unset")
        return body | dict(self.wire.backend.extra)

    def fit(self, text: str) -> str:
        """Return the text to be sent: all of it, or its beginning if it may be truncated.

        Raises DocumentError for one that is too long or cannot be embedded.
        """
        return text if self.guard is None else self.guard.fit(text)

    @abstractmethod
    def request(self, key: str, body: dict[str, Json]) -> dict[str, Json]:
        """Return the JSON of a line, given the body of an ordinary request."""

    @abstractmethod
    def upload(self, job: str, file: IO[bytes]) -> str:
        """Send the file of the job with our id `job`; return the host's name of the file."""

    @abstractmethod
    def create(self, job: str, uploaded: str) -> RemoteJob:
        """Make the host work on an uploaded file, which it bills. `job` is our own id."""

    @abstractmethod
    def get(self, remote: str) -> RemoteJob:
        """Return a job by the host's id. Raises NotFound if the host does not know it."""

    @abstractmethod
    def jobs(self) -> Iterator[tuple[str, RemoteJob]]:
        """Yield the host's jobs, each with our own id, "" if it has none; newest first."""

    def find(self, job: str, uploaded: str) -> RemoteJob | None:
        """Return the job with our id, or else of the uploaded file; None if there is none."""
        for own, remote in self.jobs():
            if own == job or (uploaded and remote.uploaded == uploaded):
                return remote
        return None

    def results(self, job: RemoteJob) -> Iterator[Result]:
        """Yield the results of a job that has ended. Raises NotFound if a file is gone."""
        for name in job.files:
            with tempfile.TemporaryFile() as file:
                self.client.download(self.content_path(name), file)
                file.seek(0)
                yield from map(self._result, self._lines(file))

    def _lines(self, file: IO[bytes]) -> Iterator[Object]:
        while line := file.readline(MAX_LINE_BYTES):
            if not line.strip():
                continue
            try:
                value = orjson.loads(line)
            except ValueError:
                raise UnusableResults(
                    f"{self.client.host} answered results that are not JSON"
                ) from None
            if not isinstance(value, dict):
                raise UnusableResults(f"{self.client.host} answered a result that is not an object")
            yield value

    @abstractmethod
    def _result(self, line: Object) -> Result:
        """Return the result in a line of a result file."""

    def content_path(self, name: str) -> str:
        """Return the path of a file's content."""
        return f"/files/{name}/content"

    def delete_file(self, name: str) -> None:
        """Delete a file at the host. Raises NotFound, Transient or BackendError."""
        self.client.delete(f"/files/{name}")

    def vector(self, key: str, answer: object) -> Result:
        """Return the result of a text from the answer that an ordinary request would get."""
        try:
            found: Embeddings = self.wire.parse(answer, 1).complete()
        except BackendError as error:
            return Result(key, error=str(error))
        return Result(key, found.vectors[0])

    def close(self) -> None:
        """Close all connections."""
        self.client.close()
        self.wire.close()


def text_of(value: object) -> str:
    """Return a text of a host's answer; "" if it is none."""
    return value if isinstance(value, str) else ""


def object_of(value: object) -> Object:
    """Return an object of a host's answer; empty if it is none."""
    return cast(Object, value) if isinstance(value, dict) else {}


def objects_of(value: object) -> list[Object]:
    """Return the objects in a list of a host's answer."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
