"""Batch APIs beside embedding APIs, as their documentation describes them, each strict.

A job waits until the test lets the host `work`. Results are shuffled, failed texts are in a file
of their own, the list of jobs has pages of two, and unknown fields are refused. The host can kill
its client when a request arrives, or when its answer is ready.
"""

import email.parser
import email.policy
import itertools
import json
import os
import random
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.gemini import GeminiServer
from tests.servers.host import CANARIES, EmbeddingServer, Refusal
from tests.servers.openai import OpenAIServer
from tests.servers.voyage import VoyageServer

PAGE = 2
Answer = tuple[int, bytes, dict[str, str]]
Lines = list[dict[str, Any]]


@dataclass
class StoredFile:
    """A file at the host. `purpose`: "batch" for one with requests."""

    id: str
    name: str
    content: bytes
    purpose: str = "batch"


@dataclass
class StoredJob:
    """A job at the host. `requests` was read when it was created."""

    id: str
    input: str
    requests: Lines
    body: dict[str, Any]
    name: str = ""  # our id
    status: str = "waiting"
    output: str | None = None
    errors: str | None = None
    message: str = ""


@dataclass
class Kill:
    """Kill the client at its n-th request that matches; before or after the host has acted."""

    pattern: str
    pid: int = 0
    before: bool = True
    seen: int = field(default=0)


