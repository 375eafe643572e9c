"""Collects what a certification judges: a backend's answers to at most twelve texts."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ragctl.catalog import Model
from ragctl.check.certify.facts import ServerFacts, server_facts
from ragctl.check.certify.texts import BATCH, LONGEST_EXCESS_TOKENS, MAX_TEXTS, tail_pair, too_long
from ragctl.embedding import answers, canary
from ragctl.embedding.base import EmbeddingRequest, Embeddings, Side, Vectors
from ragctl.embedding.failover import ConnectedBackend
from ragctl.errors import Interrupted
from ragctl.hosts.errors import Refused

ALONE = (0, 2, 3)
"""Positions in BATCH of texts that are embedded alone too, the short ones; the last of them only
if there is no reference that its place in an answer shows by."""


@dataclass(slots=True)
class Evidence:
    """A backend's answers.

    `batch`: the vectors of BATCH as documents; `together`: in one request. `alone`: by position
    in BATCH, vectors of requests with one text. `query`: of the canary query. `length`, `norms`:
    of the host's vectors. `cut`: cosine between a vector that the host cut and one cut here; None:
    it was not asked to. `tail`: cosine between two texts of `words` words with different ends;
    None: they were refused for `refusal`. `excess`: whether a text longer than the context was
    answered; None: none was sent.
    """

    batch: Vectors
    together: bool
    query: Vectors
    alone: dict[int, Vectors]
    length: int
    norms: tuple[float, float]
    facts: ServerFacts
    words: int
    cut: float | None = None
    tail: float | None = None
    refusal: str = ""
    excess: bool | None = None


@dataclass(slots=True)
class Sender:
    """Sends texts to one backend and counts them. `begin` is told the name of each step."""

    backend: ConnectedBackend
    stopped: threading.Event
    begin: Callable[[str], None]
    texts: int = 0
    requests: int = 0
    tokens: int = 0

    def send(self, step: str, side: Side, *texts: str) -> Embeddings:
        """Return the vectors of one request. Raises BackendError."""
        assert self.left >= len(texts), "the steps of a certification fit into twelve texts"
        self.begin(step)
        if self.stopped.is_set():
            raise Interrupted("time is up")
        self.texts += len(texts)
        self.requests += 1
        answer = self.backend.service.call(EmbeddingRequest(side, texts, self.stopped)).complete()
        self.tokens += answer.tokens
        return answer

    def ask(self, side: Side, text: str) -> Vectors | None:
        """Return the vector of one more text; None if there are no texts left for it."""
        try:
            return self.send("diagnosis", side, text).vectors[0] if self.left else None
        except Refused:
            return None

    @property
    def left(self) -> int:
        """How many more texts may be sent."""
        return MAX_TEXTS - self.texts


def collect(sender: Sender, model: Model, words: int, *, compared: bool) -> Evidence:
    """Send the texts that every certification needs. Raises BackendError.

    `compared`: there is a reference, which shows the order of an answer.
    """
    facts = server_facts(sender.backend.wire, model)
    try:
        batch, together = sender.send("document", "document", *BATCH), True
    except Refused:
        # The refusal may have been checked with a text of one word.
        sender.texts += 1
        parts = [sender.send("document", "document", text) for text in BATCH]
        batch, together = answers.joined(parts), False
    query = sender.send("query", "query", canary.QUERY)
    alone = {
        position: sender.send("batch", "document", BATCH[position]).vectors[0]
        for position in ((ALONE[:2] if compared else ALONE) if together else ())
    }
    evidence = Evidence(
        batch.vectors,
        together,
        query.vectors,
        alone,
        batch.length or batch.vectors.shape[1],
        (min(batch.norms[0], query.norms[0]), max(batch.norms[1], query.norms[1])),
        facts,
        words,
    )
    _collect_tail(sender, evidence)
    return evidence


def _collect_tail(sender: Sender, evidence: Evidence) -> None:
    pair = tail_pair(evidence.words)
    try:
        if evidence.together:
            one, other = sender.send("truncation", "document", *pair).vectors
        else:
            one, other = (sender.send("truncation", "document", each).vectors[0] for each in pair)
    except Refused as refusal:
        evidence.refusal = str(refusal)
        return
    evidence.tail = float(one @ other)


def collect_excess(sender: Sender, evidence: Evidence, context: int | None) -> None:
    """Send a text that is longer than the context, if texts are left for it."""
    # A host that refuses it may be asked about a text of one word too.
    if context is None or context > LONGEST_EXCESS_TOKENS or sender.left < 2:
        return
    try:
        sender.send("truncation", "document", too_long(context))
    except Refused:
        evidence.excess = False
        sender.texts += 1
        return
    evidence.excess = True
