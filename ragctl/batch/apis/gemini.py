"""Gemini's batch API: models.asyncBatchEmbedContent, with a file of requests.

The file is sent by the resumable protocol of the File API, the job is an operation at
/batches/{id} with our id as its display name, and the results are a file too (Google's API
reference of 2026, and its page on the batch API). The form of a failed line is inferred from that
of inline answers: `error` in place of `response`.
"""

import json
from collections.abc import Iterator
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

PREFIX = "ragctl-"
PAGE = 100  # jobs


class Gemini(BatchService):
    """The batch API of Gemini."""

    states: ClassVar[dict[str, JobState]] = {
        "FAILED": "failed",
        "SUCCEEDED": "ended",
        "CANCELLED": "ended",
        "EXPIRED": "ended",
    }

    def request(self, key: str, body: dict[str, Json]) -> dict[str, Json]:
        """See BatchService.request."""
        (request,) = objects_of(body["requests"])
        fields = {name: value for name, value in request.items() if name != "model"}
        return {"key": key, "request": fields}  # type: ignore[dict-item]

    def upload(self, job: str, file: IO[bytes]) -> str:
        """See BatchService.upload."""
        size = str(file.seek(0, 2))
        start = json.dumps({"file": {"display_name": f"{PREFIX}{job}"}}).encode()
        _, headers = self.client.send(
            self._rooted("upload", "/files"),
            start,
            {
                "X-Goog-Upload-Protocol": "resumable",
                "X-Goog-Upload-Command": "start",
                "X-Goog-Upload-Header-Content-Length": size,
                "X-Goog-Upload-Header-Content-Type": "application/jsonl",
                "Content-Type": "application/json",
            },
        )
        answer, _ = self.client.send(
            self._own(headers.get("x-goog-upload-url", "")),
            file,
            {
                "Content-Length": size,
                "X-Goog-Upload-Offset": "0",
                "X-Goog-Upload-Command": "upload, finalize",
            },
        )
        stored = object_of(json_object(answer, self.client.host).get("file"))
        return self._name(stored, "a file")

    def _rooted(self, method: str, path: str) -> str:
        """Return an address beside the base URL: /upload/v1beta/files."""
        root, _, version = (self.wire.backend.base_url or "").rpartition("/")
        return f"{root}/{method}/{version}{path}"

    def _own(self, address: str) -> str:
        """Return an address that the host gave, if it is on that host; the key is sent there."""
        root = (self.wire.backend.base_url or "").rpartition("/")[0]
        if not address.startswith(f"{root}/"):
            raise BackendError(f"{self.client.host} names no address of its own for an upload")
        return address

    def create(self, job: str, uploaded: str) -> RemoteJob:
        """See BatchService.create."""
        batch: dict[str, Json] = {
            "displayName": f"{PREFIX}{job}",
            "inputConfig": {"fileName": uploaded},
        }
        path = f"/models/{self.wire.served.id}:asyncBatchEmbedContent"
        return self.read(self.client.ask(path, {"batch": batch}))

    def get(self, remote: str) -> RemoteJob:
        """See BatchService.get."""
        return self.read(self.client.find(f"/{quote(remote)}"))

    def jobs(self) -> Iterator[tuple[str, RemoteJob]]:
        """See BatchService.jobs."""
        token = ""
        for _ in range(MAX_PAGES):
            page = self.client.find(f"/batches?pageSize={PAGE}{token}")
            answer = json_object(page, self.client.host)
            for each in objects_of(answer.get("operations")):
                name = text_of(object_of(each.get("metadata")).get("displayName"))
                own = name.removeprefix(PREFIX) if name.startswith(PREFIX) else ""
                yield own, self.read(each)
            following = text_of(answer.get("nextPageToken"))
            if not following:
                return
            token = f"&pageToken={quote(following, safe='')}"

    def read(self, answer: object) -> RemoteJob:
        """Return the job of an operation."""
        job = json_object(answer, self.client.host)
        about = object_of(job.get("metadata"))
        state = text_of(about.get("state")).removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
        error = object_of(job.get("error"))
        done: JobState = ("failed" if error else "ended") if job.get("done") else "waiting"
        output = {**object_of(about.get("output")), **object_of(job.get("response"))}
        files = text_of(output.get("responsesFile"))
        return RemoteJob(
            self._name(job, "a job"),
            self.states.get(state, done),
            text_of(object_of(about.get("inputConfig")).get("fileName")),
            (files,) if files else (),
            text_of(error.get("message")) or ("" if state == "SUCCEEDED" else state.lower()),
        )

    def _name(self, answer: Object, what: str) -> str:
        name = text_of(answer.get("name"))
        if not name:
            raise BackendError(f"{self.client.host} answered {what} without a name")
        return name

    def content_path(self, name: str) -> str:
        """See BatchService.content_path."""
        return self._rooted("download", f"/{quote(name)}:download?alt=media")

    def delete_file(self, name: str) -> None:
        """See BatchService.delete_file."""
        self.client.delete(f"/{quote(name)}")

    def _result(self, line: Object) -> Result:
        key = text_of(line.get("key"))
        error = object_of(line.get("error"))
        if error:
            message = text_of(error.get("message")) or "failed without a message"
            return Result(key, error=f"{self.client.host}: {message}")
        response = object_of(line.get("response"))
        embeddings = response.get("embeddings", [response.get("embedding")])
        return self.vector(key, {"embeddings": embeddings})


API = Gemini