class BatchHost(EmbeddingServer):
    """What all batch APIs have in common. `submitted`: every text of every job created."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.files: dict[str, StoredFile] = {}
        self.jobs: dict[str, StoredJob] = {}
        self.submitted: list[str] = []
        self.calls: list[str] = []
        self.kill: Kill | None = None
        self.batch_impostor: str | None = None
        self.hidden: set[str] = set()  # ids of jobs that the list does not show yet
        self.broken: dict[str, list[int]] = {}  # "METHOD pattern" -> statuses of the next answers
        self._ids = itertools.count(1)
        self._random = random.Random(7)
        super().__init__(*arguments, **more)

    # ---- what a test does

    def work(self, *, share: float = 1.0, status: str = "completed") -> None:
        """Work on every waiting job, on a share of its texts, and end it."""
        for job in [job for job in self.jobs.values() if job.status == "waiting"]:
            self._work(job, share, status)

    def fail(self, message: str) -> None:
        """Refuse every waiting job as a whole."""
        for job in self.jobs.values():
            if job.status == "waiting":
                job.status, job.message = "failed", message

    def _work(self, job: StoredJob, share: float, status: str) -> None:
        done = round(share * len(job.requests))
        output: Lines = []
        errors: Lines = []
        for number, line in enumerate(job.requests):
            if number >= done:
                errors += self.unprocessed(line, status)
                continue
            honest, self.impostor = self.impostor, self.batch_impostor or self.impostor
            try:
                parsed = self.parse_line(job, line)
                for word, code in self.forbidden.items():
                    if any(word in text.text for text in parsed.texts):
                        raise Refusal(code, f"a text contains {word}")
                items, rest = self.answer(parsed)
                output.append(self.success(line, self.answer_body(items, rest, parsed.encoding)))
            except Refusal as refusal:
                errors.append(self.failure(line, refusal))
            finally:
                self.impostor = honest
        self._random.shuffle(output)
        self.store_results(job, output, errors)
        job.status = status

    def store_results(self, job: StoredJob, output: Lines, errors: Lines) -> None:
        job.output = self._store("output.jsonl", output) if output else None
        job.errors = self._store("errors.jsonl", errors) if errors else None

    def _store(self, name: str, lines: Lines) -> str:
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        return self.new_file(name, content, "batch_output").id

    def new_file(self, name: str, content: bytes, purpose: str = "batch") -> StoredFile:
        file = StoredFile(self.file_id(next(self._ids)), name, content, purpose)
        self.files[file.id] = file
        return file

    def file_id(self, number: int) -> str:
        return f"file-{number:06}"

    # ---- the differences

    def parse_line(self, job: StoredJob, line: dict[str, Any]) -> Any:
        return self.parse(line["body"])

    def success(self, line: dict[str, Any], body: Any) -> dict[str, Any]:
        return {
            "id": f"r-{next(self._ids)}",
            "custom_id": line["custom_id"],
            "response": {"status_code": 200, "request_id": "q", "body": body},
            "error": None,
        }

    def failure(self, line: dict[str, Any], refusal: Refusal) -> dict[str, Any]:
        body = self.error_body(refusal)
        return {
            "id": f"r-{next(self._ids)}",
            "custom_id": line["custom_id"],
            "response": {"status_code": refusal.status, "request_id": "q", "body": body},
            "error": None,
        }

    def unprocessed(self, line: dict[str, Any], status: str) -> Lines:
        code = f"batch_{status}"
        message = "This request could not be executed before the completion window expired."
        error = {"code": code, "message": message}
        return [{"id": "x", "custom_id": line["custom_id"], "response": None, "error": error}]

    def check_lines(self, lines: Lines, known: set[str], key: str = "custom_id") -> None:
        names = [line.get(key) for line in lines]
        for line in lines:
            if set(line) != known:
                raise Refusal(400, f"a line has the fields {sorted(line)}")
        if len(set(names)) != len(names) or not all(isinstance(n, str) and n for n in names):
            raise Refusal(400, f"{key} must be unique")

    # ---- requests

    def raw(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        call = f"{method} {path}"
        kill = self.kill
        dies = kill is not None and re.search(kill.pattern, call) is not None
        if dies and kill is not None and kill.before and kill.pid:
            self._kill(kill)
            raise Refusal(503, "nobody is there to be answered")
        for pattern, statuses in self.broken.items():
            if statuses and re.search(pattern, call):
                status = statuses.pop(0)
                if status >= 0:
                    raise Refusal(status, f"status {status} by request")
                self._handle(method, path, headers, body)  # it acts, and the answer is an error
                raise Refusal(-status, f"status {-status} by request")
        answer = self._handle(method, path, headers, body)
        if answer is not None:
            self.calls.append(call)
        if dies and kill is not None and not kill.before:
            self._kill(kill)
        return answer

    def _kill(self, kill: Kill) -> None:
        if kill.pid:
            os.kill(kill.pid, signal.SIGKILL)
            kill.pid = 0

    def _handle(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer | None:
        given = {name.lower(): value for name, value in headers.items()}
        self.authorize(given.get(self.key_header.lower()))
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return self.route(method, parts.path, query, given, body)

    def route(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes
    ) -> Answer | None:
        """Answer as OpenAI's files and batches do."""
        base = self.path.removesuffix(self.ending)
        if (method, path) == ("POST", f"{base}/files"):
            return self._upload(headers, body)
        if found := re.fullmatch(rf"{base}/files/([\w-]+)(/content)?", path):
            return self.file_route(method, found[1], content=bool(found[2]))
        if (method, path) == ("POST", f"{base}/batches"):
            return self.json(self.describe(self.create(json.loads(body))))
        if (method, path) == ("GET", f"{base}/batches"):
            return self.json(self._list(query))
        if found := re.fullmatch(rf"{base}/batches/([\w-]+)", path):
            return self.json(self.describe(self.job(found[1])))
        return None

    def json(self, value: object) -> Answer:
        return 200, json.dumps(value).encode(), {}

    def file_route(self, method: str, name: str, *, content: bool) -> Answer:
        if name not in self.files:
            raise Refusal(404, f"No such File object: {name}")
        if method == "DELETE":
            del self.files[name]
            return self.json({"id": name, "object": "file", "deleted": True})
        if not content:
            return self.json({"id": name, "object": "file"})
        return 200, self.files[name].content, {}

    def _upload(self, headers: dict[str, str], body: bytes) -> Answer:
        head = f"Content-Type: {headers['content-type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        parts = {p.get_param("name", header="content-disposition"): p for p in message.iter_parts()}
        if set(parts) != {"purpose", "file"}:
            raise Refusal(400, f"unknown form fields {sorted(map(str, parts))}")
        if parts["purpose"].get_content().strip() != "batch":
            raise Refusal(400, "purpose must be batch")
        content = parts["file"].get_payload(decode=True)
        name = parts["file"].get_filename()
        assert isinstance(content, bytes)
        assert name
        file = self.new_file(name, content)
        return self.json({"id": file.id, "object": "file", "filename": name, "purpose": "batch"})

    def job(self, name: str) -> StoredJob:
        if name not in self.jobs:
            raise Refusal(404, f"No batch found with id '{name}'.")
        return self.jobs[name]

    def add(self, uploaded: str, body: dict[str, Any], name: str, lines: Lines) -> StoredJob:
        """Begin a job: from here on its texts are billed."""
        number = next(self._ids)
        job = StoredJob(self.job_id(number), uploaded, lines, body, name)
        with self.lock:
            self.jobs[job.id] = job
            self.submitted += [t for t in map(self.text_of, lines) if t not in CANARIES]
        return job

    def job_id(self, number: int) -> str:
        return f"batch_{number:06}"

    def text_of(self, line: dict[str, Any]) -> str:
        given = line["body"]["input"]
        return given if isinstance(given, str) else str(given[0])

    def lines_of(self, uploaded: Any) -> Lines:
        file = self.files.get(uploaded)
        if file is None or file.purpose != "batch":
            raise Refusal(400, f"Invalid file id: {uploaded}", field="input_file_id")
        return [json.loads(line) for line in file.content.splitlines()]

    def create(self, body: dict[str, Any]) -> StoredJob:
        known = {"input_file_id", "endpoint", "completion_window", "metadata"}
        if set(body) != known:
            raise Refusal(400, f"unknown or missing fields: {sorted(set(body) ^ known)}")
        if body["endpoint"] != "/v1/embeddings" or body["completion_window"] != "24h":
            raise Refusal(400, "wrong endpoint or completion_window")
        lines = self.lines_of(body["input_file_id"])
        self.check_lines(lines, {"custom_id", "method", "url", "body"})
        return self.add(body["input_file_id"], body, body["metadata"]["ragctl_job"], lines)

    def describe(self, job: StoredJob) -> dict[str, Any]:
        status = "in_progress" if job.status == "waiting" else job.status
        data = [{"code": "invalid", "message": job.message, "line": 1}] if job.message else []
        return {
            "id": job.id,
            "object": "batch",
            "endpoint": "/v1/embeddings",
            "errors": {"object": "list", "data": data} if data else None,
            "input_file_id": job.input,
            "completion_window": "24h",
            "status": status,
            "output_file_id": job.output,
            "error_file_id": job.errors,
            "created_at": 1_700_000_000,
            "metadata": job.body.get("metadata"),
            "request_counts": {"total": len(job.requests), "completed": 0, "failed": 0},
        }

    def listed(self) -> list[StoredJob]:
        """Return the jobs that the list shows, newest first."""
        return [job for job in reversed(self.jobs.values()) if job.id not in self.hidden]

    def _list(self, query: dict[str, str]) -> dict[str, Any]:
        jobs = self.listed()
        names = [job.id for job in jobs]
        first = names.index(query["after"]) + 1 if "after" in query else 0
        page = jobs[first : first + min(PAGE, int(query["limit"]))]
        return {
            "object": "list",
            "data": [self.describe(job) for job in page],
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "has_more": first + len(page) < len(jobs),
        }


