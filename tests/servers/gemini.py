"""Gemini's batchEmbedContents, strict: unknown fields refused, Gemini's errors, no usage."""

import re
from typing import Any

from tests.servers.faults import Items
from tests.servers.host import EmbeddingServer, Job, Refusal, Text, encode_vector, main

MODEL = "gemini-embedding-001"
MODEL_2 = "gemini-embedding-2"
_PATH = re.compile(rf"/v1beta/models/({MODEL}|{MODEL_2}):batchEmbedContents")
_DIM = 3072
_MIN_DIM = 128
_CONTEXTS = {MODEL: 2048, MODEL_2: 8192}
_PREFIXES = {"title: none | text: ": "document", "task: search result | query: ": "query"}
"""Words in the text that are the task of gemini-embedding-2, which ignores taskType."""
_MAX_TEXTS = 100
_SIDES = {"RETRIEVAL_DOCUMENT": "document", "RETRIEVAL_QUERY": "query"}
_TASKS = (
    *_SIDES,
    "TASK_TYPE_UNSPECIFIED",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
)
_STATUSES = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPE = "type.googleapis.com/google.rpc."


class GeminiServer(EmbeddingServer):
    """The Gemini API's embedding method.

    A text beyond the context is truncated silently, as the hosted API is reported
    to do; if `context` is given, it is refused.
    """

    path = f"/v1beta/models/{MODEL}:batchEmbedContents"
    ending = f"/models/{MODEL}:batchEmbedContents"
    key_header = "x-goog-api-key"

    def serves(self, path: str) -> bool:
        return _PATH.fullmatch(path) is not None

    def authorize(self, header: str | None) -> None:
        if self.key is None or header == self.key:
            return
        if header is None:
            raise Refusal(403, "Method doesn't allow unregistered callers")
        raise Refusal(400, f"API key not valid: {header}", "API_KEY_INVALID")

    def out_of_credit(self) -> Refusal:
        quota = "EmbedContentRequestsPerDayPerUserPerProjectPerModel-FreeTier"
        return Refusal(429, "You exceeded your current quota", quota)

    def error_body(self, refusal: Refusal) -> object:
        details: list[dict[str, object]] = []
        if refusal.code == "API_KEY_INVALID":
            details = [{"@type": f"{_TYPE}ErrorInfo", "reason": refusal.code}]
        elif refusal.status == 429:
            violation = {"quotaId": refusal.code, "quotaValue": "100"}
            details = [
                {"@type": f"{_TYPE}QuotaFailure", "violations": [violation]},
                {"@type": f"{_TYPE}RetryInfo", "retryDelay": "0.02s"},
            ]
        status = _STATUSES.get(refusal.status, "UNKNOWN")
        error = {"code": refusal.status, "message": refusal.message, "status": status}
        return {"error": error | ({"details": details} if details else {})}

    def usage(self, count: int) -> dict[str, int]:
        return {}

    def answer_body(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return {
            "embeddings": [
                {"values": encode_vector(item["embedding"], encoding)}
                if "embedding" in item
                else {}
                for item in items
            ]
        }

    def parse(self, body: Any) -> Job:
        raise AssertionError("the model is in the path")

    def parse_at(self, path: str, body: Any) -> Job:
        match = _PATH.fullmatch(path)
        assert match is not None
        model, context = match[1], _CONTEXTS[match[1]]
        self._check_fields(body, {"requests"}, "")
        requests = body.get("requests")
        if not isinstance(requests, list) or not requests:
            raise Refusal(400, "* BatchEmbedContentsRequest.requests: must not be empty")
        if len(requests) > _MAX_TEXTS:
            limit = f"at most {_MAX_TEXTS} requests can be in one batch"
            raise Refusal(400, f"* BatchEmbedContentsRequest.requests: {limit}\n")
        read = [
            self._parse_item(request, f"requests[{n}]", model) for n, request in enumerate(requests)
        ]
        dims = {dim for _, dim in read}
        texts = [text for text, _ in read]
        if self.context is None:
            texts = self.cut(texts, context)
        else:
            reason = "The input token count exceeds the maximum number of tokens allowed"
            self.check_length(texts, context, Refusal(400, reason))
        assert len(dims) == 1, "ragctl requests one dimension per batch"
        dim = dims.pop()
        # Of gemini-embedding-001 only the full vector is unit length.
        unit = model == MODEL_2 or dim in (None, _DIM)
        return Job(model, model, _DIM, dim, texts, unit=unit, indexed=False)

    def _parse_item(self, request: Any, where: str, model: str) -> tuple[Text, int | None]:
        known = {"model", "content", "taskType", "title", "outputDimensionality"}
        self._check_fields(request, known, where)
        if request.get("model") != f"models/{model}":
            raise Refusal(400, f"* {where}.model: must match the batch's model")
        task = request.get("taskType", "TASK_TYPE_UNSPECIFIED")
        if task not in _TASKS:
            raise Refusal(400, f"Invalid value at '{where}.task_type' (TaskType), \"{task}\"")
        dim = request.get("outputDimensionality")
        if dim is not None and (type(dim) is not int or not _MIN_DIM <= dim <= _DIM):
            raise Refusal(400, f"output_dimensionality must be within [{_MIN_DIM}, {_DIM}]")
        content = request.get("content")
        self._check_fields(content, {"parts", "role"}, f"{where}.content")
        parts = content.get("parts")
        if not isinstance(parts, list) or len(parts) != 1:
            raise Refusal(400, f"* {where}.content: contents is not specified")
        self._check_fields(parts[0], {"text"}, f"{where}.content.parts[0]")
        text = parts[0].get("text")
        if not isinstance(text, str) or not text:
            raise Refusal(400, f"* {where}.content: content is empty")
        if model == MODEL_2:
            return _side_in_text(text), dim
        return Text(_SIDES.get(task, task), text), dim

    def _check_fields(self, value: Any, names: set[str], where: str) -> None:
        if not isinstance(value, dict):
            raise Refusal(400, f"Invalid JSON payload received. '{where}' is no object")
        for name in value:
            if name not in names:
                raise Refusal(
                    400,
                    f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': "
                    "Cannot find field.",
                )


def _side_in_text(text: str) -> Text:
    for prefix, side in _PREFIXES.items():
        if text.startswith(prefix):
            return Text(side, text.removeprefix(prefix))
    return Text("no prompt", text)


if __name__ == "__main__":
    main(GeminiServer)
