"""A server with the real weights of all-MiniLM-L6-v2, and every fault that a backend can have.

It speaks OpenAI's protocol or that of Text Embeddings Inference, and has /info and /tokenize next
to either. It serves a model with prompts too: the same weights take any.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from ragctl.embedding.base import Vectors
from tests.servers import minilm, tei_methods
from tests.servers.host import EmbeddingServer, Job, Refusal, Text, encode_vector
from tests.servers.minilm import CONTEXT, DIM, Way

NAME = "sentence-transformers/all-MiniLM-L6-v2"
SHA = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
DOCUMENT, QUERY = "passage: ", "query: "


@dataclass(frozen=True)
class Faults:
    """What a server does wrongly.

    `way`: the model is run so. `prompt`: is put in front of every text. `sides`: how the prompt of
    a text is changed. `order`: the place of each vector in an answer of so many. `pads`: vectors
    are cut to so many numbers and padded with zeros. `drops`: `dimensions` is ignored. `unit`:
    vectors are normalised. `cuts`: longer texts are cut, not refused. `sha`, `name`: of the model.
    """

    way: Way = field(default_factory=Way)
    prompt: str = ""
    sides: Callable[[str], str] = str
    order: Callable[[list[str]], list[int]] | None = None
    pads: int | None = None
    drops: bool = False
    unit: bool = True
    cuts: bool = False
    sha: str | None = SHA
    name: str = NAME


class CertifiedServer(EmbeddingServer):
    """`others`: texts of other users that are computed together with a request's, by chance."""

    def __init__(
        self,
        faults: Faults | None = None,
        *,
        style: Literal["openai", "tei"] = "openai",
        tokenizes: bool = True,
        others: random.Random | None = None,
    ) -> None:
        self.style = style
        self.path = "/embed" if style == "tei" else "/v1/embeddings"
        self.ending = "/embed" if style == "tei" else "/embeddings"
        self.wrong = faults or Faults()
        self.tokenizes = tokenizes
        self.others = others
        self.embedded: list[list[str]] = []  # the texts of each request
        super().__init__()

    def authorize(self, header: str | None) -> None:
        pass

    def out_of_credit(self) -> Refusal:
        return Refusal(402, "no credit")

    def usage(self, count: int) -> dict[str, int]:
        return {"prompt_tokens": count, "total_tokens": count}

    def error_body(self, refusal: Refusal) -> object:
        return {"error": refusal.message, "error_type": "Validation"}

    def get(self, path: str) -> object:
        if path == "/v1/models" and self.style == "openai":
            return {"data": [{"id": self.wrong.name}]}
        if path != "/info" or not (self.tokenizes or self.style == "tei"):
            raise Refusal(404, "not found")
        info = tei_methods.server_info(
            self.wrong.name,
            {"embedding": {"pooling": "mean"}},
            limit=CONTEXT,
            batch=32,
            slots=512,
            auto_truncate=self.wrong.cuts,
        )
        return {**info, "model_sha": self.wrong.sha, "model_dtype": self.wrong.way.dtype}

    def ask(self, path: str, body: Any) -> object | None:
        if path != "/tokenize" or not self.tokenizes:
            return None
        return [
            tokens(self.wrong.prompt + text, self.wrong.way)
            for text in tei_methods.checked_texts(body.get("inputs"), 32)
        ]

    def parse(self, body: Any) -> Job:
        texts = body["inputs" if self.style == "tei" else "input"]
        with self.lock:
            self.embedded.append(texts)
        texts = [self.wrong.prompt + self.wrong.sides(text) for text in texts]
        for text in texts:
            count = len(minilm.tokenizer()(text, verbose=False)["input_ids"])
            if count > CONTEXT and not self.wrong.cuts:
                raise Refusal(422, f"`inputs` must have less than 256 tokens. Given: {count}")
        return Job(
            self.wrong.name, "", DIM, body.get("dimensions"), [Text(None, text) for text in texts]
        )

    def answer(self, job: Job) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        texts = [text.text for text in job.texts]
        rows = self._vectors(tuple(texts))
        if job.dim is not None and not self.wrong.drops:
            rows = rows[:, : job.dim]
        if self.wrong.unit:
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rounded(rows, self.wrong.way.dtype)
        if self.wrong.pads is not None:
            rows[:, self.wrong.pads :] = 0
        if self.wrong.order is not None:
            rows = rows[self.wrong.order(texts)]
        items: list[dict[str, Any]] = [
            {"object": "embedding", "index": index, "embedding": row}
            for index, row in enumerate(rows)
        ]
        count = sum(len(minilm.token_ids(text, self.wrong.way)) for text in texts)
        return items, {"object": "list", "model": job.model, "usage": self.usage(count)}

    def answer_body(self, items: Any, rest: dict[str, Any], encoding: str) -> object:
        if self.style == "tei":
            return [encode_vector(item["embedding"], "float") for item in items]
        return super().answer_body(items, rest, encoding)

    def _vectors(self, texts: tuple[str, ...]) -> Vectors:
        way = self.wrong.way
        if self.others is None:
            return computed(texts, way)
        before, after = self.others.choice(OTHERS)
        rows = computed((*before, *texts, *after), way)
        return rows[len(before) : len(before) + len(texts)]