class OpenAIBatch(BatchHost, OpenAIServer):
    """OpenAI."""


class VoyageBatch(BatchHost, VoyageServer):
    """Voyage: the model and all other parameters belong to the job."""

    def create(self, body: dict[str, Any]) -> StoredJob:
        known = {"input_file_id", "endpoint", "completion_window", "metadata", "request_params"}
        if set(body) != known:
            raise Refusal(400, f"unknown or missing fields: {sorted(set(body) ^ known)}")
        if body["completion_window"] != "12h" or "input" in body["request_params"]:
            raise Refusal(400, "wrong completion_window or request_params")
        lines = self.lines_of(body["input_file_id"])
        self.check_lines(lines, {"custom_id", "body"})
        if any(set(line["body"]) != {"input"} for line in lines):
            raise Refusal(400, "a line may have the input only")
        return self.add(body["input_file_id"], body, body["metadata"]["ragctl_job"], lines)

    def parse_line(self, job: StoredJob, line: dict[str, Any]) -> Any:
        return self.parse({**job.body["request_params"], **line["body"]})


class MistralBatch(BatchHost, OpenAIServer):
    """Mistral: jobs of its own, listed by page number."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, like="mistral", **more)

    def route(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes
    ) -> Answer | None:
        if (method, path) == ("POST", "/v1/batch/jobs"):
            return self.json(self.describe(self.create(json.loads(body))))
        if (method, path) == ("GET", "/v1/batch/jobs"):
            first = int(query["page"]) * int(query["page_size"])
            page = self.listed()[first : first + int(query["page_size"])]
            return self.json({"data": [self.describe(j) for j in page], "total": len(self.jobs)})
        if found := re.fullmatch(r"/v1/batch/jobs/([\w-]+)", path):
            return self.json(self.describe(self.job(found[1])))
        if path.startswith("/v1/batches"):
            raise Refusal(404, "no Route matched with those values")
        return super().route(method, path, query, headers, body)

    def create(self, body: dict[str, Any]) -> StoredJob:
        known = {"input_files", "endpoint", "model", "timeout_hours", "metadata"}
        if set(body) != known:
            raise Refusal(422, f"unknown or missing fields: {sorted(set(body) ^ known)}")
        (uploaded,) = body["input_files"]
        lines = self.lines_of(uploaded)
        self.check_lines(lines, {"custom_id", "body"})
        if any("model" in line["body"] for line in lines):
            raise Refusal(422, "the model belongs to the job")
        return self.add(uploaded, body, body["metadata"]["ragctl_job"], lines)

    def parse_line(self, job: StoredJob, line: dict[str, Any]) -> Any:
        return self.parse({"model": job.body["model"], **line["body"]})

    def describe(self, job: StoredJob) -> dict[str, Any]:
        states = {
            "waiting": "RUNNING",
            "completed": "SUCCESS",
            "expired": "TIMEOUT_EXCEEDED",
            "cancelled": "CANCELLED",
            "failed": "FAILED",
        }
        return {
            "id": job.id,
            "object": "batch",
            "input_files": [job.input],
            "metadata": job.body["metadata"],
            "endpoint": "/v1/embeddings",
            "model": job.body["model"],
            "output_file": job.output,
            "error_file": job.errors,
            "errors": [{"message": job.message, "count": 1}] if job.message else [],
            "status": states[job.status],
            "created_at": 1_700_000_000,
            "total_requests": len(job.requests),
        }


class GeminiBatch(BatchHost, GeminiServer):
    """Gemini: a resumable upload, and operations with a display name."""

    def file_id(self, number: int) -> str:
        return f"files/f{number:06}"

    def job_id(self, number: int) -> str:
        return f"batches/b{number:06}"

    def text_of(self, line: dict[str, Any]) -> str:
        return str(line["request"]["content"]["parts"][0]["text"])

    def route(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes
    ) -> Answer | None:
        if path == "/upload/v1beta/files":
            return self._start(query, headers, body)
        if found := re.fullmatch(r"/v1beta/models/([\w.-]+):asyncBatchEmbedContent", path):
            return self.json(self.describe(self._begin(found[1], json.loads(body))))
        if (method, path) == ("GET", "/v1beta/batches"):
            jobs = self.listed()
            first = int(query.get("pageToken", "0"))
            more = {"nextPageToken": str(first + PAGE)} if first + PAGE < len(jobs) else {}
            page = jobs[first : first + PAGE]
            return self.json({"operations": [self.describe(job) for job in page], **more})
        if found := re.fullmatch(r"/v1beta/(batches/\w+)", path):
            return self.json(self.describe(self.job(found[1])))
        if found := re.fullmatch(r"/download/v1beta/(files/\w+):download", path):
            assert query == {"alt": "media"}
            return self.file_route("GET", found[1], content=True)
        if (found := re.fullmatch(r"/v1beta/(files/\w+)", path)) and method == "DELETE":
            return self.file_route("DELETE", found[1], content=False)
        return None

    def _start(self, query: dict[str, str], headers: dict[str, str], body: bytes) -> Answer:
        command = headers.get("x-goog-upload-command")
        if command == "start":
            assert headers["x-goog-upload-protocol"] == "resumable"
            name = json.loads(body)["file"]["display_name"]
            root = self.url.removesuffix("/v1beta")
            address = f"{root}/upload/v1beta/files?upload_id={name}"
            return 200, b"", {"X-Goog-Upload-URL": address}
        assert command == "upload, finalize"
        assert headers["x-goog-upload-offset"] == "0"
        file = self.new_file(query["upload_id"], body)
        return self.json({"file": {"name": file.id, "displayName": file.name, "state": "ACTIVE"}})

    def _begin(self, model: str, body: dict[str, Any]) -> StoredJob:
        batch = body["batch"]
        assert set(body) == {"batch"}
        assert set(batch) == {"displayName", "inputConfig"}
        uploaded = batch["inputConfig"]["fileName"]
        lines = self.lines_of(uploaded)
        self.check_lines(lines, {"key", "request"}, "key")
        return self.add(uploaded, {"model": model, **batch}, batch["displayName"], lines)

    def parse_line(self, job: StoredJob, line: dict[str, Any]) -> Any:
        model = job.body["model"]
        request = {"model": f"models/{model}", **line["request"]}
        path = f"/v1beta/models/{model}:batchEmbedContents"
        return self.parse_at(path, {"requests": [request]})

    def success(self, line: dict[str, Any], body: Any) -> dict[str, Any]:
        return {"key": line["key"], "response": {"embedding": body["embeddings"][0]}}

    def failure(self, line: dict[str, Any], refusal: Refusal) -> dict[str, Any]:
        return {"key": line["key"], "error": {"code": 3, "message": refusal.message}}

    def unprocessed(self, line: dict[str, Any], status: str) -> Lines:
        return []

    def store_results(self, job: StoredJob, output: Lines, errors: Lines) -> None:
        job.output = self._store("responses.jsonl", [*output, *errors])

    def describe(self, job: StoredJob) -> dict[str, Any]:
        states = {"waiting": "RUNNING", "completed": "SUCCEEDED"}
        state = states.get(job.status, job.status.upper())
        about = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.EmbedContentBatch",
            "model": f"models/{job.body['model']}",
            "displayName": job.body["displayName"],
            "state": f"BATCH_STATE_{state}",
            "inputConfig": job.body["inputConfig"],
        }
        operation: dict[str, Any] = {"name": job.id, "metadata": about}
        if job.status == "waiting":
            return operation
        operation["done"] = True
        if job.status == "failed":
            return {**operation, "error": {"code": 3, "message": job.message}}
        return {**operation, "response": {"responsesFile": job.output}}
