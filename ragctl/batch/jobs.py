"""The batch jobs of a collection: adopt, ask, collect, submit, forget.

A job goes through these steps; a run may be killed between any two of them:

    note the job       with an id of our own and the hashes of its texts
    upload             the file of texts; nothing is billed yet
    note the file      and that the host is about to be asked to begin
    create             the host begins, and bills; the job carries our id and names the file
    note its id at the host
    … hours later …
    collect            documents are written as far as all of their texts have vectors
    forget             once no document waits for any of its vectors

So the host's list tells whether a job that was killed during "create" exists. What does not
exist is forgotten, after its file was deleted: a request that is still on its way cannot begin
the job later.
"""

import threading
from collections.abc import Callable, Iterable
from collections.abc import Collection as Values
from dataclasses import dataclass, field
from typing import TypeVar

from ragctl.batch.canaries import CanaryCheck, is_canary
from ragctl.batch.job import Job, Submission
from ragctl.batch.keys import KeySet
from ragctl.batch.service import BatchService, UnusableResults
from ragctl.batch.spool import Spool, SpooledText
from ragctl.batch.submitter import Submitter
from ragctl.batch.waiting import Waiting
from ragctl.collection.notes import BatchJobNote
from ragctl.embedding.base import Vectors
from ragctl.embedding.canary import Canary
from ragctl.errors import BackendError, IdentityMismatch, StoreError
from ragctl.hosts.errors import Transient
from ragctl.hosts.files import NotFound
from ragctl.hosts.retry import Patience, retry
from ragctl.stores.base import Collection
from ragctl.text import counted

T = TypeVar("T")

SETTLE_SECONDS = 120
"""A job that may have been created appears in the host's list within this time."""
KEEP_SECONDS = 30 * 86_400
"""How long the results of a job are kept for documents that could not be read meanwhile."""
OVERDUE_FACTOR = 2
"""A job that its host does not know is given up after so many times its time limit."""