_SENTENCE = "Please send the minutes of the meeting on Thursday to everybody who could not attend."
OTHERS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    ((), ()),
    (("ok",), ()),
    ((), (_SENTENCE,)),
    ((30 * "one two three ",), ("Согласование договора займёт две недели.",)),
    ((_SENTENCE, "ok"), (30 * "one two three ",)),
)
"""Texts of other users before and behind those of a request; few, as vectors are remembered."""


@lru_cache(maxsize=4096)
def computed(texts: tuple[str, ...], way: Way) -> Vectors:
    """Return the vectors of texts that are computed together; remembered, as tests repeat them."""
    return minilm.embed(texts, way)


def rounded(rows: Vectors, dtype: str) -> Vectors:
    """Return vectors as a server with this number type sends them."""
    import torch

    typed = torch.from_numpy(np.ascontiguousarray(rows)).to(getattr(torch, dtype))
    found: Vectors = typed.float().numpy().copy()
    return found


def tokens(text: str, way: Way) -> list[dict[str, Any]]:
    """Return the tokens of a text as Text Embeddings Inference shows them."""
    encoded = minilm.tokenizer()(
        text, return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False
    )
    names = minilm.tokenizer().convert_ids_to_tokens(encoded["input_ids"])
    shown = []
    for number, name, (start, stop), special in zip(
        *(encoded["input_ids"], names, encoded["offset_mapping"], encoded["special_tokens_mask"]),
        strict=True,
    ):
        place = {"start": None, "stop": None} if special else {"start": start, "stop": stop}
        own = name if special else text[start:stop]
        shown.append({"id": number, "text": own, "special": bool(special), **place})
    return shown if way.eos else shown[:-1]


def reverse(texts: list[str]) -> list[int]:
    return list(range(len(texts)))[::-1]


def rotate(texts: list[str]) -> list[int]:
    return [*range(1, len(texts)), 0]


def by_length(texts: list[str]) -> list[int]:
    return sorted(range(len(texts)), key=lambda place: len(texts[place]))


def swap_last(texts: list[str]) -> list[int]:
    places = list(range(len(texts)))
    return [*places[:-2], *places[:-3:-1]] if len(places) > 1 else places


def same_side(text: str) -> str:
    """Return a text as if the host ignored which side it belongs to."""
    return text.replace(QUERY, DOCUMENT, 1) if text.startswith(QUERY) else text


def other_side(text: str) -> str:
    """Return a text with the prompt of the other side."""
    if text.startswith(QUERY):
        return DOCUMENT + text.removeprefix(QUERY)
    return QUERY + text.removeprefix(DOCUMENT) if text.startswith(DOCUMENT) else text


def no_prompt(text: str) -> str:
    return text.removeprefix(QUERY).removeprefix(DOCUMENT)


def wrong_way(**changes: Any) -> Faults:
    return Faults(replace(Way(), **changes))
