"""New batch jobs: noted, uploaded and begun, one after the other; see jobs.py for the order."""

import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import IO, Protocol, TypeVar

from ragctl.batch.canaries import canary_lines
from ragctl.batch.job import Job, Submission
from ragctl.batch.keys import KeySet, encode_keys
from ragctl.batch.service import BatchService, RemoteJob
from ragctl.batch.spool import Spool
from ragctl.collection.notes import BatchJobNote
from ragctl.errors import BackendError
from ragctl.hosts.errors import Transient

T = TypeVar("T")

MAX_TEXTS = 50_000
"""Texts of one job, if its host takes more: its results are read as a whole."""
FILE_FRACTION = 0.95
"""Share of a host's limit on a file that ragctl uses."""


class _Unclear(BackendError):
    """The host may or may not have begun a job."""


class OpenJobs(Protocol):
    """What a Submitter needs of Jobs."""

    identity: str
    jobs: list[Job]
    spool: Spool

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since 1970."""

    def save(self) -> None:
        """Write the jobs to the collection's notes."""

    def ask(self, attempt: Callable[[], T]) -> T:
        """Return the answer of a host, with retries."""

    def delete_files(self, service: BatchService, files: Iterable[str]) -> None:
        """Delete files at a host."""


class Submitter:
    """Sends the texts in the spool of `jobs` as new jobs."""

    def __init__(self, jobs: OpenJobs, submission: Submission) -> None:
        self._jobs = jobs
        self._submission = submission

    def submit(self) -> None:
        """Send all texts. Raises BackendError, or IdentityMismatch."""
        self._submission.check()
        while self._jobs.spool.text_count:
            self._submit_one()

    def _submit_one(self) -> None:
        """Note, upload, and begin one job."""
        jobs, submission = self._jobs, self._submission
        service = submission.service
        with tempfile.TemporaryFile() as file:
            texts = list(self._write(service, file))
            hashes = [text_hash for text_hash, _ in texts]
            tokens = sum(count for _, count in texts)
            note = BatchJobNote(
                id=secrets.token_hex(12),
                backend=submission.backend,
                address=service.wire.backend.base_url or "",
                identity=jobs.identity,
                sources=sorted(submission.sources),
                keys=encode_keys(hashes),
                texts=len(texts),
                tokens=tokens,
                price=submission.usage.price,
                made=round(jobs.clock()),
                file=None,
                created=None,
                remote=None,
                reported=False,
                refused=None,
            )
            job = Job(note, KeySet(note["keys"]), service)
            self._jobs.jobs.append(job)
            self._jobs.save()
            try:
                note["file"] = self._jobs.ask(lambda: service.upload(note["id"], file))
            except BackendError:
                self._jobs.jobs.remove(job)
                self._jobs.save()
                raise
        note["created"] = round(jobs.clock())
        self._jobs.save()
        self._create(job, service)
        submission.usage.sent()
        submission.usage.answered(len(texts), 0, tokens)
        self._jobs.spool.drop_texts(hashes)

    def _write(self, service: BatchService, file: IO[bytes]) -> Iterator[tuple[str, int]]:
        """Write the lines of one job; yield the hash and the tokens of each text in it."""
        api = service.api
        most = min(api.texts, MAX_TEXTS)
        most = max(1, most - max(3, most // 500))  # room for canary texts
        canaries = canary_lines(min(self._jobs.spool.text_count, most))
        size = 0
        for position, text in enumerate(islice(self._jobs.spool.texts(), most)):
            lines = [service.line(text.hash, text.text)]
            if position in canaries:
                lines.insert(0, service.line(*canaries.pop(position)))
            size += sum(map(len, lines))
            if position and size > FILE_FRACTION * api.bytes:
                break
            file.writelines(lines)
            yield text.hash, text.tokens
        for line in canaries.values():
            file.write(service.line(*line))

    def _create(self, job: Job, service: BatchService) -> None:
        """Make the host begin. Only an answer that nothing was done is followed by another try."""
        note = job.note
        uploaded = note["file"] or ""

        def attempt() -> RemoteJob:
            try:
                return service.create(note["id"], uploaded)
            except Transient as failure:
                if failure.refused or failure.status == 429:
                    raise
                raise _Unclear(
                    f"{failure}; whether {job.label} exists is not known: the next run asks for "
                    "it before it sends anything"
                ) from None

        try:
            note["remote"] = self._jobs.ask(attempt).id
        except _Unclear:
            raise
        except BackendError as error:
            self._jobs.delete_files(service, (uploaded,))
            self._jobs.jobs.remove(job)
            self._jobs.save()
            raise BackendError(f"{error}; no batch job was made at {note['backend']}") from None
        self._jobs.save()