@dataclass(slots=True)
class Jobs:
    """The open jobs of a collection, for one run. Not thread-safe.

    `reach` returns the client of a job's host, None if this run knows no such host. `identity`:
    digest of the collection's. `submission`: None if no new job may be made. `warn` is told
    what a user should know: the host, and a sentence. `deferred`, `refused`: documents of this
    run that wait for vectors, and that failed by an answer in a job.
    """

    collection: Collection
    identity: str
    canary: Canary | None
    threshold: float
    reach: Callable[[BatchJobNote], BatchService | None]
    warn: Callable[[str, str], None]
    clock: Callable[[], float]
    patience: Patience
    submission: Submission | None = None
    refused: int = 0
    deferred: int = 0
    jobs: list[Job] = field(default_factory=list)
    spool: Spool = field(default_factory=Spool)
    stopped: threading.Event = field(default_factory=threading.Event)
    _failed: list[str] = field(default_factory=list)
    _services: dict[tuple[str, str], BatchService | None] = field(default_factory=dict)

    # ---- what is open

    def refresh(self) -> None:
        """Ask every host about its jobs; take over those that a killed run created.

        Raises BackendError if a host does not answer.
        """
        notes = self.collection.notes().get("batches", [])
        services = self._services
        for note in notes:
            host = (note["backend"], note["address"])
            if host not in services:
                services[host] = self.reach(note)
            try:
                keys = KeySet(note["keys"])
            except ValueError as error:
                raise StoreError(
                    f"collection {self.collection.name!r}: its note of batch job {note['id']} is "
                    f"damaged: {error}"
                ) from error
            self.jobs.append(Job(note, keys, services[host]))
        for job in list(self.jobs):
            if job.note["identity"] != self.identity:
                self._drop(job, "is of another model or dimension; its results are not used")
            elif job.service is None:
                self.warn(
                    job.note["backend"],
                    f"{job.label} cannot be collected: name its address {job.note['address']} in "
                    "the pipeline, or give its key",
                )
            elif job.note["refused"] is None:
                self._refresh(job, job.service)
        self.save()

    def _refresh(self, job: Job, service: BatchService) -> None:
        note = job.note
        if note["remote"] is None and not self._adopt(job, service):
            return
        remote_id = note["remote"] or ""
        try:
            remote = self.ask(lambda: service.get(remote_id))
        except NotFound as error:
            if not self._overdue(job, service):
                self.warn(
                    note["backend"],
                    f"{job.label} is unknown to its host: {error}. Is the key of another project? "
                    f"Its {counted(note['texts'], 'text')} wait until it is given up after "
                    f"{OVERDUE_FACTOR * service.api.hours} hours",
                )
                return
            self._drop(job, "is unknown to its host and given up; its texts are sent again")
            return
        if remote.state == "failed":
            self._failed.append(f"{note['backend']} failed {job.label}: {remote.message}")
            self._drop(job, f"failed: {remote.message}; its texts are sent again by the next run")
            self.delete_files(service, (remote.uploaded,))
        elif remote.state == "ended":
            job.remote = remote
            if remote.message:
                self.warn(
                    note["backend"],
                    f"{job.label} ended early: {remote.message}; what it has is used, and the "
                    "other texts are sent again",
                )

    def _adopt(self, job: Job, service: BatchService) -> bool:
        """Find a job whose creation was not noted; forget it if it does not exist."""
        note = job.note
        created, uploaded = note["created"], note["file"] or ""
        if created is None:  # the host was never asked to begin
            self.delete_files(service, (uploaded,))
            self.jobs.remove(job)
            return False
        try:
            found = self.ask(lambda: service.find(note["id"], uploaded))
        except NotFound as error:  # this host does not list its jobs
            if not self._overdue(job, service):
                self.warn(
                    note["backend"],
                    f"whether {job.label} exists cannot be found out: {error}. Its "
                    f"{counted(note['texts'], 'text')} wait until it is given up after "
                    f"{OVERDUE_FACTOR * service.api.hours} hours",
                )
                return False
            found = None
        if found is not None:
            note["remote"] = found.id
            self.save()
            return True
        if self.clock() - created < SETTLE_SECONDS:
            return False
        self.delete_files(service, (uploaded,))
        self.jobs.remove(job)
        return False

    def _overdue(self, job: Job, service: BatchService) -> bool:
        """Return whether a job must have ended long ago."""
        limit = OVERDUE_FACTOR * service.api.hours * 3600
        return self.clock() - job.note["made"] >= limit

    def _drop(self, job: Job, why: str) -> None:
        self.warn(job.note["backend"], f"{job.label} {why}")
        self.jobs.remove(job)

    def save(self) -> None:
        """Write the jobs to the collection's notes, if they have changed."""
        notes = [job.note for job in self.jobs]
        if notes != self.collection.notes().get("batches", []):
            self.collection.note({"batches": notes})

    # ---- what the jobs have

    def covered(self, hashes: Values[str]) -> set[str]:
        """Return those of the text hashes that need not be sent any more."""
        self._load_with(hashes)
        known = self.spool.known_texts(hashes) | self.spool.known_results(hashes)
        return known | {each for each in hashes if self.pending(each)}

    def results(self, hashes: Values[str]) -> dict[str, Vectors | str]:
        """Return the vector, or the host's error, of each text hash that a job has an answer for.

        Raises IdentityMismatch if another model made the vectors of a job.
        """
        self._load_with(hashes)
        return self.spool.results(hashes)

    def _load_with(self, hashes: Values[str]) -> None:
        """Load the jobs that have ended and have any of these texts."""
        for job in list(self.jobs):
            wanted = job.remote is not None and not job.loaded
            if wanted and any(each in job.keys for each in hashes):
                self._load(job)

    def _load(self, job: Job) -> None:
        """Read the results of a job into the spool."""
        service, remote = job.service, job.remote
        assert service is not None
        assert remote is not None
        check = CanaryCheck(self.canary)

        def read() -> None:
            for result in service.results(remote):
                if is_canary(result.key):
                    check.add(result)
                elif result.vector is not None:
                    self.spool.add_result(result.key, result.vector, None)
                elif result.error is not None and not job.note["reported"]:
                    job.errors = True
                    self.spool.add_result(result.key, None, result.error)

        try:
            self.ask(read)
        except NotFound as error:
            self._drop(job, f"has no results any more ({error}); its texts are sent again")
            self.save()
            return
        except UnusableResults as error:
            if not self._overdue(job, service):
                raise
            self._drop(job, f"has no usable results ({error}); its texts are sent again")
            self.save()
            return
        problem = check.problem(self.threshold)
        if problem is not None:
            job.note["refused"] = problem
            self.save()
            raise self.mismatch(job, problem)
        job.loaded = True

    def mismatch(self, job: Job, problem: str) -> IdentityMismatch:
        """Return the error about vectors that another model made."""
        return IdentityMismatch(
            f"the vectors of {job.label} at {job.note['backend']} are not used: {problem}. Set "
            "batch = false, and the next run discards them and embeds the texts one request at a "
            "time"
        )

    def pending(self, text_hash: str) -> bool:
        """Return whether a text is in a job that has not ended."""
        return any(
            text_hash in job.keys
            for job in self.jobs
            if job.remote is None and job.note["refused"] is None
        )

    def keep(self, hashes: Iterable[str]) -> None:
        """Keep the jobs that have results of these texts: their document is not complete."""
        names = list(hashes)
        for job in self.jobs:
            job.kept = job.kept or any(each in job.keys for each in names)

    # ---- new jobs

    def add(self, text: SpooledText) -> None:
        """Accept a text for a new job."""
        self.spool.add_text(text)

    def fit(self, text: str) -> str:
        """Return the text that a new job would have. Raises DocumentError if it takes none."""
        return text if self.submission is None else self.submission.service.fit(text)

    def submit(self) -> None:
        """Send the accepted texts. Raises BackendError, or IdentityMismatch."""
        if self._failed:
            raise BackendError("; ".join(self._failed))
        if not self.spool.text_count or self.submission is None:
            return
        for job in self.jobs:
            if job.note["refused"] is not None:
                raise self.mismatch(job, job.note["refused"])
        Submitter(self, self.submission).submit()

    # ---- the end

    @property
    def waiting(self) -> Waiting:
        """What still waits, and for how many jobs."""
        return Waiting.of([job.note for job in self.jobs if job.remote is None], self.deferred)

    def forget(self, sources: Values[str], *, unread: bool) -> None:
        """Forget jobs for whose results no document waits. The run has read all of its plan.

        `sources`: names of those that the run covers. `unread`: some documents could not be read;
        they may have texts in a job.
        """
        for job in self.jobs:
            job.note["reported"] |= job.errors
        for job in list(self.jobs):
            young = self.clock() - job.note["made"] < KEEP_SECONDS
            covered = set(job.note["sources"]) <= set(sources)
            discarded = job.note["refused"] is not None and self.submission is None
            ended = job.remote is not None and not job.kept and covered and not (unread and young)
            if not (ended or discarded):
                continue
            self.jobs.remove(job)
            self.save()
            if job.service is not None and job.remote is not None:
                self.delete_files(job.service, (job.remote.uploaded, *job.remote.files))
        self.save()

    def delete_files(self, service: BatchService, files: Iterable[str]) -> None:
        """Delete files at a host. That one may stay there is no failure of a run."""
        for name in filter(None, files):
            try:
                service.delete_file(name)
            except BackendError:
                continue

    def ask(self, attempt: Callable[[], T]) -> T:
        """Return the answer of a host, with retries."""

        def pause(failure: Transient, tries: int, seconds: float) -> float:
            wait = failure.retry_after
            if wait is None:
                wait = min(self.patience.first * 2.0 ** min(tries - 1, 20), self.patience.longest)
            if seconds + wait > self.patience.total:
                raise BackendError(f"{failure}; tried {counted(tries, 'time')}") from failure
            return wait

        return retry(attempt, Transient, pause, sleep=self.stopped.wait)

    def close(self) -> None:
        """Close all connections, and remove the spool."""
        for service in self._services.values():
            if service is not None:
                service.close()
        if self.submission is not None:
            self.submission.service.close()
        self.spool.close()
