"""OpenAI's batch API, which many compatible hosts have too.

POST /files with purpose=batch, POST /batches, GET /batches/{id}, GET /batches, and GET
/files/{id}/content (its API reference of 2026). The texts that failed are in a file of their
own. A job that expired or was cancelled keeps the results that it has; only those are billed.
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import IO, ClassVar
from urllib.parse import quote

from ragctl.batch.service import (
    MAX_PAGES,
    BatchService,
    JobState,
    Object,
    RemoteJob,
    Result,
    object_of,
    objects_of,
    text_of,
)
from ragctl.errors import BackendError
from ragctl.hosts.responses import json_object
from ragctl.records import Json

JOB_KEY = "ragctl_job"
"""Key of our id in a job's metadata."""
PAGE = 100  # jobs
NOT_PROCESSED = frozenset({"batch_expired", "batch_cancelled"})
"""Codes of texts that the host did not work on before the job ended."""


class OpenAI(BatchService):
    """The batch API of OpenAI and of compatible hosts."""

    states: ClassVar[dict[str, JobState]] = {
        "failed": "failed",
        "completed": "ended",
        "expired": "ended",
        "cancelled": "ended",
    }
    window: ClassVar[str] = "24h"

    def request(self, key: str, body: dict[str, Json]) -> dict[str, Json]:
        """See BatchService.request."""
        return {"custom_id": key, "method": "POST", "url": self.endpoint, "body": body}

    def upload(self, job: str, file: IO[bytes]) -> str:
        """See BatchService.upload."""
        name = f"ragctl-{job}.jsonl"
        answer = self.client.upload("/files", file, name, {"purpose": "batch"})
        return self._id(answer, "a file")

    def create(self, job: str, uploaded: str) -> RemoteJob:
        """See BatchService.create."""
        body: dict[str, Json] = {
            "input_file_id": uploaded,
            "endpoint": self.endpoint,
            "completion_window": self.window,
            "metadata": {JOB_KEY: job},
        }
        return self.read(self.client.ask("/batches", body | self.parameters()))

    def parameters(self) -> dict[str, Json]:
        """Return the fields of a job that are the same for all its texts."""
        return {}

    def get(self, remote: str) -> RemoteJob:
        """See BatchService.get."""
        return self.read(self.client.find(f"/batches/{quote(remote, safe='')}"))

    def jobs(self) -> Iterator[tuple[str, RemoteJob]]:
        """See BatchService.jobs."""
        after = ""
        for _ in range(MAX_PAGES):
            page = self.client.find(f"/batches?limit={PAGE}{after}")
            answer = json_object(page, self.client.host)
            jobs = objects_of(answer.get("data"))
            for each in jobs:
                yield text_of(object_of(each.get("metadata")).get(JOB_KEY)), self.read(each)
            last = text_of(answer.get("last_id")) or (text_of(jobs[-1].get("id")) if jobs else "")
            if not answer.get("has_more") or not last:
                return
            after = f"&after={quote(last, safe='')}"

    def read(self, answer: object) -> RemoteJob:
        """Return the job that the host describes."""
        job = json_object(answer, self.client.host)
        status = text_of(job.get("status")).lower()
        files = (text_of(job.get("output_file_id")), text_of(job.get("error_file_id")))
        errors = [text_of(each.get("message")) for each in objects_of(_errors(job))]
        early = "" if status == "completed" else status
        return RemoteJob(
            self._id(job, "a job"),
            self.states.get(status, "waiting"),
            text_of(job.get("input_file_id")),
            tuple(filter(None, files)),
            "; ".join(filter(None, errors)) or early,
        )

    def _id(self, answer: object, what: str) -> str:
        name = text_of(json_object(answer, self.client.host).get("id"))
        if not name:
            raise BackendError(f"{self.client.host} answered {what} without an id")
        return name

    def _result(self, line: Object) -> Result:
        key = text_of(line.get("custom_id"))
        response = object_of(line.get("response"))
        error = object_of(line.get("error"))
        if error:
            if text_of(error.get("code")) in NOT_PROCESSED:
                return Result(key)
            return Result(key, error=f"{self.client.host}: {_message(error)}")
        if response.get("status_code", HTTPStatus.OK) != HTTPStatus.OK:
            body = object_of(response.get("body"))
            problem = object_of(body.get("error")) or body
            return Result(
                key,
                error=f"{self.client.host}: {response.get('status_code')} {_message(problem)}",
            )
        return self.vector(key, response.get("body"))


def _errors(job: Object) -> object:
    """Return the list of a job's errors; hosts differ in where it is."""
    errors = job.get("errors")
    return errors if isinstance(errors, list) else object_of(errors).get("data")


def _message(error: Object) -> str:
    for name in ("message", "detail", "code"):
        if text := text_of(error.get(name)):
            return text
    return "failed without a message"


API = OpenAI
