"""One line when a host fails for a while, and one when it answers again."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from ragctl.hosts.addresses import is_loopback
from ragctl.hosts.errors import Transient
from ragctl.hosts.keys import ApiKey
from ragctl.records import Notify

SHORT_SECONDS = 5.0
"""The end of an outage shorter than this is not reported."""
REPEAT_SECONDS = 60.0
"""A host that fails now and then is reported at most once in this time."""
MINUTES_FROM_SECONDS = 120
HOURS_FROM_SECONDS = 2 * 3_600
DAYS_FROM_SECONDS = 2 * 86_400
MOST_DAYS = 365

_START_COMMANDS = {
    "ollama": "ollama serve",
    "ollama-legacy": "ollama serve",
    "tei": "text-embeddings-router",
    "tei-openai": "text-embeddings-router",
    "vllm": "vllm serve",
    "infinity": "infinity_emb v2",
}
"""What starts the server of a backend or reranker, by name."""


class OutageNotice:
    """Tells `notify` who fails, why, for how long it is tried again, and what may help.

    An outage begins with the first failure, and ends when no request fails any more. `advice`
    returns what a user can do about a failure. Safe to use from any thread.
    """

    def __init__(
        self,
        name: str,
        notify: Notify,
        advice: Callable[[Transient], str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._notify = notify
        self._advice = advice
        self._clock = clock
        self._lock = threading.Lock()
        self._failing = 0  # requests
        self._since: float | None = None  # the beginning of the outage that was reported
        self._reported_at = -math.inf

    def failed(self, failure: Transient, *, first: bool, patience: float) -> None:
        """Report an outage, unless it is known.

        `first`: of this request. `patience`: for how many more seconds it is tried.
        """
        with self._lock:
            self._failing += first
            now = self._clock()
            if self._since is not None or now - self._reported_at < REPEAT_SECONDS:
                return
            self._since = self._reported_at = now
        wait = failure.retry_after
        pause = f"waiting {duration(wait)} as it asks, and " if wait else ""
        self._notify(
            f"{self._name} fails: {failure}; {pause}trying again for up to {duration(patience)}; "
            f"{self._advice(failure)}"
        )

    def ended(self, *, answered: bool) -> None:
        """Note that a request no longer fails, because it was `answered` or given up."""
        with self._lock:
            self._failing -= 1
            if self._failing or self._since is None:
                return
            lasted, self._since = self._clock() - self._since, None
        if answered and lasted >= SHORT_SECONDS:
            self._notify(f"{self._name} answers again after {duration(lasted)}")


def duration(seconds: float) -> str:
    """Return a duration in words, such as "20 s", "2 min" or "more than a year"."""
    if math.isinf(seconds):
        return "ever"
    if seconds > MOST_DAYS * 86_400:
        return "more than a year"
    if seconds >= DAYS_FROM_SECONDS:
        return f"{seconds / 86_400:.0f} days"
    if seconds >= HOURS_FROM_SECONDS:
        return f"{seconds / 3_600:.0f} h"
    if seconds >= MINUTES_FROM_SECONDS:
        return f"{seconds / 60:.0f} min"
    return f"{math.ceil(seconds)} s"


def outage_advice(
    name: str, url: str, keys: Sequence[str], key: ApiKey | None
) -> Callable[[Transient], str]:
    """Return a function that says what may help against a failure.

    `name`: the backend or reranker. `keys`: the variables that may hold its key; `key`: the one
    that is sent.
    """
    local = is_loopback(url)
    command = _START_COMMANDS.get(name)
    started = f"is the server running (`{command}`)" if command else "is the server running"

    def advice(failure: Transient) -> str:
        if not failure.answered:
            if local:
                return f"{started}, and on port {urlsplit(url).port or 80}?"
            return f"is the address {url} right, and can this machine reach it?"
        if key is None and keys and not local:
            return f"it may want a key: set {keys[0]}"
        if failure.status == HTTPStatus.TOO_MANY_REQUESTS and key is not None:
            return f"a limit of the account of {key.variable}? Set lower `rates` in a pipeline"
        if local:
            return "is it still loading the model? See its log"
        return "if it lasts, see the status page of the service"

    return advice
