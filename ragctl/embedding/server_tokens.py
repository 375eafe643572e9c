"""Counts tokens with a server's own tokenizer, at /tokenize; nothing is embedded for it.

Text Embeddings Inference takes {"inputs": […]} and answers a list of tokens for each text.
vLLM and LiteLLM take {"prompt": text} and answer {"count", …}; a llama.cpp server takes
{"content": text} and answers {"tokens": […]}.
"""

from collections.abc import Sequence

from ragctl.errors import BackendError
from ragctl.hosts.errors import Transient
from ragctl.hosts.http import HostClient
from ragctl.records import Json

MAX_TEXTS = 32  # of a request to Text Embeddings Inference, by default


class ServerTokens:
    """Counts the tokens of texts, with those that the tokenizer adds.

    `url`: of the server, without a path such as /v1; empty: that of `client`. `texts`: how many
    Text Embeddings Inference takes in one request; None: another server, which takes one.
    """

    def __init__(self, client: HostClient, url: str, model: str, *, texts: int | None) -> None:
        self._client = client
        self._url = f"{url}/tokenize"
        self._model = model
        self._texts = texts
        self._available = True

    def count(self, texts: Sequence[str], prompt_name: str | None = None) -> list[int] | None:
        """Return the number of tokens of each text; None if the server does not say.

        A server without /tokenize is not asked again. Raises Transient if it cannot be reached.
        """
        size = min(self._texts or 1, MAX_TEXTS)
        counts: list[int] = []
        for start in range(0, len(texts), size):
            part = texts[start : start + size]
            found = self._ask(part, prompt_name) if self._available else None
            if found is None or min(found) < 1:
                return None
            counts += found
        return counts

    def _ask(self, texts: Sequence[str], prompt_name: str | None) -> list[int] | None:
        try:
            answer = self._client.ask(self._url, self._body(texts, prompt_name))
        except Transient as failure:
            if failure.answered:
                return None  # a failure of the count is not one of the texts
            raise
        except BackendError:
            self._available = False
            return None
        if self._texts is not None:
            if not isinstance(answer, list) or len(answer) != len(texts):
                return None
            if not all(isinstance(tokens, list) for tokens in answer):
                return None
            return [len(tokens) for tokens in answer]
        if not isinstance(answer, dict):
            return None
        count, tokens = answer.get("count"), answer.get("tokens")
        if type(count) is int:
            return [count]
        return [len(tokens)] if isinstance(tokens, list) else None

    def _body(self, texts: Sequence[str], prompt_name: str | None) -> dict[str, Json]:
        if self._texts is not None:
            body: dict[str, Json] = {"inputs": [*texts], "add_special_tokens": True}
            return body | ({"prompt_name": prompt_name} if prompt_name is not None else {})
        (text,) = texts
        special: dict[str, Json] = {"add_special_tokens": True, "add_special": True}
        return {"model": self._model, "prompt": text, "content": text} | special


def positive(value: object) -> int | None:
    """Return a limit in a server's answer, or None if it is not a positive integer."""
    return value if type(value) is int and value > 0 else None
