"""Mistral's batch API: OpenAI's files, and jobs of its own at /batch/jobs.

The model is a parameter of the job (its Python client, and its page on batch inference).
"""

from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import quote

from ragctl.batch.apis.openai import JOB_KEY, PAGE, OpenAI
from ragctl.batch.service import (
    MAX_PAGES,
    JobState,
    RemoteJob,
    object_of,
    objects_of,
    text_of,
)
from ragctl.hosts.responses import json_object
from ragctl.records import Json


class Mistral(OpenAI):
    """The batch API of Mistral."""

    states: ClassVar[dict[str, JobState]] = {
        "failed": "failed",
        "success": "ended",
        "timeout_exceeded": "ended",
        "cancelled": "ended",
    }

    def request(self, key: str, body: dict[str, Json]) -> dict[str, Json]:
        """See BatchService.request."""
        return {"custom_id": key, "body": {k: v for k, v in body.items() if k != "model"}}

    def create(self, job: str, uploaded: str) -> RemoteJob:
        """See BatchService.create."""
        body: dict[str, Json] = {
            "input_files": [uploaded],
            "endpoint": self.endpoint,
            "model": self.wire.served.id,
            "timeout_hours": self.api.hours,
            "metadata": {JOB_KEY: job},
        }
        return self.read(self.client.ask("/batch/jobs", body))

    def get(self, remote: str) -> RemoteJob:
        """See BatchService.get."""
        return self.read(self.client.find(f"/batch/jobs/{quote(remote, safe='')}"))

    def jobs(self) -> Iterator[tuple[str, RemoteJob]]:
        """See BatchService.jobs."""
        for page in range(MAX_PAGES):
            path = f"/batch/jobs?page={page}&page_size={PAGE}"
            answer = json_object(self.client.find(path), self.client.host)
            jobs = objects_of(answer.get("data"))
            for each in jobs:
                yield text_of(object_of(each.get("metadata")).get(JOB_KEY)), self.read(each)
            if len(jobs) < PAGE:
                return

    def read(self, answer: object) -> RemoteJob:
        """See OpenAI.read."""
        job = json_object(answer, self.client.host)
        inputs = job.get("input_files")
        return super().read(
            {
                **job,
                "input_file_id": inputs[0] if isinstance(inputs, list) and inputs else None,
                "output_file_id": job.get("output_file"),
                "error_file_id": job.get("error_file"),
            }
        )


API = Mistral
